"""`gtpt web`: the page for browsers."""

from __future__ import annotations

from pathlib import Path

import typer

NONE = "none"


def web(
    folder: Path = typer.Argument(help="Where to write: a new or empty folder, or one that this command wrote."),
    weights: str = typer.Option("gtpt-t-coco17", help="Registered name, or an *.onnx of `gtpt export`."),
    detector: str = typer.Option(
        "yolox-nano", help=f'Registered name, a YOLOX *.onnx, or "{NONE}": then it can be dropped into the page.'
    ),
    runtime: Path = typer.Option(
        None, help="onnxruntime-web as *.tgz of npm, or a folder with its files. Default: fetch it once, by npm or https."
    ),
) -> None:
    """Write a page that finds poses in a browser: photos, videos, the camera; nothing is uploaded.

    The folder works offline, from any static host. See docs/web.md.
    """
    from gtpt.web import write_web

    written = write_web(folder, weights=weights, detector=None if detector == NONE else detector, runtime=runtime)
    finder = written.detector or "no detector"
    typer.echo(f"{written.path}: {written.pose}, {finder}, {written.bytes / 1e6:.0f} MB")
    typer.echo(f"Look at it: python -m http.server --directory {written.path} 8000, then http://localhost:8000")
