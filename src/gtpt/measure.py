"""How fast on this machine, and how that compares with a reference in the same run."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from gtpt.estimator import DEFAULT_WEIGHTS


def benchmark(
    weights: Sequence[str | Path] = (DEFAULT_WEIGHTS,),
    *,
    reference: str | Path | None = None,
    batch: Sequence[int] = (1, 32),
    engine: str | None = None,
    device: str = "cpu",
    threads: int = 1,
    precision: str = "float32",
    repeats: int = 20,
) -> dict[str, Any]:
    """Time networks with their decoding on one frame's crops; the same as `gtpt benchmark`.

    Machines are noisy: each measurement is paired with one of the reference right beside it, and the ratio is the median of
    the pairs. 2.0 is twice as fast as the reference.

    Args:
        weights: registered names or files.
        reference: what the others are compared with; None: the first of the weights.
        batch: people per call, one row for each.
        engine, device, threads, precision: see `PoseEstimator`.
        repeats: pairs of runs.

    Returns:
        The machine and the settings, and "rows": weights, batch, ms, people_per_s, ratio.

    Raises:
        FileNotFoundError, ValueError, ImportError: weights or an engine that cannot be used.
    """
    names = [str(name) for name in weights]
    reference = str(reference or names[0])
    runs = {name: _opened(name, engine, device, threads, precision) for name in dict.fromkeys([reference, *names])}
    rows = []
    for size in batch:
        for name in names:
            mine, other = paired_seconds(runs[name](size), runs[reference](size), repeats)
            rows.append(
                {
                    "weights": name,
                    "batch": size,
                    "ms": round(1e3 * median(mine), 3),
                    "people_per_s": round(size / median(mine), 1),
                    "ratio": round(median_ratio(mine, other), 3),
                }
            )
    return {
        "machine": machine(),
        "threads": threads,
        "device": device,
        "precision": precision,
        "reference": reference,
        "repeats": repeats,
        "rows": rows,
    }


def _opened(
    name: str, engine: str | None, device: str, threads: int, precision: str
) -> Callable[[int], Callable[[], object]]:
    """A function of the batch size that gives the work to time: crops to keypoints."""
    import numpy as np

    from gtpt.codec import decode
    from gtpt.runtime import open_engine
    from gtpt.weights import resolve

    path = resolve(name, format="safetensors" if engine == "torch" else "onnx", task="pose")
    network = open_engine(path, engine, device=device, threads=threads, precision=precision)
    width, height = network.info.config.input_size

    def prepare(size: int) -> Callable[[], object]:
        if network.batch not in (None, size):
            raise ValueError(
                f"{Path(name).name} takes {network.batch} people at once, not {size}: give --batch {network.batch}"
            )
        crops = np.random.default_rng(0).integers(0, 256, (size, height, width, 3), dtype=np.uint8)
        return lambda: decode(*network(crops), network.info.config.simcc_split)

    return prepare


def paired_seconds(
    mine: Callable[[], object], reference: Callable[[], object], repeats: int, warmup: int = 2
) -> tuple[list[float], list[float]]:
    """Wall seconds of both, measured in turn after a warm-up: noise of the machine hits both alike."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + warmup):
        for work, times in zip((mine, reference), seconds, strict=True):
            began = time.perf_counter()
            work()
            if turn >= warmup:
                times.append(time.perf_counter() - began)
    return seconds


def median_ratio(mine: list[float], reference: list[float]) -> float:
    """How many times faster than the reference: the median over the pairs."""
    return median(b / a for a, b in zip(mine, reference, strict=True))


def machine() -> str:
    """The line that every table of times needs: processor, cores, system."""
    import os

    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return f"{cpu or platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
