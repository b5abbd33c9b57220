"""One way to open an ONNX file with onnxruntime; imported only when a network is opened."""

from __future__ import annotations

import ctypes
import math
import os
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
        threads: that share one operator on the CPU; None for one per core that this process may use. Operators run one by
            one.

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
    options.intra_op_num_threads = threads or limited_cores() or 0  # 0 is onnxruntime's own choice
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


class Session:
    """An onnxruntime session that can be copied, pickled and used after a fork: it opens its file again.

    The threads of a session do not live on in a forked child, where its next run would wait for them for ever.

    Args:
        path, device, threads: as of `open_session`. A copy in another place needs the file there, under the same path.

    Raises:
        FileNotFoundError, ValueError: see `open_session`; also in a child or a copy whose file has gone since.
    """

    def __init__(self, path: str | Path, *, device: str = "cpu", threads: int | None = None):
        self.path, self.device, self.threads = Path(path).absolute(), device, threads
        self._open()

    def _open(self) -> None:
        self._live = open_session(self.path, device=self.device, threads=self.threads)
        self._process = os.getpid()
        OPENED.add(self)

    @property
    def live(self) -> onnxruntime.InferenceSession:
        """The session of this process."""
        if self._process != os.getpid():
            self._open()
        return self._live

    def run(self, outputs: Sequence[str] | None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs by name, all if None."""
        found: list[np.ndarray] = self.live.run(outputs, inputs)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path, self.device, self.threads)


OPENED: weakref.WeakSet[Any] = weakref.WeakSet()  # what holds threads of onnxruntime or OpenVINO, as its `_live`


def _after_fork() -> None:
    """Keep a forked child from waiting for threads that did not come along.

    What the parent opened is never closed: closing it joins its threads, whose handles may by now be those of new ones. And
    the child ends without the exit handlers of the libraries, when Python has run its own and flushed its files; only the
    GNU C library tells such handlers the exit status.
    """
    for owner in OPENED:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner._live))
    if {"onnxruntime", "openvino"} & set(sys.modules) and hasattr(libc := ctypes.CDLL(None), "on_exit"):
        libc.on_exit(libc._exit, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _reopened(path: Path, device: str, threads: int | None) -> Session:
    return Session(path, device=device, threads=threads)


def available_cores() -> int:
    """How many cores this process may use: fewer than the machine has under taskset or in a container."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(math.ceil(min(allowed, _quota())), 1)


def limited_cores() -> int | None:
    """`available_cores` if they are fewer than the machine has, of which libraries mostly do not know; else None."""
    cores = available_cores()
    return cores if cores < (os.cpu_count() or 1) else None


CGROUPS = Path("/sys/fs/cgroup")  # in a container its own


def _quota() -> float:
    """Cores' worth of time that a container may use; infinite without a limit."""
    for parts in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2 and version 1
        try:
            quota, period = " ".join((CGROUPS / part).read_text() for part in parts).split()
            if quota not in ("max", "-1"):
                return int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return math.inf


def _no_device(device: str, providers: list[str]) -> InputError:
    there = [name for name, provider in PROVIDERS.items() if provider in providers]
    fix = "; `pip install onnxruntime-gpu` and its CUDA and cuDNN libraries bring it" if device == "cuda" else ""
    return InputError(f"onnxruntime has no device {device!r} here, only {there}{fix}")
