"""What a detector is, what it gives, and how any function becomes one."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gtpt.core.errors import InputError
from gtpt.core.geometry import MAX_COORDINATE
from gtpt.io.arrays import as_rgb, is_single

logger = logging.getLogger(__name__)

SHARES = "lies within the first pixel: boxes are in pixels, not shares of the picture; multiply by its width and height"
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
            raise ValueError(f"boxes must have shape (N, 4), x1, y1, x2, y2, or (N, 5) with scores, got {boxes.shape}")
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


def in_first_pixel(boxes: np.ndarray) -> np.ndarray:
    """(N,) bool: where shares of the picture lie that are taken for pixels."""
    return np.asarray(((boxes >= 0) & (boxes <= 1)).all(axis=1))


class Detector(ABC):
    """Finds people. Any function of images can do it too, see `as_detector`."""

    def __call__(self, images: np.ndarray | Sequence[np.ndarray], names: Sequence[str] | None = None) -> Any:
        """People of each image.

        Args:
            images: RGB uint8 (H, W, 3), one or a list of them, of any sizes.
            names: file names of photos, frame numbers of videos; only boxes that are kept by name need them.

        Returns:
            `Detections` of one image, or a list of them, one for each; empty where nobody is found.

        Raises:
            ValueError: an image that cannot be used, named by its position.
        """
        if is_single(images):
            return self._detect([as_rgb(images, "the image")], [names] if isinstance(names, str) else names)[0]
        return self._detect([as_rgb(image, f"image {i}") for i, image in enumerate(images)], names)

    @abstractmethod
    def _detect(self, images: Sequence[np.ndarray], names: Sequence[str] | None) -> list[Detections]:
        """One `Detections` for each image; see `__call__`."""


class WholeImage(Detector):
    """One person per image, who fills it: for photos that are cropped already."""

    def _detect(self, images: Sequence[np.ndarray], names: Sequence[str] | None) -> list[Detections]:
        return [Detections(np.array([[0, 0, image.shape[1], image.shape[0]]]), np.ones(1)) for image in images]


class _Adapter(Detector):
    def __init__(self, function: Callable[[Sequence[np.ndarray]], Sequence[Any]]):
        self.function = function
        self._pixels = False  # whether a box was seen that is larger than a pixel

    def _detect(self, images: Sequence[np.ndarray], names: Sequence[str] | None) -> list[Detections]:
        results = self.function(images)
        if not isinstance(results, Iterable):
            raise ValueError(f"the detector gave {type(results).__name__}: it must give a list, boxes for each image")
        results = list(results)
        if len(results) != len(images):
            raise ValueError(
                f"the detector gave {len(results)} results for {len(images)} images: it must give one for each"
            )
        try:
            found = [to_detections(result, f"detector, image {i}") for i, result in enumerate(results)]
        except InputError as error:  # a bug of the function, which must not pass for a photo that cannot be used
            raise ValueError(str(error)) from error
        shares = [in_first_pixel(people.boxes) for people in found]
        self._pixels = self._pixels or not all(small.all() for small in shares)
        if not self._pixels and any(small.any() for small in shares):
            first = next(people.boxes[0] for people in found if len(people))
            raise ValueError(f"the detector gave the box {first.tolist()}, which {SHARES}")
        return [people[~small] for people, small in zip(found, shares, strict=True)]


def as_detector(detector: Detector | Callable[[Sequence[np.ndarray]], Sequence[Any]]) -> Detector:
    """Make any function a detector.

    Args:
        detector: takes a list of RGB uint8 images and gives for each what `to_detections` takes, such as an (N, 4) array of
            boxes. What it gives is checked; what it raises is raised. A `Detector` comes back as it is.
    """
    if not callable(detector):
        raise InputError(f"a detector must be callable with a list of images, got {type(detector).__name__}")
    return detector if isinstance(detector, Detector) else _Adapter(detector)


def to_detections(value: Any, where: str) -> Detections:
    """Boxes in any usual form.

    Args:
        value: `Detections`; `supervision.Detections`, of which only those of the class "person" count where classes are
            named; (N, 4) boxes x1, y1, x2, y2, whose scores are then 1; (N, 5) boxes with a score behind them; or a pair
            (boxes, scores).
        where: what errors begin with.

    Raises:
        InputError: none of these, or boxes or scores that cannot be.
    """
    if isinstance(value, Detections):
        return value
    boxes, scores = split_boxes(value, where)
    try:
        return Detections(boxes, np.ones(boxes.shape[:1] if boxes.size else 0) if scores is None else scores)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: {error}") from error


def split_boxes(value: Any, where: str) -> tuple[np.ndarray, Any]:
    """Boxes as float32 and their scores, or None where there are none, from what `to_detections` takes; not checked yet."""
    if isinstance(value, Detections):
        return value.boxes, value.scores
    try:
        if hasattr(value, "xyxy") and hasattr(value, "confidence"):
            return _from_supervision(value)
        if isinstance(value, tuple) and len(value) == 2 and not all(np.shape(part) == (4,) for part in value):
            return np.asarray(value[0], dtype=np.float32), np.asarray(value[1], dtype=np.float32)  # and not two boxes
        boxes = np.asarray(value, dtype=np.float32)
    except (ValueError, TypeError, RuntimeError) as error:  # the last of tensors that are not on the CPU, or in training
        given = repr(value)[:60] if isinstance(value, (str, list, tuple)) else type(value).__name__
        raise InputError(
            f"{where}: boxes must be an (N, 4) array of x1, y1, x2, y2 in pixels, or (N, 5) with scores, got {given} "
            f"({error})"
        ) from error
    if boxes.ndim == 2 and boxes.shape[1] == 5:
        return boxes[:, :4], boxes[:, 4]
    return boxes, None


def _from_supervision(found: Any) -> tuple[np.ndarray, Any]:
    names = (getattr(found, "data", None) or {}).get("class_name")
    people = slice(None) if names is None else np.char.lower(np.asarray(names, str)) == "person"
    boxes = np.asarray(found.xyxy, dtype=np.float32)[people]
    return boxes, None if found.confidence is None else np.asarray(found.confidence)[people]
