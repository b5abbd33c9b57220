"""What an engine's precision costs in AP: `python benchmarks/precision.py CROPS.zip TRAINING.zip`.

The bundled weights on people whom they were not trained on, with the flip test. Each archive is a zip with annotations.json
in COCO form and its images; the second gives the ranges of 8-bit integers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import typer

from gtpt.evaluate import test as measure
from gtpt.export import export
from gtpt.weights import resolve

WEIGHTS = "gtpt-t-coco17"


def main(
    people: Path = typer.Argument(help="Who is measured."),
    training: Path = typer.Argument(help="Whose crops give the ranges of int8."),
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        int8 = Path(folder) / "int8.onnx"
        export(WEIGHTS, int8, precision="int8", calibrate=training)
        files = {form: resolve(WEIGHTS, format=form, task="pose") for form in ("safetensors", "onnx")}
        print("| engine, precision | AP | file, MB |\n|---|---:|---:|")
        for engine, precision, path in (
            ("torch", "float32", files["safetensors"]),
            ("onnxruntime", "float32", files["onnx"]),
            ("onnxruntime", "int8", int8),
            ("openvino", "bfloat16", files["onnx"]),
        ):
            report = measure(
                path,
                people / "annotations.json",
                people,
                engine=engine,
                precision="float32" if precision == "int8" else precision,  # int8 is in the file
            )
            print(f"| {engine}, {precision} | {100 * report.ap:.1f} | {path.stat().st_size / 1e6:.1f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
