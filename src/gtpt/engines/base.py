"""Engines: RGB uint8 crops in, SimCC logits out, whatever runs the network underneath."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from gtpt.core.calibration import Calibration
from gtpt.core.errors import InputError, WeightsError
from gtpt.core.extras import require
from gtpt.core.skeleton import Skeleton
from gtpt.engines.session import available_cores, open_session, unreadable
from gtpt.model.config import GTPTConfig, decode_header, parse_header

if TYPE_CHECKING:
    from gtpt.model.network import GTPT

Crops2SimCC = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
EngineName = Literal["onnxruntime", "openvino", "torch"]
Precision = Literal["float32", "bfloat16"]
ENGINES: dict[str, tuple[str, ...]] = {  # what each reads
    "onnxruntime": (".onnx",),
    "openvino": (".onnx",),
    "torch": (".safetensors", ".pth", ".pt"),
}
OUT_OF_MEMORY = re.compile(r"bad.alloc|allocate|alloc_failed|out of memory", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class NetworkInfo:
    """What a weights file says about itself.

    Attributes:
        config: sizes, input and keep rates.
        skeleton: names of the K keypoints.
        calibration: raw score -> probability of being right; None for weights without one.
        metadata: everything else in the header, e.g. figures of the training run.
    """

    config: GTPTConfig
    skeleton: Skeleton
    calibration: Calibration | None
    metadata: dict[str, Any]

    @classmethod
    def from_header(cls, header: dict[str, Any], source: str) -> NetworkInfo:
        """ValueError, with the name of the file, for a header that this version cannot read."""
        known = ("config", "skeleton", "calibration")
        config, skeleton = parse_header(header, source)
        try:
            calibration = Calibration.from_dict(header["calibration"]) if header.get("calibration") else None
        except (TypeError, ValueError) as error:
            raise WeightsError(f"{source}: the calibration in its header cannot be used: {error}") from error
        return cls(config, skeleton, calibration, {k: v for k, v in header.items() if k not in known})


@runtime_checkable
class Engine(Protocol):
    """Runs one network. `batch` is the most crops that one call takes, or None for any number."""

    info: NetworkInfo
    batch: int | None

    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """RGB uint8 crops (B, H, W, 3) to float32 logits (B, K, W * split), (B, K, H * split).

        Raises:
            ValueError: more crops than `batch`.
            MemoryError: more than fit in memory.
        """
        ...


class _Engine(ABC):
    """What all engines do around their network."""

    batch: int | None

    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with enough_memory(len(crops)):
            x, y = self._run(fill(crops, self.batch))
        return x[: len(crops)], y[: len(crops)]

    @abstractmethod
    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits of a batch that has the right size."""


class OnnxEngine(_Engine):
    """A file of `gtpt export` in onnxruntime.

    On the CPU several people run one by one, as many at a time as there are threads: the activations of one crop stay in
    the cache, and no thread waits for another. One person alone gets all threads.
    """

    def __init__(self, path: Path, *, device: str = "cpu", threads: int | None = None):
        self.session = open_session(path, device=device, threads=threads)
        self.info = read_metadata(self.session.get_modelmeta().custom_metadata_map, path)
        self.batch = fixed_batch(self.session)
        self._one_by_one = device == "cpu" and self.batch is None
        self._path, self._threads = path, threads or available_cores()

    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self._one_by_one or len(crops) < 2:
            return tuple(self.session.run(["x", "y"], {"crops": crops}))
        session, pool = self._streams
        logits = list(pool.map(lambda i: session.run(["x", "y"], {"crops": crops[i : i + 1]}), range(len(crops))))
        return np.concatenate([x for x, _ in logits]), np.concatenate([y for _, y in logits])

    @cached_property
    def _streams(self) -> tuple[Any, ThreadPoolExecutor]:
        """A session whose calls take one thread each, and the threads that call it."""
        session = self.session if self._threads == 1 else open_session(self._path, threads=1)
        return session, ThreadPoolExecutor(self._threads, thread_name_prefix="gtpt")


class OpenVinoEngine(_Engine):
    """The same file in OpenVINO.

    In bfloat16 weights and activations have 8 significant bits (sums more), which moves keypoints by a fraction of a pixel:
    see docs/benchmarks.md.
    """

    def __init__(self, path: Path, *, device: str = "cpu", threads: int | None = None, precision: Precision = "float32"):
        openvino = require("openvino", "openvino")
        core, name = openvino.Core(), device.upper()
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
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        self._model = core.compile_model(network, name, options)
        self._lock = Lock()  # it has one request, which several callers share

    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            out = self._model([crops], share_outputs=False)
        return out["x"], out["y"]


class TorchEngine(_Engine):
    """A safetensors file of ours, or an authors' checkpoint, reparameterized in PyTorch."""

    def __init__(self, path: Path, *, device: str = "cpu", threads: int | None = None):
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
        self._net, self._device, self._threads = reparameterize(net).to(device), device, threads
        self.batch = None

    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = self._forward(crops)
        return x.cpu().numpy(), y.cpu().numpy()

    def kept(self, crops: np.ndarray) -> dict[str, list[np.ndarray]]:
        """Which patches survived each stage of pruning, for RGB uint8 crops (B, H, W, 3): see `gtpt.model.Explained`."""
        with enough_memory(len(crops)):
            kept = self._forward(crops, return_kept=True).kept
        return {stage: [ids.cpu().numpy() for ids in groups] for stage, groups in kept.items()}

    def _forward(self, crops: np.ndarray, return_kept: bool = False) -> Any:
        import torch

        from gtpt.model.network import normalize

        if self._threads is not None:
            torch.set_num_threads(self._threads)  # of the whole process: another engine may have changed it
        with torch.inference_mode():
            return self._net(normalize(torch.from_numpy(crops).to(self._device)), return_kept=return_kept)


def torch_network(net: GTPT, keep_rates: Sequence[float] | str | None = None) -> Crops2SimCC:
    """A GTPT module as it is, on whatever device, as a function on arrays: to measure what is trained or exported."""
    import torch

    from gtpt.model.network import normalize

    device = next(net.parameters()).device

    def run(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        was_training = net.training
        net.eval()
        with enough_memory(len(crops)), torch.inference_mode():
            x, y = net(normalize(torch.from_numpy(crops).to(device)), keep_rates)
        net.train(was_training)
        return x.float().cpu().numpy(), y.float().cpu().numpy()

    return run


def open_engine(
    path: str | Path,
    engine: str | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    precision: str = "float32",
) -> Engine:
    """The engine for a weights file.

    Args:
        path: *.onnx, *.safetensors, or an authors' *.pth.
        engine: "onnxruntime", "openvino" or "torch"; None takes the first that reads this kind of file.
        device: "cpu", "cuda", ...; one that is not there is an error, never a silent CPU.
        threads: of the CPU, at least 1; None for the engine's own choice.
        precision: of the arithmetic: "float32", or "bfloat16" in OpenVINO on a CPU that has instructions for it.

    Raises:
        FileNotFoundError, ValueError, ImportError: no file, an engine that does not read it or is not installed, or a
            device, number of threads or precision that is not there.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, or None for the engine's own choice, got {threads}")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    chosen = choose_engine(path, engine)
    if precision not in get_args(Precision):
        raise InputError(f"no precision {precision!r}: choose one of {list(get_args(Precision))}")
    if chosen == "openvino":
        return OpenVinoEngine(path, device=device, threads=threads, precision=precision)  # type: ignore[arg-type]
    if precision != "float32":
        raise InputError(f"{chosen} computes in float32 here; precision={precision!r} needs engine='openvino'")
    makers: dict[str, Callable[..., Engine]] = {"onnxruntime": OnnxEngine, "torch": TorchEngine}
    return makers[chosen](path, device=device, threads=threads)


def choose_engine(path: Path, engine: str | None = None) -> str:
    """Name of the engine that runs a weights file; ValueError for one that is unknown or does not read it."""
    if engine is not None and engine not in ENGINES:
        raise InputError(f"no engine {engine!r}: choose one of {list(ENGINES)}")
    fitting = [name for name, suffixes in ENGINES.items() if path.suffix.lower() in suffixes]
    if not fitting or engine not in (None, *fitting):
        reads = "; ".join(f"{name} reads {', '.join(suffixes)}" for name, suffixes in ENGINES.items())
        raise InputError(f"{path.name} cannot be run by {engine or 'any engine'}: {reads}")
    return engine or fitting[0]


def fill(crops: np.ndarray, batch: int | None) -> np.ndarray:
    """Crops (N, ...) with zeros behind them up to a fixed batch; ValueError for more than it holds."""
    missing = (batch or len(crops)) - len(crops)
    if missing < 0:
        raise InputError(f"this network takes at most {batch} crops at once, got {len(crops)}: split them")
    return np.pad(crops, ((0, missing), *[(0, 0)] * (crops.ndim - 1))) if missing else crops


@contextmanager
def enough_memory(crops: int) -> Iterator[None]:
    """MemoryError that names the batch, instead of what engines raise when one does not fit: they share no class."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(str(error)):
            raise
        raise MemoryError(
            f"{crops} crops at once do not fit in memory: use a smaller batch "
            f"(batch_size; --batch-size, or --batch of gtpt benchmark)"
        ) from error


def read_header(metadata: dict[str, str], path: str | Path) -> dict[str, Any]:
    """What `gtpt export` wrote into a file; ValueError for the file of another program."""
    if "gtpt" not in metadata:
        raise WeightsError(f"{path} is no GTPT network: expected an ONNX file written by `gtpt export`")
    return decode_header(metadata["gtpt"], str(path))


def read_metadata(metadata: dict[str, str], path: Path) -> NetworkInfo:
    """Header of an exported file; ValueError if it is not one that the estimator can run."""
    header = read_header(metadata, path)
    if (header.get("input"), header.get("output")) != ("uint8", "simcc"):
        raise WeightsError(
            f"{path} takes {header.get('input')} crops and gives {header.get('output')}; the estimator runs files that "
            f"take uint8 crops and give simcc logits: export it without --float-input and --decode"
        )
    return NetworkInfo.from_header(header, str(path))


def check_torch_device(device: str) -> None:
    """ValueError with the devices that are there, unless PyTorch has this one."""
    torch = require("torch", "torch")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if device not in there:
        fix = "" if count else "; a GPU needs its driver and a CUDA build of torch"
        raise InputError(f"PyTorch has no device {device!r} here, only {there}{fix}")


def fixed_batch(session: Any) -> int | None:
    """The only batch size that an ONNX file takes, or None."""
    size = session.get_inputs()[0].shape[0]
    return size if isinstance(size, int) else None


def _has_info(model: Any) -> bool:
    return bool(model.has_rt_info(["framework", "gtpt"]))
