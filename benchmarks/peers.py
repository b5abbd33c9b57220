"""GTPT against its rivals at 192x256 on the CPU, all in onnxruntime: `python benchmarks/peers.py [--whole-body]`
(rivals of 133 points also at 288x384, where they say so).

Every network has random weights, takes what it takes (ours uint8 crops, the rivals normalised floats) and gives its raw
output; decoding is left out, which favours the rivals with heat maps. A batch runs as the faster of two ways, for each
network alike: as one batch, or crop by crop on as many streams as there are threads. Each is paired with one of GTPT-T
right beside it; the ratio is the median of the pairs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import typer
from rivals import BODY, WHOLE_BODY, cost
from speed import kaiming_stem
from torch import nn

from gtpt.benchmark import machine, median, median_ratio, paired_seconds
from gtpt.engines.onnx import open_session
from gtpt.export.onnx import export_onnx
from gtpt.model import build

OURS = {"gtpt-t": (71.1, 54.9), "gtpt-s": (73.6, 59.6), "gtpt-b": (74.9, 61.7)}  # published AP for 17 and 133 points


class Entry(NamedTuple):
    """A network in the race, as ONNX files for one crop and for a batch."""

    ap: float
    gmacs: float
    params: float
    one: Path
    many: Path


def main(
    whole_body: bool = typer.Option(False, help="133 keypoints instead of 17."),
    counts: bool = typer.Option(False, help="Time nothing; what the rivals count beside what is published."),
    only: list[str] = typer.Option([], help="Some networks, by name; can be given several times."),
    threads: list[int] = typer.Option([1, 2], help="Can be given several times."),
    batch: int = typer.Option(32, min=2, help="People of the second measurement."),
    repeats: int = typer.Option(7, min=3, help="Pairs."),
) -> None:
    if counts:
        print("\n".join(counted()))
        return
    with tempfile.TemporaryDirectory() as folder:
        entries = prepare(Path(folder), whole_body, set(only) | {"gtpt-t"} if only else None, batch)
        print(f"{machine()}; onnxruntime, float32, 192x256; medians of {repeats} pairs")
        for count in threads:
            print(f"\n{count} thread(s); ratio: times faster than gtpt-t; AP per ms with one person\n")
            print(
                f"| network | AP | params M | GMACs | ms, 1 person | ratio | ms per person of {batch} | ratio | AP per ms |"
            )
            print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
            for row in race(entries, count, batch, repeats):
                print(row, flush=True)


def counted() -> list[str]:
    """A table."""
    rows = ["| network | points | AP | params M | published | GMACs | as they count | published |", "|---|" + "---:|" * 7]
    for points, table in ((17, BODY), (133, WHOLE_BODY)):
        for name, rival in table.items():
            with torch.device("meta"):
                network = rival.make()
            costs = cost(network, rival.size)
            as_they_count = rival.gmacs and rival.counted(costs)
            figures = rival.ap, costs.params, rival.params, costs.gmacs, as_they_count, rival.gmacs
            rows.append(f"| {name} | {points} | {' | '.join(f'{x:.3g}' if x else '' for x in figures)} |")
    return rows


def prepare(folder: Path, whole_body: bool, only: set[str] | None, batch: int) -> dict[str, Entry]:
    """Build and export everything."""
    entries = {}
    for name, aps in OURS.items():
        if only is None or name in only:
            net = build(name, skeleton="coco_wholebody133" if whole_body else "coco17").eval()
            kaiming_stem(net)
            file = folder / f"{name}.onnx"
            export_onnx(net, file, opset=23)
            costs = cost(build(name, skeleton=net.skeleton))
            entries[name] = Entry(aps[whole_body], costs.gmacs, costs.params, file, file)
    for name, rival in (WHOLE_BODY if whole_body else BODY).items():
        if only is None or name in only:
            costs = cost(rival.make(), rival.size)
            files = [folder / f"{name}-{size}.onnx" for size in (1, batch)]
            torch.manual_seed(0)
            network = rival.make().eval()
            for size, file in zip((1, batch), files, strict=True):
                export(network, torch.randn(size, 3, *rival.size), file)
            entries[name] = Entry(rival.ap, costs.gmacs, costs.params, *files)
    return entries


def export(network: nn.Module, images: torch.Tensor, path: Path) -> None:
    torch.onnx.export(network, (images,), path, dynamo=True, verbose=False, input_names=["crops"], external_data=False)


def race(entries: dict[str, Entry], threads: int, batch: int, repeats: int) -> list[str]:
    reference = [runner(entries["gtpt-t"], threads, size) for size in (1, batch)]
    rows = []
    for name, entry in entries.items():
        one, many = (
            paired_seconds(runner(entry, threads, size), other, repeats, warmup=1)
            for size, other in zip((1, batch), reference, strict=True)
        )
        milliseconds = 1e3 * median(one[0])
        rows.append(
            f"| {name} | {entry.ap} | {entry.params:.1f} | {entry.gmacs:.2f} "
            f"| {milliseconds:.1f} | {median_ratio(*one):.2f} "
            f"| {1e3 * median(many[0]) / batch:.1f} | {median_ratio(*many):.2f} | {entry.ap / milliseconds:.1f} |"
        )
    return rows


def runner(entry: Entry, threads: int, size: int) -> Callable[[], object]:
    """The faster way to run `size` people through a network."""
    whole = Session(entry.one if size == 1 else entry.many, threads)
    crops = np.zeros((size, *whole.shape), whole.dtype)
    crops[:] = np.random.default_rng(0).integers(0, 3, crops.shape)
    if size == 1:
        return lambda: whole.run(crops)
    single, pool = Session(entry.one, 1), ThreadPoolExecutor(threads)

    def streams() -> object:
        return list(pool.map(lambda i: single.run(crops[i : i + 1]), range(size)))

    def at_once() -> object:
        return whole.run(crops)

    a, b = paired_seconds(streams, at_once, 1, warmup=0)  # slow networks take ten seconds for a batch
    return streams if median(a) < median(b) else at_once


class Session:
    """An ONNX file opened, with the form of one input."""

    def __init__(self, path: Path, threads: int):
        session = open_session(path, threads=threads)
        given = session.get_inputs()[0]
        self.shape = tuple(given.shape[1:])
        self.dtype = np.uint8 if "uint8" in given.type else np.float32
        self.run = lambda crops: session.run(None, {given.name: crops})


if __name__ == "__main__":
    typer.run(main)
