"""OpenVINO: the fastest engine on Intel-like CPUs, from the same files."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from gtpt.core.errors import InputError
from gtpt.core.extras import require
from gtpt.engines.base import BatchEngine, Precision, read_metadata, unreadable
from gtpt.engines.processes import OPENED, limited_cores, reopen
from gtpt.engines.seal import check_seal


class OpenVinoEngine(BatchEngine):
    """The same file in OpenVINO.

    In bfloat16 weights and activations have 8 significant bits (sums more), which moves keypoints by a fraction of a pixel:
    see docs/benchmarks.md.
    """

    def __init__(self, path: Path, *, device: str = "cpu", threads: int | None = None, precision: Precision = "float32"):
        openvino = require("openvino", "openvino")
        core, name = _core(os.getpid()), device.upper()
        if name not in {d.split(".")[0] for d in core.available_devices}:
            raise InputError(f"OpenVINO has no device {device!r} here; available: {core.available_devices}")
        if precision == "bfloat16" and "BF16" not in core.get_property(name, "OPTIMIZATION_CAPABILITIES"):
            raise InputError(f"this {device} has no bfloat16 instructions: use precision='float32'")
        try:
            network = core.read_model(path)
        except RuntimeError as error:
            raise unreadable(str(path), f"OpenVINO {openvino.__version__}", error) from error
        info = {"gtpt": network.get_rt_info(["framework", "gtpt"]).astype(str)} if _has_info(network) else {}
        self.info = read_metadata(info, path)
        shape = network.inputs[0].partial_shape
        self.batch = None if shape[0].is_dynamic else shape[0].get_length()
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision]}
        if limit := threads or limited_cores():
            options["INFERENCE_NUM_THREADS"] = limit
        self._live = core.compile_model(network, name, options)
        self._lock, self._process = Lock(), os.getpid()  # it has one request, which several callers share
        OPENED.add(self)
        self._made_of = path.absolute(), {"device": device, "threads": threads, "precision": precision}
        check_seal(path)
        self._require_sound(path, self._run)

    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._process != os.getpid():
            raise InputError(
                "OpenVINO does not run in a forked process: open the estimator in each process after the fork, start the "
                "processes with multiprocessing's 'spawn', or use engine='onnxruntime'"
            )
        with self._lock:
            out = self._live([crops], share_outputs=False)
        return out["x"], out["y"]

    def __reduce__(self) -> tuple[Any, ...]:
        return reopen, (type(self), *self._made_of)


@cache
def _core(process: int) -> Any:
    """OpenVINO's runtime, one for each process and never closed.

    Each sets another stack for the handlers of signals and puts back the one before when it closes. Two that are closed in
    the order they were opened leave one that is gone, and the next Ctrl-C or ended child process kills the program.
    """
    return require("openvino", "openvino").Core()


def _has_info(model: Any) -> bool:
    return bool(model.has_rt_info(["framework", "gtpt"]))
