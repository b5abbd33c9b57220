"""Is an exported file the network that it was made of? Compared in pixels, on real crops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gtpt.core import simcc
from gtpt.core.errors import InputError, WeightsError
from gtpt.core.geometry import BOX_PADDING, PIXEL_MEAN, PIXEL_STD
from gtpt.engines.base import enough_memory, fill, read_header
from gtpt.engines.onnx import fixed_batch, open_session
from gtpt.engines.torch import torch_network

if TYPE_CHECKING:
    from gtpt.model.network import GTPT

BATCH = 8  # crops per run


@dataclass(frozen=True)
class Verification:
    """How far a file is from the network that it was made of, on N crops of K keypoints.

    Attributes:
        keypoints: N * K, how many were compared.
        max_px, mean_px: distance of the decoded keypoints in crop pixels.
        changed: share of keypoints that are not where they were.
        max_logit: largest difference of a logit, or of a raw score if the file decodes by itself.
    """

    keypoints: int
    max_px: float
    mean_px: float
    changed: float
    max_logit: float

    def __str__(self) -> str:
        return (
            f"{self.keypoints} keypoints: max {self.max_px:.3g} px, mean {self.mean_px:.3g} px, {self.changed:.2%} moved, "
            f"max difference of outputs {self.max_logit:.2g}"
        )


def verify_onnx(path: str | Path, model: GTPT, crops: np.ndarray, bound_px: float = 0.5) -> Verification:
    """Run a file with onnxruntime and its network with PyTorch on the same crops, and compare where the keypoints are.

    Coordinates are multiples of 1 / split: a keypoint stays where it is or moves by a bin or more.

    Args:
        path: of `export_onnx`.
        model: the network of the file.
        crops: (N, H, W, 3) uint8 RGB of real people; noise has no keypoints to compare.
        bound_px: largest mean distance in crop pixels that passes.

    Raises:
        FileNotFoundError: no file.
        ValueError: a broken or foreign file, no crops, crops of another size, keypoints further apart than `bound_px`.
    """
    file = OnnxFile(path)
    crops = check_crops(crops, model.config.input_size)
    decoded, split = file.header["output"] == "keypoints", model.config.simcc_split
    parts = [torch_network(model)(crops[i : i + BATCH]) for i in range(0, len(crops), BATCH)]
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    expected = simcc.decode(x, y, split) if decoded else (x, y)
    got = file.run(crops)
    points = [out[0] if decoded else simcc.decode(*out, split)[0] for out in (got, expected)]
    distance = np.linalg.norm(points[0] - points[1], axis=-1)
    result = Verification(
        keypoints=distance.size,
        max_px=float(distance.max()),
        mean_px=float(distance.mean()),
        changed=float((distance > 0).mean()),
        max_logit=max(float(np.abs(a - b).max()) for a, b in list(zip(got, expected, strict=True))[decoded:]),
    )
    if not result.mean_px <= bound_px:
        raise WeightsError(f"{path} differs from its network: {result}; allowed is a mean of {bound_px} px")
    return result


def bfloat16_cost(model: GTPT, crops: np.ndarray) -> float:
    """What the keypoints lose in bfloat16, which decides whether precision="auto" may take it.

    It is 1 - the mean similarity (OKS of a keypoint, with the box of the crop as area) of the keypoints in bfloat16 and in
    float32, both in PyTorch: 0 if none moves.

    Args:
        model: the network.
        crops: (N, H, W, 3) uint8 RGB of real people.
    """
    import torch

    assert model.skeleton is not None
    width, height = model.config.input_size
    run = torch_network(model)
    points = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            parts = [run(crops[i : i + BATCH]) for i in range(0, len(crops), BATCH)]
        x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
        points.append(simcc.decode(x, y, model.config.simcc_split)[0])
    squared = ((points[0] - points[1]) ** 2).sum(axis=-1)
    reach = 2 * (width * height / BOX_PADDING**2) * (2 * model.skeleton.sigmas) ** 2
    return float(1 - np.exp(-squared / reach).mean())


class OnnxFile:
    """A file of ours in onnxruntime, whatever its input, batch and output."""

    def __init__(self, path: str | Path):
        self.path, self.session = path, open_session(path)
        self.header = read_header(self.session.get_modelmeta().custom_metadata_map, path)
        self.batch = fixed_batch(self.session)

    def run(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both outputs for uint8 crops (N, H, W, 3), in batches."""
        feed, size = crops if self.header["input"] == "uint8" else normalized(crops), self.batch or BATCH
        parts = [self._run(feed[start : start + size]) for start in range(0, len(feed), size)]
        first, second = (np.concatenate(out) for out in zip(*parts, strict=True))
        return first, second

    def _run(self, feed: np.ndarray) -> list[np.ndarray]:
        try:
            with enough_memory(self.batch or len(feed)):
                return [out[: len(feed)] for out in self.session.run(None, {"crops": fill(feed, self.batch)})]
        except MemoryError:
            raise
        except Exception as error:  # onnxruntime's errors have no common base class
            raise WeightsError(f"onnxruntime cannot run {self.path}: {error}; export it with other settings") from error


def check_crops(crops: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    width, height = input_size
    crops = np.asarray(crops)
    if crops.ndim != 4 or crops.shape[1:] != (height, width, 3) or crops.dtype != np.uint8:
        raise InputError(f"crops must be (N, {height}, {width}, 3) uint8, got {crops.shape} {crops.dtype}")
    if not len(crops):
        raise InputError("no crops: give at least one")
    return crops


def normalized(crops: np.ndarray) -> np.ndarray:
    """uint8 crops as the float32 input of `gtpt.model.normalize`."""
    mean, std = (np.array(c, dtype=np.float32) * 255 for c in (PIXEL_MEAN, PIXEL_STD))
    return np.ascontiguousarray(((crops - mean) / std).transpose(0, 3, 1, 2))
