"""Engines: RGB uint8 crops in, SimCC logits out, whatever runs the network underneath."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from gtpt.core.calibration import Calibration
from gtpt.core.errors import InputError, WeightsError
from gtpt.core.skeleton import Skeleton
from gtpt.model.config import GTPTConfig, decode_header, parse_header

Crops2SimCC = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
EngineName = Literal["onnxruntime", "openvino", "torch"]
Precision = Literal["float32", "bfloat16"]
ENGINES: dict[str, tuple[str, ...]] = {  # what each reads
    "onnxruntime": (".onnx",),
    "openvino": (".onnx",),
    "torch": (".safetensors", ".pth", ".pt"),
}
LARGEST_BATCH = 4096  # that a file may ask for
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
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
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


class BatchEngine(ABC):
    """What all engines do around their network.

    Engines can be copied and pickled. After a fork onnxruntime opens its file again, PyTorch runs in one thread, and
    OpenVINO says that it cannot.
    """

    info: NetworkInfo
    batch: int | None

    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with enough_memory(len(crops)):
            x, y = self._run(fill(crops, self.batch))
        return x[: len(crops)], y[: len(crops)]

    def _require_sound(self, path: Path, run: Callable[[np.ndarray], Sequence[np.ndarray]]) -> None:
        """Run one grey crop; WeightsError unless the file gives what its header promises, in numbers."""
        width, height = self.info.config.input_size
        count = self.batch or 1
        if count > LARGEST_BATCH:
            raise WeightsError(f"{path} takes {count} crops at once, allowed are {LARGEST_BATCH}")
        try:
            logits = run(np.full((count, height, width, 3), 128, np.uint8))
        except MemoryError:
            raise
        except Exception as error:  # engines share no class of errors
            raise WeightsError(f"{path} does not run as its header says: {error}") from error
        expected = [(count, self.info.config.num_keypoints, bins) for bins in self.info.config.bins]
        if (found := [part.shape for part in logits]) != expected:
            raise WeightsError(f"{path} gives arrays of the shapes {found}, its header says {expected}")
        if not all(np.isfinite(part).all() for part in logits):
            raise WeightsError(f"{path} gives no finite numbers: its weights are damaged, or its training diverged")

    @abstractmethod
    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits of a batch that has the right size."""


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


def unreadable(name: str, engine: str, error: Exception) -> WeightsError:
    """What is said of a file that no network comes from, whichever engine opens it."""
    return WeightsError(
        f"cannot open {name}: expected a complete ONNX network that {engine} can run; "
        f"it says: {str(error).strip() or type(error).__name__}"
    )


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
