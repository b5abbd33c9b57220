"""Poses: the result type. NumPy only, validated, and an empty result is a legal one."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gtpt import formats
from gtpt.skeleton import Skeleton

NO_ID = -1

ARRAYS = {  # a row for each person, and what is in it
    "boxes": "x1, y1, x2, y2 with x1 <= x2 and y1 <= y2, not x, y, width, height",
    "scores": "numbers in [0, 1]",
    "keypoints": "numbers",
    "keypoint_scores": "numbers in [0, 1]",
    "raw_scores": "finite numbers",
    "ids": f"whole numbers, {NO_ID} (none) or more",
}


@dataclass(frozen=True, eq=False, repr=False)
class Poses:
    """N people of one image.

    Coordinates are pixels of the full image, x to the right, y down; (0, 0) is the centre of the top left pixel. NaN stands
    for what is not known and may be in any array but `ids`.

    Attributes:
        boxes: (N, 4) float32, x1 <= x2, y1 <= y2: the boxes that the poses were estimated in.
        scores: (N,) float32 person scores in [0, 1]: detector score times mean calibrated keypoint score.
        keypoints: (N, K, 2) float32, x and y. They can lie outside the image where a limb is cut off.
        keypoint_scores: (N, K) float32 in [0, 1]: calibrated; 0.3 means the same for every bundled model.
        raw_scores: (N, K) float32: smaller of the two SimCC maxima, a few hundredths at best; evaluation ranks by it.
        ids: (N,) int64 track ids, -1 where there is none.
        image_size: width, height of the image in pixels, whole numbers from 0.
        skeleton: names, edges and order of the K keypoints.

    Raises:
        ValueError: a field of another type or shape or with a value out of range; the message names the value and what is
            allowed. What is written into the arrays later is not checked.
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
        if not isinstance(self.skeleton, Skeleton):
            raise ValueError(f"Poses.skeleton must be a Skeleton (see gtpt.load_skeleton), got {self.skeleton!r:.80}")
        arrays = {name: _as_array(name, getattr(self, name)) for name in ARRAYS}
        count, joints = len(np.atleast_1d(arrays["boxes"])), len(self.skeleton)
        shapes = {
            "boxes": (count, 4),
            "scores": (count,),
            "keypoints": (count, joints, 2),
            "keypoint_scores": (count, joints),
            "raw_scores": (count, joints),
            "ids": (count,),
        }
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(
                    f"Poses.{name} must have shape {shape} ({count} people, {joints} keypoints), got {arrays[name].shape}"
                )
        _check_values(arrays)
        for name, value in (*arrays.items(), ("image_size", _as_size(self.image_size))):
            object.__setattr__(self, name, value)

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
        return replace(self, **{name: getattr(self, name)[index] for name in ARRAYS})

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


def _as_array(name: str, values: Any) -> np.ndarray:
    """float32, or int64 for ids; ValueError where that is not what the values are."""
    kind = np.int64 if name == "ids" else np.float32
    try:
        given = np.asarray(values)
        with np.errstate(invalid="ignore", over="ignore"):
            array = given.astype(kind, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"Poses.{name} must be an array of {ARRAYS[name]}: {error}") from None
    if kind is np.int64 and (lost := array != given).any():  # a fraction, NaN, a number that int64 cannot hold
        raise ValueError(f"Poses.{name} must be an array of {ARRAYS[name]}, got {given[lost].flat[0]}")
    return array


def _check_values(arrays: Mapping[str, np.ndarray]) -> None:
    """ValueError that names the first value out of range."""
    boxes, raw = arrays["boxes"], arrays["raw_scores"]
    with np.errstate(invalid="ignore"):  # comparisons with NaN are false, so it passes
        wrong = {
            "boxes": (boxes[:, :2] > boxes[:, 2:]).any(axis=1),
            "raw_scores": np.isinf(raw),
            "ids": arrays["ids"] < NO_ID,
            **{name: (arrays[name] < 0) | (arrays[name] > 1) for name in ("scores", "keypoint_scores")},
        }
    for name, bad in wrong.items():
        if bad.any():
            at = tuple(np.argwhere(bad)[0].tolist())
            place = ", ".join(map(str, at))
            raise ValueError(f"Poses.{name}[{place}] is {arrays[name][at].tolist()}, allowed are {ARRAYS[name]}")


def _as_size(size: Any) -> tuple[int, int]:
    try:
        width, height = map(operator.index, size)
    except (TypeError, ValueError):
        width = height = -1
    if min(width, height) < 0:
        raise ValueError(f"Poses.image_size must be width, height in pixels, two whole numbers from 0, got {size!r:.80}")
    return width, height
