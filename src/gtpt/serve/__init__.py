"""Poses over HTTP: requests that arrive together share a batch of the network."""

from gtpt.core.extras import require

for _library in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
    require(_library, "serve")

from gtpt.serve.app import create_app  # noqa: E402
from gtpt.serve.batching import Batcher, QueueFullError  # noqa: E402
from gtpt.serve.settings import Limits  # noqa: E402

__all__ = ["Batcher", "Limits", "QueueFullError", "create_app"]
