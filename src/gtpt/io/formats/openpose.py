"""OpenPose: a folder with one JSON file for each image, named as OpenPose's `--write_json` names those of a video."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.calibration import VISIBLE
from gtpt.core.errors import InputError
from gtpt.core.numbers import finite_points, shortest, to_json_text
from gtpt.core.poses import Poses
from gtpt.io.formats.file import naming_errors, short_stem, write_whole

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


def to_openpose(poses: Poses, *, controlnet: bool = False) -> dict[str, Any]:
    """The JSON of one frame as OpenPose writes it: BODY_25, and face 70 and hands 21 where the skeleton has them.

    Args:
        poses: of any skeleton that has the 17 body keypoints of COCO, by name.
        controlnet: the variant that ControlNet's editors read instead: the 18 body points of OpenPose's COCO model,
            and scores of 1 where the calibrated score is at least 0.3, else the point is (0, 0, 0).

    Raises:
        ValueError: a skeleton without those keypoints.
    """
    names = poses.skeleton.keypoints
    body = _COCO_18 if controlnet else _BODY_25
    required = set(_COCO_18) - {"neck"}
    if missing := sorted(required - set(names)):
        raise InputError(
            f"OpenPose needs the body keypoints of COCO; skeleton {poses.skeleton.name!r} has no {', '.join(missing)}: "
            "use JSON, CSV or Parquet, which take any skeleton"
        )
    points = finite_points(poses.to_numpy())
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


class OpenPoseWriter(AbstractContextManager["OpenPoseWriter"]):
    """Each image's file is complete as soon as it is there, so there is nothing to close."""

    controlnet = False

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()  # may we write there? better now than after the first image

    def write(self, poses: Poses, *, frame: int, time: float, name: str, image_id: int | str | None = None) -> None:
        target = self.path / f"{short_stem(Path(name).stem)}_{frame:012d}_keypoints.json"
        write_whole(target, to_json_text(to_openpose(poses, controlnet=self.controlnet)).encode())

    def close(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.close()


class ControlNetWriter(OpenPoseWriter):
    controlnet = True


def _midpoint(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 3) halfway between two points with the smaller score; missing (0, 0, 0) where either is."""
    score = np.minimum(a[:, 2:], b[:, 2:])
    return np.where(score > 0, np.concatenate([(a[:, :2] + b[:, :2]) / 2, score], axis=1), np.float32(0))


def _flat(named: Mapping[str, np.ndarray], layout: Sequence[str], people: int) -> list[list[float]]:
    """x, y, score after each other in the order of the layout; zeros for points that the skeleton does not have."""
    missing = np.zeros((people, 3), dtype=np.float32)
    return shortest(np.concatenate([np.zeros((people, 0)), *(named.get(name, missing) for name in layout)], axis=1))
