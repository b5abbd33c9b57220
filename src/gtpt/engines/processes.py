"""Engines in the process they are in: how many cores it may use, and what a fork leaves of them."""

from __future__ import annotations

import ctypes
import math
import os
import sys
import weakref
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")  # in a container its own
OPENED: weakref.WeakSet[Any] = weakref.WeakSet()  # what holds threads of onnxruntime or OpenVINO, as its `_live`


def available_cores() -> int:
    """How many cores this process may use: fewer than the machine has under taskset or in a container."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(math.ceil(min(allowed, _quota())), 1)


def limited_cores() -> int | None:
    """`available_cores` if they are fewer than the machine has, of which libraries mostly do not know; else None."""
    cores = available_cores()
    return cores if cores < (os.cpu_count() or 1) else None


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


def reopen(kind: Any, path: Path, options: dict[str, Any]) -> Any:
    """The copy of an engine: its file is opened again, as no network can be copied while it is loaded."""
    if not path.is_file():
        raise FileNotFoundError(f"a copied or unpickled network is read again from its file, and there is none at {path}")
    return kind(path, **options)
