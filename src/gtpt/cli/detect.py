"""`gtpt detect`: see `gtpt.prediction.detections`."""

from __future__ import annotations

from pathlib import Path

import typer


def detect(
    sources: list[str] = typer.Argument(help="Photos and folders of photos, or one video."),
    out: Path = typer.Option("detections.json", "--out", "-o", help="The file to write, *.json."),
    detector: str = typer.Option("yolox-nano", help="Registered name, a YOLOX *.onnx, or whole-image."),
    detector_threshold: float = typer.Option(
        None, min=0, max=1, help="Leave out people with a lower score. Default: 0.3; to measure poses, 0.05."
    ),
    annotations: Path = typer.Option(
        None, help="COCO file whose ids the images get; others are skipped. Default: numbers or names of files."
    ),
    device: str = typer.Option("cpu", help="cpu, cuda or coreml."),
    threads: int = typer.Option(None, min=1, help="CPU threads. Default: onnxruntime's choice."),
    as_json: bool = typer.Option(False, "--json", help="Print a summary as JSON and show no progress."),
) -> None:
    """Find people once and write their boxes as COCO results, for `gtpt test --boxes` and `gtpt predict --boxes`.

    Interrupted or killed, the same command goes on where it was; OUT is complete or not there.
    """
    from gtpt.cli.predict import show_summary
    from gtpt.prediction.detections import write_detections

    summary = write_detections(
        sources,
        out,
        detector=detector,
        detector_threshold=detector_threshold,
        annotations=annotations,
        device=device,
        threads=threads,
        quiet=as_json,
    )
    show_summary(summary, as_json, what="people", kept="the same command goes on where it was")
    raise typer.Exit(summary.exit_code)
