"""Our inference against the paper form (`paper_form.py`), on the CPU: `python benchmarks/speed.py`.

Random weights, since speed does not depend on them; both sides take RGB uint8 crops and give SimCC logits. Each measurement
is paired with one of the paper form right beside it; the ratio is the median of the pairs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from paper_form import PaperForm

from gtpt.benchmark import machine, median, median_ratio, paired_seconds
from gtpt.engines import Engine, open_engine
from gtpt.export.onnx import export_onnx
from gtpt.model import GTPT, build

NETWORKS = ["gtpt-t", "gtpt-s", "gtpt-b"]


def main(
    network: list[str] = typer.Option(NETWORKS, help="Can be given several times."),
    skeleton: list[str] = typer.Option(["coco17", "coco_wholebody133"], help="Can be given several times."),
    batch: list[int] = typer.Option([1, 32], help="People at once; can be given several times."),
    threads: list[int] = typer.Option([1, 2], help="Can be given several times."),
    engine: str = typer.Option("onnxruntime", help="onnxruntime or openvino."),
    precision: str = typer.Option("float32", help="Of ours: float32, int8, or bfloat16 (openvino)."),
    repeats: int = typer.Option(9, min=3, help="Pairs."),
) -> None:
    print(f"{machine()}; {engine}, {precision} against float32, 192x256; medians of {repeats} pairs\n")
    print("| network | threads | batch | paper form, ms | ours, ms | ratio |\n|---|---:|---:|---:|---:|---:|")
    for points in skeleton:
        for name in network:
            net = build(name, skeleton=points).eval()
            kaiming_stem(net)
            with tempfile.TemporaryDirectory() as folder:
                # OpenVINO is faster with a fixed batch; onnxruntime runs crop by crop anyway
                fixed = {size: size if engine == "openvino" else None for size in batch}
                files = {size: exported(net, Path(folder), size, precision) for size in set(fixed.values())}
                for count in threads:
                    for size in batch:
                        ours = open_engine(files[fixed[size]], engine, threads=count, precision=run_in(precision))
                        print(f"| {name} {points} | {count} | {size} | {row(net, ours, count, size, repeats)}", flush=True)


def kaiming_stem(net: GTPT) -> None:
    """The official tiny convolutions give denormal numbers, which are slow and never occur in a trained network."""
    for parameter in net.stem.parameters():
        if parameter.dim() == 4:
            torch.nn.init.kaiming_normal_(parameter)


def exported(net: GTPT, folder: Path, batch: int | None, precision: str) -> Path:
    settings: dict[str, Any] = {"opset": 20 if batch else 23}
    if precision == "int8":  # ranges of noise do for random weights
        noise = np.random.default_rng(0).integers(0, 256, (32, 256, 192, 3), dtype=np.uint8)
        settings = {"precision": "int8", "calibration_crops": noise}
    return export_onnx(net, folder / f"{batch}.onnx", batch=batch, **settings)


def run_in(precision: str) -> str:
    """The engine's precision: int8 is in the file."""
    return "float32" if precision == "int8" else precision


def row(net: GTPT, ours: Engine, threads: int, size: int, repeats: int) -> str:
    torch.set_num_threads(threads)
    paper = PaperForm(net)
    crops = np.random.default_rng(0).integers(0, 256, (size, 256, 192, 3), dtype=np.uint8)
    pixels = torch.from_numpy(crops)

    def reference() -> object:
        with torch.inference_mode():
            return paper(pixels)

    difference = max(np.abs(a - b.numpy()).max() for a, b in zip(ours(crops), reference(), strict=True))
    if not difference < 1:  # in float32 a test holds them together
        raise RuntimeError(f"{net.config.name}: outputs differ by {difference}: not the same network")
    mine, theirs = paired_seconds(lambda: ours(crops), reference, repeats, warmup=1)
    return f"{1e3 * median(theirs):.1f} | {1e3 * median(mine):.1f} | {median_ratio(mine, theirs):.2f} |"


if __name__ == "__main__":
    typer.run(main)
