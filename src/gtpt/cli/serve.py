"""`gtpt serve`: poses over HTTP."""

from __future__ import annotations

from pathlib import Path

import typer


def serve(
    host: str = typer.Option("127.0.0.1", help="Address to listen on; 0.0.0.0 for all of this machine."),
    port: int = typer.Option(8000, min=0, max=65535, help="Port to listen on; 0 for a free one."),
    weights: str = typer.Option("gtpt-t-coco17", help="Registered name or file of the pose network."),
    detector: str = typer.Option("yolox-nano", help='Registered name, YOLOX *.onnx, or "whole-image".'),
    threads: int = typer.Option(None, min=1, help="CPU threads of the networks. Default: the engine's choice."),
    max_batch: int = typer.Option(8, min=1, help="Images that share one run of the networks."),
    max_queue: int = typer.Option(64, min=1, help="Images that wait or are worked on; more are answered with 429."),
    max_bytes: int = typer.Option(20_000_000, min=1, help="Of the body of a request."),
    max_pixels: int = typer.Option(25_000_000, min=1, help="Of an image, checked before it is decoded."),
    page: Path = typer.Option(None, help="A folder of `gtpt web`, served at /."),
) -> None:
    """Answer POST /v1/poses with the poses of images; /docs shows how, /health and /metrics how it is doing.

    Needs the extra "serve". Ctrl-C or SIGTERM ends it after the requests that it has.
    """
    from gtpt.serve.run import run

    run(
        host=host,
        port=port,
        weights=weights,
        detector=detector,
        threads=threads,
        max_batch=max_batch,
        max_queue=max_queue,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        page=page,
    )
