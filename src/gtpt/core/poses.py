"""Poses: the result type. NumPy only, validated, and an empty result is a legal one."""

from __future__ import annotations

import html
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gtpt.core.calibration import VISIBLE
from gtpt.core.errors import InputError
from gtpt.core.numbers import shortest, to_json_text
from gtpt.core.skeleton import Skeleton, builtin_skeletons, load_skeleton

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
            allowed. The arrays are copies; what is written into them later is not checked.
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
            raise InputError(f"Poses.skeleton must be a Skeleton (see gtpt.load_skeleton), got {self.skeleton!r:.80}")
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
                raise InputError(
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
        """Plain JSON types: image_size, people, skeleton (schema in docs/formats.md); `from_dict` reads it back exactly.

        The skeleton is a built-in name or, for a custom one, its file form.
        """
        return {**image_dict(self), "skeleton": _skeleton_reference(self.skeleton)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Poses:
        """Read what `to_dict` gave; other keys are ignored.

        Raises:
            ValueError: people that are no list of mappings, a missing key, or a list of the wrong length, named.
        """
        return cls(**_fields(data))

    def to_json(self) -> str:
        """`to_dict` as compact JSON text; null where a number is not finite, never NaN."""
        return to_json_text(self.to_dict())

    def to_numpy(self) -> np.ndarray:
        """(N, K, 3) float32: x, y, calibrated score."""
        return np.concatenate([self.keypoints, self.keypoint_scores[..., None]], axis=2)

    def draw(self, image: np.ndarray | None = None, **options: Any) -> Any:
        """These people as a picture, to save, to show, or to use as an array: `poses.draw(image).save("drawn.jpg")`.

        Args:
            image: (H, W, 3) uint8, RGB, that the poses are of; without one the background is black.
            options: of `gtpt.draw_poses`.

        Returns:
            `gtpt.viz.Picture`, an array (H, W, 3) uint8, RGB.
        """
        from gtpt.viz.poses import draw_poses  # a look upwards, as below: this is where people look for it

        return draw_poses(image, self, **({"background": "black"} if image is None else {}) | options)

    def to_coco(self, image_id: int | str, category_id: int = 1) -> list[dict[str, Any]]:
        """Entries of a COCO results file, see `gtpt.to_coco`."""
        from gtpt.io.formats import to_coco

        return to_coco(self, image_id, category_id)

    def to_pandas(self) -> Any:
        """A tidy `pandas.DataFrame`, one row per keypoint, see `gtpt.to_pandas`."""
        from gtpt.io.formats import to_pandas

        return to_pandas(self)

    def to_supervision(self) -> tuple[Any, Any]:
        """`supervision.KeyPoints` and `supervision.Detections`, see `gtpt.to_supervision`."""
        from gtpt.io.formats import to_supervision

        return to_supervision(self)

    def _repr_html_(self) -> str:
        """A small table for notebooks: id, box, score and the number of keypoints seen of each person."""
        cells = "<td>{}</td>".format
        rows = []
        for i in range(len(self)):
            seen = int((self.keypoint_scores[i] >= VISIBLE).sum())
            box = ", ".join(f"{v:.0f}" for v in self.boxes[i])
            values = (i, self.ids[i] if self.ids[i] >= 0 else "", f"{self.scores[i]:.2f}", box)
            rows.append("<tr>" + "".join(map(cells, (*values, f"{seen} of {len(self.skeleton)}"))) + "</tr>")
        heads = "".join(f"<th>{h}</th>" for h in ("person", "id", "score", "box x1, y1, x2, y2", "keypoints seen"))
        return f"<table><caption>{html.escape(repr(self))}</caption><tr>{heads}</tr>{''.join(rows)}</table>"


def image_dict(poses: Poses) -> dict[str, Any]:
    """`Poses.to_dict` without the skeleton, for files that name it once."""
    people = zip(
        poses.ids.tolist(),
        shortest(poses.boxes),
        shortest(poses.scores),
        shortest(poses.to_numpy()),
        shortest(poses.raw_scores),
        strict=True,
    )
    return {
        "image_size": list(poses.image_size),
        "people": [
            {"id": id_ if id_ >= 0 else None, "box": box, "score": score, "keypoints": points, "raw_scores": raw}
            for id_, box, score, points, raw in people
        ],
    }


def _fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Poses`, which checks their values, from what `to_dict` gave."""
    if not isinstance(data, Mapping):
        raise InputError(f"poses must be a mapping as of `Poses.to_dict`, got {type(data).__name__}")
    if missing := sorted({"image_size", "skeleton", "people"} - set(data)):
        raise InputError(f"poses: missing keys {missing}; see docs/formats.md")
    skeleton = _skeleton(data["skeleton"])
    people = data["people"]
    if not isinstance(people, Sequence) or not all(isinstance(person, Mapping) for person in people):
        raise InputError(f"poses: people must be a list of objects, got {people!r:.80}; see docs/formats.md")
    for i, person in enumerate(people):
        if missing := sorted({"id", "box", "score", "keypoints", "raw_scores"} - set(person)):
            raise InputError(f"poses: person {i} misses the keys {missing}; see docs/formats.md")
    points = _array([p["keypoints"] for p in people], (len(people), len(skeleton), 3), "keypoints")
    return {
        "boxes": _array([p["box"] for p in people], (len(people), 4), "box"),
        "scores": _array([p["score"] for p in people], (len(people),), "score"),
        "keypoints": points[..., :2],
        "keypoint_scores": points[..., 2],
        "raw_scores": _array([p["raw_scores"] for p in people], (len(people), len(skeleton)), "raw_scores"),
        "ids": [NO_ID if p["id"] is None else p["id"] for p in people],
        "image_size": data["image_size"],
        "skeleton": skeleton,
    }


def _skeleton_reference(skeleton: Skeleton) -> str | dict[str, Any]:
    known = skeleton.name in builtin_skeletons() and load_skeleton(skeleton.name) == skeleton
    return skeleton.name if known else skeleton.to_dict()


def _skeleton(reference: str | Mapping[str, Any]) -> Skeleton:
    if not isinstance(reference, str):
        return Skeleton.from_dict(reference)
    if reference not in builtin_skeletons():  # never a path: the data may come from a stranger
        raise InputError(
            f"poses: no skeleton {reference!r}: use one of {builtin_skeletons()} or a skeleton in its file form"
        )
    return load_skeleton(reference)


def _array(values: Sequence[Any], shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float32) if values else np.zeros(shape)  # None becomes NaN
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"poses: {name!r} of the people must be numbers, lists of equal length: {error}") from error
    if array.shape != shape:
        raise InputError(f"poses: {name!r} of the people must have shape {shape}, got {array.shape}")
    return array


def _as_array(name: str, values: Any) -> np.ndarray:
    """float32, or int64 for ids; ValueError where that is not what the values are."""
    kind = np.int64 if name == "ids" else np.float32
    try:
        given = np.asarray(values)
        with np.errstate(invalid="ignore", over="ignore"):
            array = given.astype(kind)  # a copy: what the caller does to theirs later is no business of ours
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"Poses.{name} must be an array of {ARRAYS[name]}: {error}") from None
    if kind is np.int64 and (lost := array != given).any():  # a fraction, NaN, a number that int64 cannot hold
        raise InputError(f"Poses.{name} must be an array of {ARRAYS[name]}, got {given[lost].flat[0]}")
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
            raise InputError(f"Poses.{name}[{place}] is {arrays[name][at].tolist()}, allowed are {ARRAYS[name]}")


def _as_size(size: Any) -> tuple[int, int]:
    try:
        width, height = map(operator.index, size)
    except (TypeError, ValueError):
        width = height = -1
    if min(width, height) < 0 or max(width, height) >= 2**31:
        raise InputError(
            f"Poses.image_size must be width, height in pixels, two whole numbers from 0 below 2^31, got {size!r:.80}"
        )
    return width, height
