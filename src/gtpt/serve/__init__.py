"""Poses over HTTP: requests that arrive together share a batch of the network."""

from gtpt.serve.app import create_app
from gtpt.serve.batching import Batcher, QueueFullError
from gtpt.serve.settings import Limits

__all__ = ["Batcher", "Limits", "QueueFullError", "create_app"]
