"""`gtpt export`: a network as one ONNX file, verified in pixels."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import typer


class Precision(str, Enum):
    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


def export(
    weights: str = typer.Argument(help="Registered name, *.safetensors, or an authors' *.pth."),
    out: Path = typer.Option(..., "--out", "-o", help="The *.onnx to write."),
    keep_rates: str = typer.Option(
        None, help="Shares of patches, such as 1,.7,.3,.1, or fast, balanced, accurate, entire. Default: as trained."
    ),
    batch: int = typer.Option(None, min=1, help="A fixed number of crops. Default: any number."),
    opset: int = typer.Option(20, help="ONNX operator set, 20 to 23: see docs/export.md."),
    precision: Precision = typer.Option(
        Precision.float32, help="float16: half the size; int8: a quarter, faster, less exact."
    ),
    calibrate: Path = typer.Option(None, help="Real crops for int8: photos, or a COCO crop zip."),
    decode: bool = typer.Option(False, "--decode", help="Decode inside: keypoints and raw scores instead of logits."),
    float_input: bool = typer.Option(False, "--float-input", help="Take normalised float crops instead of uint8."),
    verify: Path = typer.Option(None, help="Compare with PyTorch on these crops: photos, or a COCO crop zip."),
    bound: float = typer.Option(0.5, min=0, help="Fail if the keypoints move by more pixels than this on average."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON: file, bytes, and what --verify found."),
) -> None:
    """Export to ONNX, for onnxruntime and OpenVINO.

    onnxruntime runs the file once before it takes its place. With --verify it runs on real crops beside the network, and
    the largest and the mean difference in pixels are printed.
    """
    import json
    from dataclasses import asdict

    from gtpt.export.onnx import export as run

    found = run(
        weights,
        out,
        keep_rates=keep_rates,
        batch=batch,
        opset=opset,
        precision=precision.value,
        calibrate=calibrate,
        decode=decode,
        float_input=float_input,
        verify=verify,
        bound=bound,
    )
    if as_json:
        verified = None if found is None else {**asdict(found), "bound_px": bound}
        typer.echo(json.dumps({"file": str(out), "bytes": out.stat().st_size, "verification": verified}))
        return
    typer.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    if found is not None:
        typer.echo(str(found))
