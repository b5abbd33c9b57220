"""Poses: the result type. NumPy only, validated, and an empty result is a legal one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from gtpt import formats
from gtpt.skeleton import Skeleton

NO_ID = -1


@dataclass(frozen=True, eq=False, repr=False)
class Poses:
    """N people of one image.

    Coordinates are pixels of the full image, x to the right, y down; (0, 0) is the centre of the top left pixel.

    Attributes:
        boxes: (N, 4) float32, x1, y1, x2, y2: the boxes that the poses were estimated in.
        scores: (N,) float32 person scores in [0, 1]: detector score times mean calibrated keypoint score.
        keypoints: (N, K, 2) float32, x and y. They can lie outside the image where a limb is cut off.
        keypoint_scores: (N, K) float32 in [0, 1]: calibrated; 0.3 means the same for every bundled model.
        raw_scores: (N, K) float32: smaller of the two SimCC maxima, a few hundredths at best; evaluation ranks by it.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: image_size, people, skeleton (schema in docs/formats.md); `from_dict` reads it back exactly."""
        return formats.to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Poses:
        """Read what `to_dict` gave; a missing key or a wrong length is a ValueError that names it."""
        return cls(**formats.from_dict(data))

    def to_json(self) -> str:
        """`to_dict` as compact JSON text; null where a number is not finite, never NaN."""
        return formats.to_json_text(self.to_dict())

    def to_coco(self, image_id: int, category_id: int = 1) -> list[dict[str, Any]]:
        """Entries of a COCO results file: keypoints as x, y, calibrated score, and track_id if there is one.

        The 133 keypoints of COCO-WholeBody are in its five lists, those of any other skeleton all in `keypoints`.
        """
        return formats.to_coco(self, image_id, category_id)

    def to_openpose(self, *, controlnet: bool = False) -> dict[str, Any]:
        """The JSON of one frame as OpenPose writes it: BODY_25, and face 70 and hands 21 where the skeleton has them.

        Args:
            controlnet: the variant that ControlNet's editors read instead: the 18 body points of OpenPose's COCO model,
                and scores of 1 where the calibrated score is at least 0.3, else the point is (0, 0, 0).

        Raises:
            ValueError: a skeleton without the 17 body keypoints of COCO (by name).
        """
        return formats.to_openpose(self, controlnet=controlnet)

    def to_csv(self) -> str:
        """The tidy table with a header line, a row for each person and joint; numbers read back as the same float32."""
        return formats.table_to_csv(formats.to_table(self), header=True)

    def to_numpy(self) -> np.ndarray:
        """(N, K, 3) float32: x, y, calibrated score."""
        return formats.to_numpy(self)

    def to_pandas(self) -> Any:
        """The tidy table as a `pandas.DataFrame` (extra "dataframe")."""
        return formats.to_pandas(self)

    def to_supervision(self) -> tuple[Any, Any]:
        """`supervision.KeyPoints` and `supervision.Detections` of the same people in the same order (extra "supervision").

        The confidence of a keypoint is the calibrated score, that of a person `scores`; `tracker_id` of the detections is
        None unless everybody has an id.
        """
        return formats.to_supervision(self)

    def _repr_html_(self) -> str:
        return formats.to_html(self)
