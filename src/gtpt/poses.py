"""Poses: the result type. NumPy only, validated, and an empty result is a legal one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from gtpt.skeleton import Skeleton

NO_ID = -1


@dataclass(frozen=True, eq=False, repr=False)
class Poses:
    """N people of one image.

    Coordinates are pixels of the full image, x to the right, y down; (0, 0) is the centre of the top left pixel.

    Attributes:
        boxes: (N, 4) float32, x1, y1, x2, y2: the boxes that the poses were estimated in.
        scores: (N,) float32 person scores in [0, 1]: detector score times mean raw keypoint score (COCO rescoring).
        keypoints: (N, K, 2) float32, x and y. They can lie outside the image where a limb is cut off.
        keypoint_scores: (N, K) float32 in [0, 1]: calibrated; 0.3 means the same for every bundled model.
        raw_scores: (N, K) float32: smaller of the two SimCC maxima, at best about 0.1; evaluation ranks by it.
        ids: (N,) int64 track ids, -1 where there is none.
        image_size: width, height of the image in pixels.
        skeleton: names, edges and order of the K keypoints.

    Raises:
        ValueError: an array with the wrong shape, named with the shape that was expected.
    """

    boxes: np.ndarray
    scores: np.ndarray
    keypoints: np.ndarray
    keypoint_scores: np.ndarray
    raw_scores: np.ndarray
    ids: np.ndarray
    image_size: tuple[int, int]
    skeleton: Skeleton

    def __post_init__(self) -> None:
        count, joints = len(self.boxes), len(self.skeleton)
        shapes = {
            "boxes": (count, 4),
            "scores": (count,),
            "keypoints": (count, joints, 2),
            "keypoint_scores": (count, joints),
            "raw_scores": (count, joints),
            "ids": (count,),
        }
        for name, shape in shapes.items():
            array = np.asarray(getattr(self, name), dtype=np.int64 if name == "ids" else np.float32)
            if array.shape != shape:
                raise ValueError(
                    f"Poses.{name} must have shape {shape} ({count} people, {joints} keypoints), got {array.shape}"
                )
            object.__setattr__(self, name, array)

    @classmethod
    def empty(cls, image_size: tuple[int, int], skeleton: Skeleton) -> Poses:
        """Nobody in the image."""
        joints = len(skeleton)
        return cls(
            boxes=np.zeros((0, 4)),
            scores=np.zeros(0),
            keypoints=np.zeros((0, joints, 2)),
            keypoint_scores=np.zeros((0, joints)),
            raw_scores=np.zeros((0, joints)),
            ids=np.zeros(0),
            image_size=image_size,
            skeleton=skeleton,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> Poses:
        """People by index, slice, list of indices or boolean mask; always `Poses`, also for a single index."""
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"person {index} of {len(self)}")
            index = [int(index)]
        elif not isinstance(index, slice):
            index = np.asarray(index, dtype=np.int64 if len(index) == 0 else None)
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name not in ("image_size", "skeleton")}
        return replace(self, **arrays)

    def __iter__(self) -> Iterator[Poses]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        people = "1 person" if len(self) == 1 else f"{len(self)} people"
        width, height = self.image_size
        ids = f", ids {self.ids.tolist()}" if len(self) and (self.ids != NO_ID).all() else ""
        return f"Poses({people}, {self.skeleton.name}, image {width}x{height}{ids})"

    def with_(self, **changes: Any) -> Poses:
        """A copy with some arrays replaced, validated again."""
        return replace(self, **changes)
