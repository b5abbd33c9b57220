"""How fast on this machine, and how that compares with a reference in the same run."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from gtpt.core.errors import InputError
from gtpt.core.simcc import decode
from gtpt.detect import Detector, make_detector
from gtpt.engines import Engine
from gtpt.engines.base import choose_engine, enough_memory
from gtpt.estimator import DEFAULT_WEIGHTS, PoseEstimator
from gtpt.weights import resolve

PAUSE = 0.01  # seconds between two measurements: idle threads of the one before spin on, and would take a core
SMALL_NUMBERS = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX-BF16", "avx512_vnni": "AVX512-VNNI", "avx_vnni": "AVX-VNNI"}
FRAME = (720, 1280, 3)  # what a detector looks at
PERSON = (480.0, 60.0, 740.0, 660.0)  # x1, y1, x2, y2 in it


class Setup(NamedTuple):
    """What is measured, with any batch."""

    weights: str
    engine: str
    precision: str
    threads: int

    def __str__(self) -> str:
        return f"{self.weights}, {self.engine}, {self.precision}, {self.threads} thread(s)"


def benchmark(
    weights: Sequence[str | Path] = (DEFAULT_WEIGHTS,),
    *,
    reference: str | Path | None = None,
    batch: Sequence[int] = (1, 32),
    engine: Sequence[str | None] = (None,),
    device: str = "cpu",
    threads: Sequence[int] = (1,),
    precision: Sequence[str] = ("float32",),
    detector: str | Path | None = None,
    repeats: int = 20,
) -> dict[str, Any]:
    """Time networks with their decoding on crops; the same as `gtpt benchmark`.

    Every combination of weights, engine, precision and threads is measured with every batch. Machines are noisy: each
    measurement is paired with one of the reference right beside it, with the same batch, and the ratio is the median of the
    pairs. 2.0 is twice as fast as the reference.

    Args:
        weights: registered names or files.
        reference: the weights that all are compared with, in the first engine, precision and number of threads; None: the
            first of the weights.
        batch: people per call.
        engine, precision, threads: see `PoseEstimator`.
        device: of all networks, see `PoseEstimator`; of the detector too where the engine is onnxruntime, else the CPU.
        detector: see `make_detector`. Each measurement is then a whole frame of 1280x720: the detector looks at it, and
            `batch` people are cropped and estimated. It is noise, where a detector finds nobody: their boxes are given.
        repeats: pairs of runs.

    Returns:
        The machine, the settings and "rows": weights, engine, precision, threads, batch, and either "error", why this
        cannot run, or ms, people_per_s, frames_per_s with a detector, and ratio, None for the reference itself.

    Raises:
        FileNotFoundError: weights that are not there.
        ValueError, ImportError: a reference that cannot run; a setting without values.
        MemoryError: a batch that does not fit.
    """
    settings = {"weights": weights, "batch": batch, "engine": engine, "precision": precision, "threads": threads}
    for name, values in settings.items():
        if isinstance(values, str) or not len(values):
            raise InputError(f"{name} must be a list with something in it, got {values!r}")
    setups = [_setup(*values) for values in product(weights, engine, precision, threads)]
    first = _setup(reference or weights[0], engine[0], precision[0], threads[0])
    opened = {setup: _opened(setup, device, detector, max(batch)) for setup in dict.fromkeys([first, *setups])}
    references = {size: _work(opened[first], size) for size in batch}
    rows = []
    for size, setup in product(batch, setups):
        try:
            work = references[size] if setup == first else _work(opened[setup], size)
        except (ValueError, ImportError) as error:
            figures: dict[str, Any] = {"error": str(error)}
        else:
            figures = _measured(work, None if setup == first else references[size], size, repeats)
            if detector is not None:
                figures["frames_per_s"] = round(1e3 / figures["ms"], 1)
        rows.append({**setup._asdict(), "batch": size, **figures})
    return {
        "machine": machine(),
        "device": device,
        "reference": str(first),
        "detector": None if detector is None else str(detector),
        "repeats": repeats,
        "rows": rows,
    }


def _setup(weights: str | Path, engine: str | None, precision: str, threads: int) -> Setup:
    """With the engine by its name, also where it follows from the weights."""
    engine = engine or choose_engine(resolve(weights, format="onnx", task="pose"))
    return Setup(str(weights), engine, precision, threads)


def _opened(
    setup: Setup, device: str, detector: str | Path | None, batch_size: int
) -> tuple[PoseEstimator, Detector | None] | Exception:
    """What is measured, or why it cannot be."""
    weights, engine, precision, threads = setup
    try:
        estimator = PoseEstimator(
            weights, engine=engine, device=device, precision=precision, threads=threads, batch_size=batch_size
        )
    except (ValueError, ImportError) as error:
        return error
    if detector is None:
        return estimator, None
    # detectors run in onnxruntime, which may lack the device of another engine
    return estimator, make_detector(detector, device=device if engine == "onnxruntime" else "cpu", threads=threads)


def _work(opened: tuple[PoseEstimator, Detector | None] | Exception, size: int) -> Callable[[], object]:
    """What is timed: so many people from crops to keypoints, or with a detector a frame to their poses."""
    if isinstance(opened, Exception):
        raise opened
    estimator, finder = opened
    network = estimator.engine
    if network.batch not in (None, size):
        raise InputError(f"these weights take {network.batch} people at once, not {size}: give --batch {network.batch}")
    if finder is not None:
        frame, boxes = np.random.default_rng(0).integers(0, 256, FRAME, dtype=np.uint8), np.tile(PERSON, (size, 1))
        return lambda: (finder([frame]), estimator(frame, boxes))
    return crops_to_keypoints(network, size)


def crops_to_keypoints(network: Engine, size: int) -> Callable[[], object]:
    """A call of a network and its decoding, on so many crops of noise."""
    width, height = network.info.config.input_size
    with enough_memory(size):
        crops = np.random.default_rng(0).integers(0, 256, (size, height, width, 3), dtype=np.uint8)
    return lambda: decode(*network(crops), network.info.config.simcc_split)


def _measured(
    work: Callable[[], object], reference: Callable[[], object] | None, size: int, repeats: int
) -> dict[str, Any]:
    """Figures of a row; without a reference those of the reference itself, which has no ratio."""
    mine, other = paired_seconds(work, reference or (lambda: None), repeats)
    seconds = median(mine)
    return {
        "ms": round(1e3 * seconds, 3),
        "people_per_s": round(size / seconds, 1),
        "ratio": round(median_ratio(mine, other), 3) if reference else None,
    }


def paired_seconds(
    mine: Callable[[], object], reference: Callable[[], object], repeats: int, warmup: int = 2
) -> tuple[list[float], list[float]]:
    """Wall seconds of both, measured in turn after a warm-up: noise of the machine hits both alike."""
    first, second = interleaved_seconds((mine, reference), repeats, warmup)
    return first, second


def interleaved_seconds(works: Sequence[Callable[[], object]], repeats: int, warmup: int = 2) -> list[list[float]]:
    """Wall seconds of each, measured in turn, round by round."""
    seconds: list[list[float]] = [[] for _ in works]
    for turn in range(repeats + warmup):
        for work, times in zip(works, seconds, strict=True):
            time.sleep(PAUSE)
            began = time.perf_counter()
            work()
            if turn >= warmup:
                times.append(time.perf_counter() - began)
    return seconds


def median_ratio(mine: list[float], reference: list[float]) -> float:
    """How many times faster than the reference: the median over the pairs."""
    return median(b / a for a, b in zip(mine, reference, strict=True))


def machine() -> str:
    """The line that every table of times needs: processor and its instructions for small numbers, cores, system."""
    about = dict(line.partition("\t")[::2] for line in reversed(_lines("/proc/cpuinfo")))  # of the first core
    cpu = about.get("model name", platform.processor()).strip("\t: ")
    flags = about.get("flags", "").split()
    small = [name for flag, name in SMALL_NUMBERS.items() if flag in flags]
    names = f"{cpu or platform.machine()} ({', '.join(small)})" if small else cpu or platform.machine()
    return f"{names}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
