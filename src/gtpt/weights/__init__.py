"""Weights by name: bundled with the package, in the user's cache, or downloaded; always checked by sha256."""

from gtpt.weights.registry import Weights, WeightsFile, load_registry, model_card
from gtpt.weights.store import cache_dir, download, list_weights, resolve

__all__ = [
    "Weights",
    "WeightsFile",
    "cache_dir",
    "download",
    "list_weights",
    "load_registry",
    "model_card",
    "resolve",
]
