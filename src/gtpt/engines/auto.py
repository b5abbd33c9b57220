"""precision="auto": the fastest engine and arithmetic on this machine, of those that leave the keypoints where they are."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np

from gtpt.engines.base import ENGINES, Engine, Precision, choose_engine

logger = logging.getLogger(__name__)

BFLOAT16_COST = "bfloat16_cost"  # of a file's metadata: see `gtpt.export.verify.bfloat16_cost`
MOST = 0.015  # of it, for at most 0.3 AP: bundled networks had 0.0073 and lost 0.1, 0.0077 and less
ROUNDS = 9  # of timing, of which the first ones warm up
WARM = 3

Choice = tuple[str, str]  # engine and precision


@lru_cache(maxsize=64)  # a file is timed once per process, and what is chosen is said once
def fastest(path: Path, engine: str | None = None, device: str = "cpu", threads: int | None = None) -> Choice:
    """The engine and the precision to open a file with; says with a warning of `logging` what it chose.

    All installed engines that read the file take part in float32, and OpenVINO in bfloat16 if the file says that it costs
    little and the CPU has instructions for it. On other devices, and for files of PyTorch, there is nothing to choose.

    Args:
        path, engine, device, threads: as of `open_engine`; an engine that is named is kept.
    """
    usual = choose_engine(path, engine), "float32"
    if device != "cpu" or path.suffix.lower() != ".onnx":
        return usual
    names = [engine] if engine else [n for n, kinds in ENGINES.items() if ".onnx" in kinds and find_spec(n)]
    opened: dict[Choice, Engine] = {(name, "float32"): _opened(path, name, "float32", threads) for name in names}
    first = next(iter(opened.values()))
    if "openvino" in names and first.info.metadata.get(BFLOAT16_COST, 1.0) <= MOST:
        try:
            opened["openvino", "bfloat16"] = _opened(path, "openvino", "bfloat16", threads)
        except ValueError:  # no such instructions
            logger.info("this CPU has no bfloat16")
    if len(opened) < 2:
        return usual
    times = _milliseconds(list(opened.values()))
    ranking = sorted(zip(times, opened, strict=True))
    told = "; ".join(f"{name} in {precision} {ms:.1f} ms" for ms, (name, precision) in ranking)
    logger.warning("precision 'auto' takes the first of these for %s, one person at a time: %s", path.name, told)
    return ranking[0][1]


def _opened(path: Path, name: str, precision: Precision, threads: int | None) -> Engine:
    if name == "openvino":
        from gtpt.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(path, threads=threads, precision=precision)
    from gtpt.engines.onnx import OnnxEngine

    return OnnxEngine(path, threads=threads)


def _milliseconds(engines: Sequence[Engine]) -> list[float]:
    """Of one crop in each, measured in turn."""
    width, height = engines[0].info.config.input_size
    crop = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        rounds.append([])
        for engine in engines:
            crops = np.repeat(crop, engine.batch or 1, axis=0)
            began = time.perf_counter()
            engine(crops)
            rounds[-1].append(1e3 * (time.perf_counter() - began) / len(crops))
    return [median(column) for column in zip(*rounds[WARM:], strict=True)]
