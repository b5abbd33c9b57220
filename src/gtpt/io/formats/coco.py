"""COCO results: one JSON list that pycocotools' `loadRes` reads, written as it grows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.errors import InputError
from gtpt.core.geometry import xyxy_to_xywh
from gtpt.core.numbers import finite_points, plain, shortest, to_json_text
from gtpt.core.poses import Poses
from gtpt.core.skeleton import Skeleton, load_skeleton
from gtpt.io.formats.file import RecordWriter
from gtpt.io.sources import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)

# What COCO-WholeBody calls the keypoints of its parts, in the order of the parts of our skeleton; the first is COCO's own.
WHOLEBODY_LISTS = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")


def to_coco(poses: Poses, image_id: int | str, category_id: int = 1) -> list[dict[str, Any]]:
    """Entries of a COCO results file: keypoints as x, y, calibrated score, and track_id if there is one.

    The 133 keypoints of COCO-WholeBody are in its five lists, those of any other skeleton all in `keypoints`.

    Raises:
        InputError: an id that is neither a number nor a text; those in arrays and tensors, and paths, are taken out.
    """
    image_id, category_id = plain(image_id), plain(category_id)
    for name, value in (("image_id", image_id), ("category_id", category_id)):
        if not isinstance(value, (int, float, str)):
            raise InputError(f"{name} must be a number or a text, got {value!r:.60}")
    points = finite_points(poses.to_numpy())
    columns = {
        "bbox": shortest(np.nan_to_num(xyxy_to_xywh(poses.boxes))),
        **{
            name: shortest(points[:, indices].reshape(len(poses), 3 * len(indices)))
            for name, indices in _coco_lists(poses.skeleton).items()
        },
        "score": shortest(np.nan_to_num(poses.scores)),
    }
    people = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    tracks = [{"track_id": id_} if id_ >= 0 else {} for id_ in poses.ids.tolist()]
    return [
        {"image_id": image_id, "category_id": category_id, **person, **track}
        for person, track in zip(people, tracks, strict=True)
    ]


class COCOWriter(RecordWriter):
    head = b"["
    tail = b"\n]\n"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._separator = "\n"
        self._photos: dict[int | str, str] = {}

    def write(self, poses: Poses, *, frame: int, time: float, name: str, image_id: int | str | None = None) -> None:
        self.check(poses)
        number = self._image_id(name, frame) if image_id is None else plain(image_id)
        self._photos[number] = name
        entries = [{**e, "file_name": name} for e in to_coco(poses, number)]
        if entries:
            self.append((self._separator + ",\n".join(map(to_json_text, entries))).encode())
            self._separator = ",\n"
        self.images += 1

    def _image_id(self, name: str, frame: int) -> int:
        """The number that names a photo, as COCO's files are named; else that of the frame. Never that of another image."""
        path = Path(name)
        photo = path.suffix.lower() in IMAGE_SUFFIXES
        number = int(path.stem) if photo and path.stem.isdecimal() else frame
        if number in self._photos:
            free = max(known for known in self._photos if isinstance(known, int)) + 1
            logger.warning("%s gets image_id %d, since %d is that of %s", name, free, number, self._photos[number])
            number = free
        return number


def _coco_lists(skeleton: Skeleton) -> dict[str, Sequence[int]]:
    """Which keypoints are in which list of a COCO entry: one list holds all, but COCO-WholeBody keeps its parts apart."""
    wholebody = load_skeleton("coco_wholebody133")
    if skeleton.keypoints == wholebody.keypoints:
        return dict(zip(WHOLEBODY_LISTS, wholebody.parts.values(), strict=True))
    return {WHOLEBODY_LISTS[0]: range(len(skeleton))}
