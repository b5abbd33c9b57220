"""`gtpt export`: a network as one ONNX file, verified in pixels."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import typer

CALIBRATION = 128  # crops that give the ranges of int8


class Precision(str, Enum):
    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


def export(
    weights: str = typer.Argument(help="Registered name, *.safetensors, or an authors' *.pth."),
    out: Path = typer.Option(..., "--out", "-o", help="The *.onnx to write."),
    batch: int = typer.Option(None, min=1, help="A fixed number of crops. Default: any number."),
    opset: int = typer.Option(20, help="ONNX operator set."),
    precision: Precision = typer.Option(
        Precision.float32, help="float16: half the size; int8: a quarter, faster, less exact."
    ),
    calibrate: Path = typer.Option(None, help="Real crops for int8: photos, or a COCO crop zip."),
    decode: bool = typer.Option(False, "--decode", help="Decode inside: keypoints and raw scores instead of logits."),
    float_input: bool = typer.Option(False, "--float-input", help="Take normalised float crops instead of uint8."),
    verify: Path = typer.Option(None, help="Compare with PyTorch on these crops: photos, or a COCO crop zip."),
    bound: float = typer.Option(0.5, min=0, help="Fail if the keypoints move by more pixels than this on average."),
) -> None:
    """Export to ONNX, for onnxruntime, OpenVINO and TensorRT.

    With --verify the file is run on real crops beside the network; its largest and mean difference in pixels is printed.
    """
    from gtpt._extras import require

    require("torch", "export")
    require("onnx", "export")
    from gtpt.data.crops import load_crops
    from gtpt.export import export_onnx, verify_onnx
    from gtpt.model import load, load_official
    from gtpt.model.checkpoint import read_header
    from gtpt.weights import resolve

    path = resolve(weights, format="safetensors")
    official = path.suffix in (".pth", ".pt")
    model = load_official(path) if official else load(path)
    known = ("config", "skeleton")
    extra = {} if official else {k: v for k, v in read_header(path).items() if k not in known}
    assert model.skeleton is not None
    size = model.config.input_size
    crops = load_crops(calibrate, model.skeleton, size, CALIBRATION) if calibrate is not None else None
    export_onnx(
        model,
        out,
        batch=batch,
        opset=opset,
        uint8_input=not float_input,
        decode=decode,
        precision=precision.value,
        calibration_crops=crops,
        extra=extra,
    )
    typer.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    if verify is not None:
        typer.echo(str(verify_onnx(out, model, load_crops(verify, model.skeleton, size), bound)))
