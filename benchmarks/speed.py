"""Our inference against the paper form (`paper_form.py`), on the CPU: `python benchmarks/speed.py`.

Random weights, since speed does not depend on them; both sides take RGB uint8 crops and give SimCC logits. Each measurement
is paired with one of the paper form right beside it; the ratio is the median of the pairs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
import typer
from paper_form import PaperForm

from gtpt.export import export_onnx
from gtpt.measure import machine, median, median_ratio, paired_seconds
from gtpt.model import GTPT, build
from gtpt.runtime import open_engine

NETWORKS = ["gtpt-t", "gtpt-s", "gtpt-b"]


def main(
    network: list[str] = typer.Option(NETWORKS, help="Can be given several times."),
    skeleton: list[str] = typer.Option(["coco17", "coco_wholebody133"], help="Can be given several times."),
    batch: list[int] = typer.Option([1, 32], help="People at once; can be given several times."),
    threads: list[int] = typer.Option([1, 2], help="Can be given several times."),
    engine: str = typer.Option("onnxruntime", help="onnxruntime or openvino."),
    repeats: int = typer.Option(9, min=3, help="Pairs."),
) -> None:
    print(f"{machine()}; {engine}, float32, 192x256; medians of {repeats} pairs\n")
    print("| network | threads | batch | paper form, ms | ours, ms | ratio |\n|---|---:|---:|---:|---:|---:|")
    for points in skeleton:
        for name in network:
            net = build(name, skeleton=points).eval()
            kaiming_stem(net)
            for count in threads:
                torch.set_num_threads(count)
                for row in measure(net, engine, count, batch, repeats):
                    print(f"| {name} {points} | {count} | {row}", flush=True)


def kaiming_stem(net: GTPT) -> None:
    """The official tiny convolutions give denormal numbers, which are slow and never occur in a trained network."""
    for parameter in net.stem.parameters():
        if parameter.dim() == 4:
            torch.nn.init.kaiming_normal_(parameter)


def measure(net: GTPT, engine: str, threads: int, batches: list[int], repeats: int) -> list[str]:
    paper = PaperForm(net)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        export_onnx(net, path, opset=23 if engine == "onnxruntime" else 20)
        ours = open_engine(path, engine, threads=threads)
        rows = []
        for size in batches:
            crops = np.random.default_rng(0).integers(0, 256, (size, 256, 192, 3), dtype=np.uint8)
            pixels = torch.from_numpy(crops)

            def reference(pixels: torch.Tensor = pixels) -> object:
                with torch.inference_mode():
                    return paper(pixels)

            difference = max(np.abs(a - b.numpy()).max() for a, b in zip(ours(crops), reference(), strict=True))
            if not difference < 1e-3:
                raise RuntimeError(f"{net.config.name}: outputs differ by {difference}: not the same network")
            mine, theirs = paired_seconds(lambda crops=crops: ours(crops), reference, repeats)
            times = f"{1e3 * median(theirs):.1f} | {1e3 * median(mine):.1f}"
            rows.append(f"{size} | {times} | {median_ratio(mine, theirs):.2f} |")
    return rows


if __name__ == "__main__":
    typer.run(main)
