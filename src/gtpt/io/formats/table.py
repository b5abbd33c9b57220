"""What results look like outside: dictionaries, COCO, OpenPose, tables, supervision. Every schema is in docs/formats.md.

Floats leave as the shortest decimal number that reads back as the same float32, so files are small and lose nothing.
A number that is not finite becomes null in JSON, an empty cell in CSV, and a missing point (0, 0, 0) in COCO and OpenPose.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gtpt._extras import require
from gtpt.calibration import VISIBLE
from gtpt.geometry import xyxy_to_xywh
from gtpt.skeleton import Skeleton, builtin_skeletons, load_skeleton

if TYPE_CHECKING:
    from gtpt.poses import Poses

TABLE_COLUMNS = ("person", "id", "joint", "x", "y", "score", "raw_score", "person_score", "x1", "y1", "x2", "y2")

# What COCO-WholeBody calls the keypoints of its parts, in the order of the parts of our skeleton; the first is COCO's own.
WHOLEBODY_LISTS = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")

_COCO_18 = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
)
_FEET = tuple(f"{side}_{point}" for side in ("left", "right") for point in ("big_toe", "small_toe", "heel"))
_BODY_25 = (*_COCO_18[:8], "mid_hip", *_COCO_18[8:], *_FEET)
_COMPUTED = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}
_FACE_70 = (*(f"face_{i}" for i in range(68)), "right_eye", "left_eye")  # OpenPose ends with the pupils
_FINGERS = tuple(f"{finger}_{i}" for finger in ("thumb", "index", "middle", "ring", "pinky") for i in range(1, 5))
_HANDS = {side: tuple(f"{side}_hand_{point}" for point in ("wrist", *_FINGERS)) for side in ("left", "right")}


def to_json_text(data: Any) -> str:
    """Compact JSON; a NaN in it is an error of ours, never a file that other tools refuse."""
    return json.dumps(data, allow_nan=False, separators=(",", ":"))


def to_dict(poses: Poses) -> dict[str, Any]:
    """`Poses.to_dict`: plain JSON types; `skeleton` is a built-in name or, for a custom one, the file form."""
    return {**image_dict(poses), "skeleton": _skeleton_reference(poses.skeleton)}


def image_dict(poses: Poses) -> dict[str, Any]:
    """`to_dict` without the skeleton, for files that name it once."""
    people = zip(
        poses.ids.tolist(),
        _numbers(poses.boxes),
        _numbers(poses.scores),
        _numbers(to_numpy(poses)),
        _numbers(poses.raw_scores),
        strict=True,
    )
    return {
        "image_size": list(poses.image_size),
        "people": [
            {"id": id_ if id_ >= 0 else None, "box": box, "score": score, "keypoints": points, "raw_scores": raw}
            for id_, box, score, points, raw in people
        ],
    }


def from_dict(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Poses`, which checks their values, from what `to_dict` gave; other keys are ignored.

    Raises:
        ValueError: people that are no list of mappings, a missing key, or a list of the wrong length, named.
    """
    if missing := sorted({"image_size", "skeleton", "people"} - set(data)):
        raise ValueError(f"poses: missing keys {missing}; see docs/formats.md")
    skeleton = _skeleton(data["skeleton"])
    people = data["people"]
    if not isinstance(people, Sequence) or not all(isinstance(person, Mapping) for person in people):
        raise ValueError(f"poses: people must be a list of objects, got {people!r:.80}; see docs/formats.md")
    for i, person in enumerate(people):
        if missing := sorted({"id", "box", "score", "keypoints", "raw_scores"} - set(person)):
            raise ValueError(f"poses: person {i} misses the keys {missing}; see docs/formats.md")
    points = _array([p["keypoints"] for p in people], (len(people), len(skeleton), 3), "keypoints")
    return {
        "boxes": _array([p["box"] for p in people], (len(people), 4), "box"),
        "scores": _array([p["score"] for p in people], (len(people),), "score"),
        "keypoints": points[..., :2],
        "keypoint_scores": points[..., 2],
        "raw_scores": _array([p["raw_scores"] for p in people], (len(people), len(skeleton)), "raw_scores"),
        "ids": [-1 if p["id"] is None else p["id"] for p in people],
        "image_size": data["image_size"],
        "skeleton": skeleton,
    }


def to_coco(poses: Poses, image_id: int, category_id: int = 1) -> list[dict[str, Any]]:
    """`Poses.to_coco`: one entry of a COCO results file for each person."""
    points = _finite_points(poses)
    columns = {
        "bbox": _numbers(np.nan_to_num(xyxy_to_xywh(poses.boxes))),
        **{
            name: _numbers(points[:, indices].reshape(len(poses), 3 * len(indices)))
            for name, indices in _coco_lists(poses.skeleton).items()
        },
        "score": _numbers(np.nan_to_num(poses.scores)),
    }
    people = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    tracks = [{"track_id": id_} if id_ >= 0 else {} for id_ in poses.ids.tolist()]
    return [
        {"image_id": image_id, "category_id": category_id, **person, **track}
        for person, track in zip(people, tracks, strict=True)
    ]


def to_openpose(poses: Poses, *, controlnet: bool = False) -> dict[str, Any]:
    """`Poses.to_openpose`: the JSON of one frame as OpenPose writes it."""
    names = poses.skeleton.keypoints
    body = _COCO_18 if controlnet else _BODY_25
    required = set(_COCO_18) - {"neck"}
    if missing := sorted(required - set(names)):
        raise ValueError(
            f"OpenPose needs the body keypoints of COCO; skeleton {poses.skeleton.name!r} has no {', '.join(missing)}: "
            "use JSON, CSV or Parquet, which take any skeleton"
        )
    points = _finite_points(poses)
    if controlnet:
        points[..., 2] = points[..., 2] >= VISIBLE
        points *= points[..., 2:]  # what is not seen is (0, 0, 0)
    named = {name: points[:, i] for i, name in enumerate(names)}
    for name, pair in _COMPUTED.items():
        named.setdefault(name, _midpoint(named[pair[0]], named[pair[1]]))
    layouts = {
        "pose_keypoints_2d": body,
        "face_keypoints_2d": _FACE_70 if "face_0" in named else (),
        "hand_left_keypoints_2d": _HANDS["left"] if "left_hand_wrist" in named else (),
        "hand_right_keypoints_2d": _HANDS["right"] if "right_hand_wrist" in named else (),
    }
    arrays = {key: _flat(named, layout, len(poses)) for key, layout in layouts.items()}
    people = [
        {"person_id": [id_], **{key: values[i] for key, values in arrays.items()}}
        for i, id_ in enumerate(poses.ids.tolist())
    ]
    width, height = poses.image_size
    return {"version": 1.3, "people": people, "canvas_width": width, "canvas_height": height}


def to_table(poses: Poses, **constants: int | float | str) -> dict[str, np.ndarray]:
    """Tidy columns, one row for each person and joint; `constants` (frame, time, name) become leading columns."""
    people, joints = poses.keypoint_scores.shape
    rows = people * joints
    values = (
        np.repeat(np.arange(people), joints),
        np.repeat(poses.ids, joints),
        np.tile(np.array(poses.skeleton.keypoints), people),
        poses.keypoints[..., 0].ravel(),
        poses.keypoints[..., 1].ravel(),
        poses.keypoint_scores.ravel(),
        poses.raw_scores.ravel(),
        np.repeat(poses.scores, joints),
        *(np.repeat(poses.boxes[:, i], joints) for i in range(4)),
    )
    leading = {key: np.full(rows, value) for key, value in constants.items()}
    return {**leading, **dict(zip(TABLE_COLUMNS, values, strict=True))}


def table_to_csv(table: Mapping[str, np.ndarray], *, header: bool) -> str:
    """Comma-separated text, decimal points, \\n; a value that is not finite is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(table)
    writer.writerows(zip(*(_cells(column) for column in table.values()), strict=True))
    return text.getvalue()


def to_numpy(poses: Poses) -> np.ndarray:
    """`Poses.to_numpy`: (N, K, 3) float32."""
    return np.concatenate([poses.keypoints, poses.keypoint_scores[..., None]], axis=2)


def to_pandas(poses: Poses) -> Any:
    """`Poses.to_pandas`: the tidy table as a DataFrame."""
    return require("pandas", "dataframe").DataFrame(to_table(poses))


def to_supervision(poses: Poses) -> tuple[Any, Any]:
    """`Poses.to_supervision`: the same people as `supervision.KeyPoints` and as `supervision.Detections`."""
    sv = require("supervision", "supervision")
    finite = np.isfinite(poses.keypoints).all(axis=2, keepdims=True)
    class_id = np.zeros(len(poses), dtype=int)
    keypoints = sv.KeyPoints(
        xy=np.where(finite, poses.keypoints, 0),  # supervision takes (0, 0) for a missing point
        class_id=class_id,
        keypoint_confidence=poses.keypoint_scores.copy(),
        detection_confidence=poses.scores.copy(),
        data={"tracker_id": poses.ids.copy()},
    )
    tracker_id = poses.ids.copy() if len(poses) and (poses.ids >= 0).all() else None
    detections = sv.Detections(
        xyxy=poses.boxes.copy(), confidence=poses.scores.copy(), class_id=class_id.copy(), tracker_id=tracker_id
    )
    return keypoints, detections


def to_html(poses: Poses) -> str:
    """A small table for notebooks: id, box, score and the number of keypoints seen of each person."""
    cells = "<td>{}</td>".format
    rows = []
    for i in range(len(poses)):
        seen = int((poses.keypoint_scores[i] >= VISIBLE).sum())
        box = ", ".join(f"{v:.0f}" for v in poses.boxes[i])
        values = (i, poses.ids[i] if poses.ids[i] >= 0 else "", f"{poses.scores[i]:.2f}", box)
        rows.append("<tr>" + "".join(map(cells, (*values, f"{seen} of {len(poses.skeleton)}"))) + "</tr>")
    heads = "".join(f"<th>{h}</th>" for h in ("person", "id", "score", "box x1, y1, x2, y2", "keypoints seen"))
    return f"<table><caption>{html.escape(repr(poses))}</caption><tr>{heads}</tr>{''.join(rows)}</table>"


def _coco_lists(skeleton: Skeleton) -> dict[str, Sequence[int]]:
    """Which keypoints are in which list of a COCO entry: one list holds all, but COCO-WholeBody keeps its parts apart."""
    wholebody = load_skeleton("coco_wholebody133")
    if skeleton.keypoints == wholebody.keypoints:
        return dict(zip(WHOLEBODY_LISTS, wholebody.parts.values(), strict=True))
    return {WHOLEBODY_LISTS[0]: range(len(skeleton))}


def _skeleton_reference(skeleton: Skeleton) -> str | dict[str, Any]:
    known = skeleton.name in builtin_skeletons() and load_skeleton(skeleton.name) == skeleton
    return skeleton.name if known else skeleton.to_dict()


def _skeleton(reference: str | Mapping[str, Any]) -> Skeleton:
    if not isinstance(reference, str):
        return Skeleton.from_dict(reference)
    if reference not in builtin_skeletons():  # never a path: the data may come from a stranger
        raise ValueError(
            f"poses: no skeleton {reference!r}: use one of {builtin_skeletons()} or a skeleton in its file form"
        )
    return load_skeleton(reference)


def _numbers(values: np.ndarray) -> Any:
    """Nested lists of floats whose text is the shortest of the float32; None where not finite."""
    numbers = values.astype(np.float32).astype("U32").astype(np.float64).astype(object)
    numbers[~np.isfinite(values)] = None
    return numbers.tolist()


def _cells(column: np.ndarray) -> list[str]:
    text = column.astype(str)
    return (np.where(np.isfinite(column), text, "") if column.dtype.kind == "f" else text).tolist()


def _array(values: Sequence[Any], shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float32) if values else np.zeros(shape)  # None becomes NaN
    except (TypeError, ValueError) as error:
        raise ValueError(f"poses: {name!r} of the people must be numbers, lists of equal length: {error}") from error
    if array.shape != shape:
        raise ValueError(f"poses: {name!r} of the people must have shape {shape}, got {array.shape}")
    return array


def _finite_points(poses: Poses) -> np.ndarray:
    points = to_numpy(poses)
    return np.where(np.isfinite(points).all(axis=2, keepdims=True), points, np.float32(0))


def _midpoint(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 3) halfway between two points with the smaller score; missing (0, 0, 0) where either is."""
    score = np.minimum(a[:, 2:], b[:, 2:])
    return np.where(score > 0, np.concatenate([(a[:, :2] + b[:, :2]) / 2, score], axis=1), np.float32(0))


def _flat(named: Mapping[str, np.ndarray], layout: Sequence[str], people: int) -> list[list[float]]:
    """x, y, score after each other in the order of the layout; zeros for points that the skeleton does not have."""
    missing = np.zeros((people, 3), dtype=np.float32)
    return _numbers(np.concatenate([np.zeros((people, 0)), *(named.get(name, missing) for name in layout)], axis=1))
