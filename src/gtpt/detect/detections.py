"""What a detector is, what it gives, and how any function becomes one."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

MAX_COORDINATE = 1e7  # pixels, of a box: beyond every picture, where float32 still tells halves
SCORE_ROUNDING = 1e-5  # by which arithmetic in float32 or float16 may leave [0, 1]


@dataclass(frozen=True, eq=False)
class Detections:
    """N people of one image, best first where a network found them.

    Attributes:
        boxes: (N, 4) float32, x1, y1, x2, y2 in pixels of the image. They can reach beyond its border.
        scores: (N,) float32 in [0, 1]; what rounding put just outside is moved to the bound.

    A box of no width or height, or one beyond every picture, is left out with a warning: detectors give such now and then,
    and no pose can come from them.

    Raises:
        ValueError: a wrong shape, a value that is not finite, x2 <= x1 or y2 <= y1, a score outside [0, 1].
    """

    boxes: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        boxes, scores = (np.array(a, dtype=np.float32) for a in (self.boxes, self.scores))  # copies, as in Poses
        boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes must have shape (N, 4), x1, y1, x2, y2, got {boxes.shape}")
        if scores.shape != (len(boxes),):
            raise ValueError(f"scores must have shape ({len(boxes)},), one for each box, got {scores.shape}")
        boxes, scores = _with_extent(boxes, scores)
        sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        if not sound.all():
            i = int(np.argmin(sound))
            raise ValueError(
                f"box {i} must be x1, y1, x2, y2 with x2 > x1 and y2 > y1, got {boxes[i].tolist()}; "
                f"is it x, y, width, height?"
            )
        usable = (scores >= -SCORE_ROUNDING) & (scores <= 1 + SCORE_ROUNDING)
        if not usable.all():
            i = int(np.argmin(usable))
            raise ValueError(f"score {i} must be in [0, 1], got {scores[i]}")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", np.clip(scores, 0, 1))

    @classmethod
    def empty(cls) -> Detections:
        """Nobody."""
        return cls(np.zeros((0, 4)), np.zeros(0))

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: slice | Sequence[int] | np.ndarray) -> Detections:
        """Some of the people, by slice, list of indices or boolean mask."""
        return Detections(self.boxes[index], self.scores[index])


def _with_extent(boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without boxes of no width or height, and those beyond every picture."""
    with np.errstate(invalid="ignore", over="ignore"):
        sides = boxes[:, 2:] - boxes[:, :2]
        flat = (sides >= 0).all(axis=1) & (sides == 0).any(axis=1)
        endless = np.isfinite(boxes).all(axis=1) & (np.abs(boxes) > MAX_COORDINATE).any(axis=1)
    useless = flat | endless
    if not useless.any():
        return boxes, scores
    logger.warning("%d of %d boxes are left out, such as %s", useless.sum(), len(boxes), boxes[useless][0].tolist())
    return boxes[~useless], scores[~useless]


class Detector(ABC):
    """Finds people. Any function of images can do it too, see `as_detector`."""

    @abstractmethod
    def __call__(self, images: Sequence[np.ndarray], names: Sequence[str] | None = None) -> list[Detections]:
        """People of each image.

        Args:
            images: RGB uint8 (H, W, 3), of any sizes.
            names: file names of photos, frame numbers of videos; only boxes that are kept by name need them.

        Returns:
            One `Detections` per image; empty where nobody is found.

        Raises:
            ValueError: an image that cannot be used, named by its position.
        """


class WholeImage(Detector):
    """One person per image, who fills it: for photos that are cropped already."""

    def __call__(self, images: Sequence[np.ndarray], names: Sequence[str] | None = None) -> list[Detections]:
        return [Detections(np.array([[0, 0, image.shape[1], image.shape[0]]]), np.ones(1)) for image in images]


class _Adapter(Detector):
    def __init__(self, function: Callable[[Sequence[np.ndarray]], Sequence[Any]]):
        self.function = function

    def __call__(self, images: Sequence[np.ndarray], names: Sequence[str] | None = None) -> list[Detections]:
        results = list(self.function(images))
        if len(results) != len(images):
            raise ValueError(
                f"the detector gave {len(results)} results for {len(images)} images: it must give one for each"
            )
        return [to_detections(result, f"detector, image {i}") for i, result in enumerate(results)]


def as_detector(detector: Detector | Callable[[Sequence[np.ndarray]], Sequence[Any]]) -> Detector:
    """Make any function a detector.

    Args:
        detector: takes a sequence of RGB uint8 images and gives for each `Detections`, a pair (boxes, scores), or an
            (N, 4) array of boxes, whose scores are then 1. What it gives is checked. A `Detector` comes back as it is.
    """
    if not callable(detector):
        raise ValueError(f"a detector must be callable with a list of images, got {type(detector).__name__}")
    return detector if isinstance(detector, Detector) else _Adapter(detector)


def to_detections(value: Any, where: str) -> Detections:
    """`Detections`, a tuple (boxes, scores) or (N, 4) boxes as `Detections`; a ValueError begins with `where`."""
    if isinstance(value, Detections):
        return value
    try:
        if isinstance(value, tuple) and len(value) == 2:
            return Detections(*value)
        boxes = np.asarray(value, dtype=np.float32)
        return Detections(boxes, np.ones(len(boxes)))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error
