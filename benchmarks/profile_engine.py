"""Where the time goes in onnxruntime, and how far each part is from its floor: `python benchmarks/profile_engine.py`.

One thread, one crop of 192x256, random weights, times by onnxruntime's own profiler. The floor of products and convolutions
is their number of multiplications at the rate of a large float32 matrix product on one core.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import typer
from speed import NETWORKS, exported, kaiming_stem

from gtpt.benchmark import machine
from gtpt.model import build

KINDS = {
    "matrix products": ("MatMul", "FusedMatMul", "Gemm"),
    "convolutions": ("Conv", "FusedConv"),
    "attention": ("Attention", "MultiHeadAttention", "Softmax"),
    "GELU": ("Gelu", "BiasGelu", "FastGelu"),
}
KIND = {operator: kind for kind, operators in KINDS.items() for operator in operators}
WARMUP = 3


def main(
    network: list[str] = typer.Option(NETWORKS, help="Can be given several times."),
    repeats: int = typer.Option(50, min=1, help="Profiled runs."),
) -> None:
    peak = matrix_peak()
    print(f"{machine()}; 1 thread, batch 1, mean of {repeats} runs; matrix peak {peak / 1e9:.1f} GMAC/s\n")
    print("| network | part | ms | share | GMAC/s | of the peak |\n|---|---|---:|---:|---:|---:|")
    for name in network:
        net = build(name).eval()
        kaiming_stem(net)
        with tempfile.TemporaryDirectory() as folder:
            seconds, macs = totals(*profile(exported(net, Path(folder), None, "float32"), Path(folder), repeats))
        for kind in (*KINDS, "rest"):
            share = seconds[kind] / sum(seconds.values())
            rate = macs[kind] / seconds[kind] if macs[kind] else None
            rates = "| |" if rate is None else f"{rate / 1e9:.1f} | {rate / peak:.0%} |"
            print(f"| {name} | {kind} | {1e3 * seconds[kind] / repeats:.2f} | {share:.0%} | {rates}")
        print(f"| {name} | all | {1e3 * sum(seconds.values()) / repeats:.2f} | | | |", flush=True)


def matrix_peak(size: int = 1024, repeats: int = 10) -> float:
    """Multiplications per second of one core, the best of some products of large matrices."""
    torch.set_num_threads(1)
    a, best = torch.randn(size, size), float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - began)
    return size**3 / best


def profile(path: Path, folder: Path, repeats: int) -> tuple[list[dict], dict[str, int]]:
    """The profiler's events of all operators after a warm-up, and how many products a value of each convolution sums."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling, options.log_severity_level = 1, True, 3
    options.profile_file_prefix, options.optimized_model_filepath = str(folder / "profile"), str(folder / "optimized.onnx")
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    crops = np.random.default_rng(0).integers(0, 256, (1, 256, 192, 3), dtype=np.uint8)
    for _ in range(WARMUP + repeats):
        session.run(None, {"crops": crops})
    graph = onnx.load(folder / "optimized.onnx").graph
    terms = {weight.name: prod(weight.dims[1:]) for weight in graph.initializer}
    summed = {node.name: terms[node.input[1]] for node in graph.node if KIND.get(node.op_type) == "convolutions"}
    events = json.loads(Path(session.end_profiling()).read_text())
    began = sorted(event["ts"] for event in events if event["name"] == "model_run")[WARMUP]
    return [e for e in events if e["name"].endswith("_kernel_time") and e["ts"] >= began], summed


def totals(events: list[dict], summed: dict[str, int]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds by kind, and multiplications of products and convolutions."""
    seconds, macs = defaultdict(float), defaultdict(float)
    for event in events:
        kind = KIND.get(event["args"]["op_name"], "rest")
        seconds[kind] += event["dur"] / 1e6
        first, out = (next(iter(event["args"][f"{side}_type_shape"][0].values())) for side in ("input", "output"))
        if kind == "convolutions":
            macs[kind] += prod(out) * summed[event["name"].removesuffix("_kernel_time")]
        elif kind == "matrix products":
            macs[kind] += prod(out) * first[-1]
    return seconds, macs


if __name__ == "__main__":
    typer.run(main)
