"""Engines that run a network; onnxruntime by default, so that no PyTorch is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from gtpt.core.errors import InputError
from gtpt.engines.auto import fastest
from gtpt.engines.base import Engine, NetworkInfo, Precision, choose_engine

__all__ = ["Engine", "NetworkInfo", "open_engine"]


def open_engine(
    path: str | Path,
    engine: str | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    precision: str = "float32",
    keep_rates: Sequence[float] | str | None = None,
) -> Engine:
    """The engine for a weights file.

    Args:
        path: *.onnx, *.safetensors, or an authors' *.pth.
        engine: "onnxruntime", "openvino" or "torch"; None takes the first that reads this kind of file.
        device: "cpu", "cuda", ...; one that is not there is an error, never a silent CPU.
        threads: of the CPU, at least 1; None for the engine's own choice.
        precision: of the arithmetic: "float32", or "bfloat16" in OpenVINO on a CPU that has instructions for it. "auto"
            times what an exported file can be run with and takes the fastest that loses little: see `gtpt.engines.auto`.
        keep_rates: of a network in PyTorch, see `GTPTConfig.choose_keep_rates`; None for those that it was trained with. An
            exported file has its own.

    Raises:
        FileNotFoundError, ValueError, ImportError: no file, an engine that does not read it or is not installed, or a
            device, number of threads or precision that is not there.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, or None for the engine's own choice, got {threads}")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    if precision == "auto":
        engine, precision = fastest(path, engine, device, threads)
    chosen = choose_engine(path, engine)
    if precision not in get_args(Precision):
        raise InputError(f"no precision {precision!r}: choose one of {[*get_args(Precision), 'auto']}")
    if keep_rates is not None and chosen != "torch":
        raise InputError(f"{path.name} prunes at the rates it was exported with: `gtpt export --keep-rates` writes another")
    if chosen == "openvino":
        from gtpt.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(path, device=device, threads=threads, precision=precision)  # type: ignore[arg-type]
    if precision != "float32":
        raise InputError(f"{chosen} computes in float32 here; precision={precision!r} needs engine='openvino'")
    if chosen == "torch":
        from gtpt.engines.torch import TorchEngine

        return TorchEngine(path, device=device, threads=threads, keep_rates=keep_rates)
    from gtpt.engines.onnx import OnnxEngine

    return OnnxEngine(path, device=device, threads=threads)
