"""onnxruntime: the default engine, and the one way to open an ONNX file; imported only when a network is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

import numpy as np

from gtpt.core.errors import InputError
from gtpt.engines.base import BatchEngine, enough_memory, fill, read_metadata, unreadable
from gtpt.engines.kept import kept_patches, with_choices
from gtpt.engines.processes import OPENED, available_cores, limited_cores, reopen
from gtpt.engines.seal import check_seal

if TYPE_CHECKING:
    import onnxruntime

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "coreml": "CoreMLExecutionProvider"}
PATIENCE = 120.0  # seconds for the first crop: a busy small computer needs one
SEVERE = 3  # onnxruntime's log level "error": what it warns of is an exception here


class OnnxEngine(BatchEngine):
    """A file of `gtpt export` in onnxruntime.

    On the CPU several people run one by one, as many at a time as there are threads: the activations of one crop stay in
    the cache, and no thread waits for another. One person alone gets all threads.
    """

    def __init__(self, path: Path, *, device: str = "cpu", threads: int | None = None):
        self._session = Session(path, device=device, threads=threads)
        session = self._session.live
        self.info = read_metadata(session.get_modelmeta().custom_metadata_map, path)
        self.batch = fixed_batch(session)
        self._one_by_one = device == "cpu" and self.batch is None
        self._threads = threads or available_cores()
        self._streams: tuple[int, Session, ThreadPoolExecutor] | None = None
        self._explaining: tuple[int, onnxruntime.InferenceSession, list[str]] | None = None
        check_seal(path)
        with _time_limit() as options:
            self._require_sound(path, lambda crops: session.run(["x", "y"], {"crops": crops}, options))

    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self._one_by_one or len(crops) < 2:
            x, y = self._session.run(["x", "y"], {"crops": crops})
            return x, y
        session, pool = self._opened_streams()
        logits = list(pool.map(lambda i: session.run(["x", "y"], {"crops": crops[i : i + 1]}), range(len(crops))))
        return np.concatenate([x for x, _ in logits]), np.concatenate([y for _, y in logits])

    def kept(self, crops: np.ndarray) -> dict[str, list[np.ndarray]]:
        """Which patches survived each stage of pruning, for RGB uint8 crops (B, H, W, 3): see `gtpt.model.Explained`."""
        config, path = self.info.config, self._session.path
        if self._explaining is None or self._explaining[0] != os.getpid():
            model, names = with_choices(path.read_bytes(), config)
            opened = open_session(model, device=self._session.device, threads=self._session.threads)
            self._explaining = os.getpid(), opened, names
        _, session, names = self._explaining
        step = self.batch or len(crops)
        with enough_memory(len(crops)):
            parts = [
                session.run(names, {"crops": fill(crops[start : start + step], self.batch)})
                for start in range(0, len(crops), step)
            ]
        choices = [np.concatenate(found)[: len(crops)] for found in zip(*parts, strict=True)]
        return kept_patches(config, choices)

    def _opened_streams(self) -> tuple[Session, ThreadPoolExecutor]:
        """A session whose calls take one thread each, and the threads that call it; anew after a fork."""
        if self._streams is None or self._streams[0] != os.getpid():
            session = self._session if self._threads == 1 else Session(self._session.path, threads=1)
            session.live  # noqa: B018  # opened here, once, and not by all threads
            self._streams = os.getpid(), session, ThreadPoolExecutor(self._threads, thread_name_prefix="gtpt")
        return self._streams[1:]

    def __reduce__(self) -> tuple[Any, ...]:
        options = {"device": self._session.device, "threads": self._session.threads}
        return reopen, (type(self), self._session.path, options)


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
        return reopen, (type(self), self.path, {"device": self.device, "threads": self.threads})


@contextmanager
def _time_limit() -> Iterator[onnxruntime.RunOptions]:
    """Options that end the first run of a file that has a loop without end."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    timer = Timer(PATIENCE, partial(setattr, options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()


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


def _no_device(device: str, providers: list[str]) -> InputError:
    there = [name for name, provider in PROVIDERS.items() if provider in providers]
    fix = "; `pip install onnxruntime-gpu` and its CUDA and cuDNN libraries bring it" if device == "cuda" else ""
    return InputError(f"onnxruntime has no device {device!r} here, only {there}{fix}")


def fixed_batch(session: Any) -> int | None:
    """The only batch size that an ONNX file takes, or None."""
    size = session.get_inputs()[0].shape[0]
    return size if isinstance(size, int) else None
