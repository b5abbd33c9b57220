"""One process that serves."""

from __future__ import annotations

from pathlib import Path

from gtpt.core.errors import InputError
from gtpt.core.extras import require
from gtpt.detect import make_detector
from gtpt.estimator import PoseEstimator

KEPT_ALIVE = 10  # seconds an idle connection may stay
LAST_ANSWERS = 60  # seconds for what is under way when the server is told to stop


def run(
    *,
    host: str,
    port: int,
    weights: str,
    detector: str,
    threads: int | None,
    max_batch: int,
    max_queue: int,
    max_bytes: int,
    max_pixels: int,
    page: Path | None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is there; see `gtpt serve --help`.

    Raises:
        ImportError: without the `serve` extra.
        FileNotFoundError, ConnectionError, ValueError: weights, a detector or limits that cannot be used.
    """
    uvicorn = require("uvicorn", "serve")
    require("fastapi", "serve")
    from gtpt.serve import Limits, create_app

    if page is not None and not (page / "index.html").is_file():
        raise InputError(f"{page} holds no page: write it with `gtpt web {page}`")
    limits = Limits(
        max_batch=max_batch,
        max_queue=max_queue,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        max_images=min(Limits.max_images, max_queue),
    )
    estimator = PoseEstimator(weights, threads=threads)
    app = create_app(estimator, make_detector(detector, threads=threads), limits=limits, page=page)
    patience = {"timeout_keep_alive": KEPT_ALIVE, "timeout_graceful_shutdown": LAST_ANSWERS}
    uvicorn.run(app, host=host, port=port, server_header=False, **patience)
