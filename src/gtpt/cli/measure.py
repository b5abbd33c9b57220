"""`gtpt benchmark`: how fast, on this machine, against a named reference in the same run."""

from __future__ import annotations

import typer


def benchmark(
    weights: str = typer.Argument("gtpt-t-coco17", help="Registered name, *.onnx or *.safetensors."),
) -> None:
    """Milliseconds and images per second."""
    raise NotImplementedError
