"""`gtpt predict`: photos, folders, videos, streams and cameras in; pictures and keypoint files out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from gtpt.prediction.runner import Summary


def predict(
    sources: list[str] = typer.Argument(help="Photos, folders of photos, videos, stream URLs, or a camera number."),
    out: Path = typer.Option(Path("out"), "--out", "-o", help="Folder for the results; made if it is not there."),
    weights: str = typer.Option(
        "gtpt-t-coco17", "--weights", "-w", help="Registered name, *.onnx, *.safetensors or *.pth."
    ),
    detector: str = typer.Option("yolox-nano", help="Registered name, a YOLOX *.onnx, or whole-image."),
    detector_threshold: float = typer.Option(
        None, min=0, max=1, help="Leave out people that the detector scores lower. Default: 0.3; boxes of your own: 0."
    ),
    detector_device: str = typer.Option(
        None, help="cpu, cuda or coreml: detectors run in onnxruntime. Default: the --device."
    ),
    boxes: str = typer.Option(None, help="Boxes of your own (COCO JSON or CSV), or whole-image, instead of a detector."),
    format: str = typer.Option(  # noqa: A002
        None, help="coco, jsonl, csv, openpose, controlnet, npz or parquet. Default: coco, for videos jsonl."
    ),
    draw: bool = typer.Option(True, help="Draw the poses into pictures and videos."),
    explain: bool = typer.Option(
        False, "--explain", help="Also show which patches each keypoint group kept (needs torch)."
    ),
    threshold: float = typer.Option(0.3, min=0, max=1, help="Keypoints with a lower calibrated score are not drawn."),
    min_score: float = typer.Option(
        0.0, min=0, max=1, help="Drop people with a lower score: detector times mean keypoint."
    ),
    track: bool = typer.Option(None, help="Give people ids over time. Default: for videos, streams and cameras."),
    smooth: bool = typer.Option(False, "--smooth", help="Calm the keypoints over time (needs tracking)."),
    detect_every: int = typer.Option(
        1, min=1, help="Detect on every n-th frame; boxes in between come from the poses. Photos: with --track."
    ),
    stride: int = typer.Option(1, min=1, help="Take every n-th frame."),
    start: float = typer.Option(None, min=0, help="Seconds into the video."),
    end: float = typer.Option(None, min=0, help="Seconds into the video."),
    engine: str = typer.Option(None, help="onnxruntime, openvino or torch. Default: what reads the weights."),
    device: str = typer.Option(
        "cpu", help="cpu; onnxruntime: cuda, coreml; openvino: gpu, npu; torch: cuda, cuda:1. An error if it is not there."
    ),
    threads: int = typer.Option(None, min=1, help="CPU threads of the network. Default: the engine's choice."),
    precision: str = typer.Option("float32", help="float32, or bfloat16: faster, in OpenVINO on CPUs that have it."),
    batch_size: int = typer.Option(32, min=1, help="People per call of the network."),
    flip_test: bool = typer.Option(False, "--flip-test", help="Average with the mirrored crop: slower, a little better."),
    as_json: bool = typer.Option(False, "--json", help="Print a summary as JSON and show no progress."),
) -> None:
    """Find people and their keypoints.

    OUT gets the drawn pictures or videos and one keypoint file per source. A photo in which nobody is found gives an empty
    result.
    """
    from gtpt.prediction.runner import predict as run

    summary = run(
        sources,
        out,
        stride=stride,
        start=start,
        end=end,
        weights=weights,
        detector=detector,
        detector_threshold=detector_threshold,
        detector_device=detector_device,
        boxes=boxes,
        format=format,
        draw=draw,
        explain=explain,
        threshold=threshold,
        min_score=min_score,
        track=track,
        smooth=smooth,
        detect_every=detect_every,
        engine=engine,
        device=device,
        threads=threads,
        precision=precision,
        batch_size=batch_size,
        flip_test=flip_test,
        quiet=as_json,
    )
    _show(summary, as_json)
    raise typer.Exit(summary.exit_code)


def _show(summary: Summary, as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
        return
    for source in summary.sources:
        typer.echo(f"{source.name}: {source.people} poses in {source.frames} frames -> {', '.join(source.files)}")
    for name, reason in summary.skipped:
        typer.secho(f"skipped {name}: {reason}", fg="yellow", err=True)
    if summary.interrupted:
        typer.secho("interrupted; what was done is kept", fg="yellow", err=True)
