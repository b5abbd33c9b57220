"""One way to open an ONNX file with onnxruntime; imported only when a network is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gtpt.core.errors import InputError, WeightsError

if TYPE_CHECKING:
    import onnxruntime

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "coreml": "CoreMLExecutionProvider"}
SEVERE = 3  # onnxruntime's log level "error": what it warns of is an exception here


def open_session(
    model: str | Path | bytes, *, device: str = "cpu", threads: int | None = None
) -> onnxruntime.InferenceSession:
    """A session with all graph optimisations.

    Args:
        model: path of an ONNX file, or its content.
        device: "cpu", "cuda" or "coreml". Operators that "cuda" or "coreml" lack run on the CPU.
        threads: that share one operator on the CPU; None leaves the number to onnxruntime. Operators run one by one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an ONNX network, one that onnxruntime cannot run, or a device that is not there: onnxruntime itself
            would go on with the CPU.
    """
    import onnxruntime

    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, or None for onnxruntime's choice, got {threads}")
    if device not in PROVIDERS:
        raise InputError(f"no device {device!r}: choose one of {list(PROVIDERS)}")
    wanted = PROVIDERS[device]
    if wanted not in onnxruntime.get_available_providers():
        raise _no_device(device, onnxruntime.get_available_providers())
    if not isinstance(model, bytes) and not Path(model).is_file():
        raise FileNotFoundError(f"no ONNX file at {model}")

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads or 0  # 0 is onnxruntime's own choice
    options.log_severity_level = SEVERE
    # Else the threads of one network spin on after its run and take the cores of the next one, such as pose after detector:
    # two networks in turns on two threads then take twice as long.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers = list(dict.fromkeys([wanted, PROVIDERS["cpu"]]))
    try:
        session = onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options, providers)
    except Exception as error:  # onnxruntime's errors have no common base class
        name = "the ONNX data" if isinstance(model, bytes) else str(model)
        raise unreadable(name, f"onnxruntime {onnxruntime.__version__}", error) from error
    if wanted not in session.get_providers():  # listed, but its libraries did not load
        raise _no_device(device, session.get_providers())
    return session


def unreadable(name: str, engine: str, error: Exception) -> WeightsError:
    """What is said of a file that no network comes from, whichever engine opens it."""
    return WeightsError(
        f"cannot open {name}: expected a complete ONNX network that {engine} can run; "
        f"it says: {str(error).strip() or type(error).__name__}"
    )


def available_cores() -> int:
    """How many cores this process may use: fewer than the machine has in a container that was given some of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _no_device(device: str, providers: list[str]) -> InputError:
    there = [name for name, provider in PROVIDERS.items() if provider in providers]
    fix = "; `pip install onnxruntime-gpu` and its CUDA and cuDNN libraries bring it" if device == "cuda" else ""
    return InputError(f"onnxruntime has no device {device!r} here, only {there}{fix}")
