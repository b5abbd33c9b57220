"""Our inference against the paper form (`paper_form.py`), on the CPU: `python benchmarks/speed.py`.

Random weights, since speed does not depend on them; all sides take RGB uint8 crops and give SimCC logits. Each measurement
is paired with one of ours right beside it; ratios are medians of the pairs. The paper form runs in eager PyTorch and, as
`torch.onnx` exports it, in onnxruntime; so does the network of `gtpt.model` as it is, without rewritten weights. That tells
apart what the engine gives, what the order of steps, and what the rewritten stem.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import typer
from paper_form import PaperForm
from torch import nn

from gtpt.benchmark import machine, median, median_ratio, paired_seconds
from gtpt.engines import open_engine
from gtpt.export.onnx import METADATA, export_onnx
from gtpt.model import GTPT, build, normalize

Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
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
    sides = "ours, ms | paper form, ms | ratio | paper form exported, ms | ratio | network as it is, ms | ratio"
    print(f"| network | threads | batch | {sides} |\n|---|" + "---:|" * 9)
    for points in skeleton:
        for name in network:
            net = build(name, skeleton=points).eval()
            kaiming_stem(net)
            with tempfile.TemporaryDirectory() as folder:
                # OpenVINO is faster with a fixed batch; onnxruntime runs crop by crop anyway
                fixed = {size: size if engine == "openvino" else None for size in batch}
                files = {size: exported(net, Path(folder), size, precision) for size in set(fixed.values())}
                plain = plain_files(net, Path(folder), next(iter(files.values())))
                for count in threads:
                    for size in batch:
                        ours = open_engine(files[fixed[size]], engine, threads=count, precision=run_in(precision))
                        others = [eager(net, count), *(open_engine(file, "onnxruntime", threads=count) for file in plain)]
                        print(f"| {name} {points} | {count} | {size} | {row(ours, others, size, repeats)}", flush=True)


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


class FromBytes(nn.Module):
    """The network as it is, behind the normalisation of crops."""

    def __init__(self, net: GTPT):
        super().__init__()
        self.net = net

    def forward(self, crops: torch.Tensor) -> object:
        return self.net(normalize(crops))


def plain_files(net: GTPT, folder: Path, ours: Path) -> list[Path]:
    """What `torch.onnx` makes of the paper form and of the network, with the metadata that an engine asks for."""
    files = []
    for module in (PaperForm(net), FromBytes(net)):
        files.append(folder / f"{type(module).__name__}.onnx")
        crops = torch.zeros(2, 256, 192, 3, dtype=torch.uint8)
        with torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                (crops,),
                input_names=["crops"],
                output_names=["x", "y"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=23,
                dynamo=True,
                verbose=False,
            )
        graph = program.model_proto
        graph.metadata_props.extend(p for p in onnx.load(ours).metadata_props if p.key == METADATA)  # the digest is ours
        onnx.save(graph, files[-1])
    return files


def eager(net: GTPT, threads: int) -> Run:
    paper = PaperForm(net)

    def run(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            x, y = paper(torch.from_numpy(crops))
        return x.numpy(), y.numpy()

    return run


def row(ours: Run, others: list[Run], size: int, repeats: int) -> str:
    crops = np.random.default_rng(0).integers(0, 256, (size, 256, 192, 3), dtype=np.uint8)
    cells: list[str] = []
    for other in others:
        difference = max(np.abs(a - b).max() for a, b in zip(ours(crops), other(crops), strict=True))
        if not difference < 1:  # in float32 a test holds them together
            raise RuntimeError(f"outputs differ by {difference}: not the same network")
        mine, theirs = paired_seconds(lambda: ours(crops), lambda run=other: run(crops), repeats, warmup=1)
        cells += [] if cells else [f"{1e3 * median(mine):.1f}"]
        cells += [f"{1e3 * median(theirs):.1f}", f"{median_ratio(mine, theirs):.2f}"]
    return " | ".join(cells) + " |"


if __name__ == "__main__":
    typer.run(main)
