"""PyTorch: for checkpoints, and for GPUs with CUDA."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gtpt.core.errors import InputError
from gtpt.core.extras import require
from gtpt.engines.base import BatchEngine, Crops2SimCC, NetworkInfo, enough_memory
from gtpt.engines.processes import reopen

if TYPE_CHECKING:
    from gtpt.model.network import GTPT


# The GNU C library asks the system for each larger array anew and gives it back, which takes a quarter of a pass. Smaller
# ones it keeps, once it has seen one of about this size.
KEPT = 31 << 20  # bytes
WIDEST = 32  # floats of the largest array of a network, for each pixel of a crop


class TorchEngine(BatchEngine):
    """A safetensors file of ours, or an authors' checkpoint, reparameterized in PyTorch."""

    def __init__(
        self,
        path: Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        keep_rates: Sequence[float] | str | None = None,
    ):
        require("torch", "torch")
        from gtpt.model import load, load_official
        from gtpt.model.reparameterize import reparameterize

        check_torch_device(device)
        if path.suffix == ".safetensors":
            from gtpt.model.checkpoint import read_header

            self.info = NetworkInfo.from_header(read_header(path), str(path))
            net = load(path)
        else:
            net = load_official(path)
            assert net.skeleton is not None
            self.info = NetworkInfo(net.config, net.skeleton, None, {})
        net.config = replace(net.config, keep_rates=net.config.choose_keep_rates(keep_rates))
        self.info = replace(self.info, config=net.config)
        self._net, self._device, self._threads = reparameterize(net).to(device), device, threads
        if device == "cpu":
            _keep_memory()
        self._process = os.getpid()
        self._made_of = path.absolute(), {"device": device, "threads": threads, "keep_rates": keep_rates}
        self.batch = None

    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [self._forward(chunk) for chunk in in_chunks(crops, self._device)]
        x, y = (np.concatenate([part.cpu().numpy() for part in logits]) for logits in zip(*parts, strict=True))
        return x, y

    def kept(self, crops: np.ndarray) -> dict[str, list[np.ndarray]]:
        """Which patches survived each stage of pruning, for RGB uint8 crops (B, H, W, 3): see `gtpt.model.Explained`."""
        with enough_memory(len(crops)):
            kept = self._forward(crops, return_kept=True).kept
        return {stage: [ids.cpu().numpy() for ids in groups] for stage, groups in kept.items()}

    def _forward(self, crops: np.ndarray, return_kept: bool = False) -> Any:
        import torch

        from gtpt.model.network import normalize

        if self._process != os.getpid():  # the threads did not come along: more than one would wait for them for ever
            torch.set_num_threads(1)
        elif self._threads is not None:
            torch.set_num_threads(self._threads)  # of the whole process: another engine may have changed it
        with torch.inference_mode():
            return self._net(normalize(torch.from_numpy(crops).to(self._device)), return_kept=return_kept)

    def __reduce__(self) -> tuple[Any, ...]:
        return reopen, (type(self), *self._made_of)


def torch_network(net: GTPT, keep_rates: Sequence[float] | str | None = None) -> Crops2SimCC:
    """A GTPT module as it is, on whatever device, as a function on arrays: to measure what is trained or exported."""
    import torch

    from gtpt.model.network import normalize

    device = next(net.parameters()).device

    def run(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        was_training = net.training
        net.eval()
        try:
            with enough_memory(len(crops)), torch.inference_mode():
                chunks = in_chunks(crops, device.type)
                parts = [net(normalize(torch.from_numpy(chunk).to(device)), keep_rates) for chunk in chunks]
        finally:
            net.train(was_training)
        x, y = (np.concatenate([part.float().cpu().numpy() for part in logits]) for logits in zip(*parts, strict=True))
        return x, y

    if device.type == "cpu":
        _keep_memory()
    return run


def in_chunks(crops: np.ndarray, device: str) -> list[np.ndarray]:
    """Crops (B, H, W, 3) as they are on a GPU; on the CPU in chunks whose activations the allocator keeps."""
    if device != "cpu":
        return [crops]
    size = max(KEPT // (4 * WIDEST * crops.shape[1] * crops.shape[2]), 1)
    return [crops[start : start + size] for start in range(0, len(crops), size)] or [crops]


def _keep_memory() -> None:
    import torch

    torch.empty(KEPT, dtype=torch.uint8)


def check_torch_device(device: str) -> None:
    """ValueError with the devices that are there, unless PyTorch has this one."""
    torch = require("torch", "torch")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if device not in there:
        fix = "" if count else "; a GPU needs its driver and a CUDA build of torch"
        raise InputError(f"PyTorch has no device {device!r} here, only {there}{fix}")
