"""Engines that run a network; onnxruntime by default, so that no PyTorch is needed."""

from gtpt.engines.base import Engine, NetworkInfo, open_engine

__all__ = ["Engine", "NetworkInfo", "open_engine"]
