"""`gtpt benchmark`: how fast on this machine, and how that compares with a reference in the same run."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import typer


def benchmark(
    weights: list[str] = typer.Argument(None, help="Registered names or files; default: gtpt-t-coco17."),
    reference: str = typer.Option(None, help="What the others are compared with. Default: the first of the weights."),
    batch: list[int] = typer.Option([1, 32], help="People per call; can be given several times."),
    engine: str = typer.Option(None, help="onnxruntime, openvino or torch. Default: what reads the weights."),
    device: str = typer.Option("cpu", help="cpu, cuda, ..."),
    threads: int = typer.Option(1, min=1, help="CPU threads of the network."),
    precision: str = typer.Option("float32", help="float32, or bfloat16 (openvino)."),
    repeats: int = typer.Option(20, min=3, help="Pairs of runs."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Milliseconds and people per second of the network with its decoding, on one frame's crops.

    Machines are noisy: each measurement is paired with one of the reference right beside it, and the ratio is the median of
    the pairs. 2.0 is twice as fast as the reference.
    """
    import json

    names = list(weights or ["gtpt-t-coco17"])
    reference = reference or names[0]
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
    facts = {
        "machine": machine(),
        "threads": threads,
        "device": device,
        "precision": precision,
        "reference": reference,
        "repeats": repeats,
    }
    if as_json:
        typer.echo(json.dumps({**facts, "rows": rows}))
        return
    typer.echo(
        f"{facts['machine']}; {threads} thread(s), {device}, {precision}; ratio to {reference}, median of {repeats} pairs"
    )
    width = max(len(name) for name in names)
    typer.echo(f"{'weights':<{width}}  batch        ms   people/s   ratio")
    for r in rows:
        typer.echo(
            f"{r['weights']:<{width}}  {r['batch']:>5} {r['ms']:>9.2f} {r['people_per_s']:>10.1f} {r['ratio']:>7.2f}"
        )


def _opened(
    name: str, engine: str | None, device: str, threads: int, precision: str
) -> Callable[[int], Callable[[], object]]:
    """A function of the batch size that gives the work to time: crops to keypoints."""
    import numpy as np

    from gtpt.codec import decode
    from gtpt.runtime import open_engine
    from gtpt.weights import resolve

    path = resolve(name, format="safetensors" if engine == "torch" else "onnx")
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
    mine: Callable[[], object], reference: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Wall seconds of both, measured in turn after a warm-up: noise of the machine hits both alike."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 2):
        for work, times in zip((mine, reference), seconds, strict=True):
            began = time.perf_counter()
            work()
            if turn >= 2:
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
