"""Persons of COCO and COCO-WholeBody files as arrays, chosen and cleaned exactly as the official reader does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.data.images import FileStore, read_json
from gtpt.geometry import clean_boxes
from gtpt.skeleton import Skeleton

# Where COCO-WholeBody keeps each of its parts, in output order; plain COCO has the first only.
WHOLEBODY_LISTS = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")


@dataclass(frozen=True, eq=False)
class Persons:
    """N person instances, one row each in every array; coordinates in pixels of their image.

    Attributes:
        boxes: (N, 4) float64 left, top, width, height.
        keypoints: (N, K, 2) float64; zeros for detections without ground truth.
        visible: (N, K) float32, 1 where labelled (visibility 1 and 2 alike).
        areas: (N,) float64 segment areas of the annotations.
        scores: (N,) float64 box scores, 1 for ground truth.
        image_ids: (N,) int64.
        files: (N,) names below the image store.
        stores: (N,) int64, index into the data set's image stores.
    """

    boxes: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    areas: np.ndarray
    scores: np.ndarray
    image_ids: np.ndarray
    files: np.ndarray
    stores: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, index: np.ndarray) -> Persons:
        """Some of the persons."""
        return replace(self, **{name: getattr(self, name)[index] for name in self.__dataclass_fields__})

    @classmethod
    def concatenate(cls, parts: list[Persons]) -> Persons:
        """Of several data sets; each keeps its own image store."""
        stores = [np.full(len(p), i) for i, p in enumerate(parts)]
        arrays = {n: np.concatenate([getattr(p, n) for p in parts]) for n in cls.__dataclass_fields__ if n != "stores"}
        return cls(**arrays, stores=np.concatenate(stores))


def read_coco(annotations: str | Path | Mapping[str, Any], skeleton: Skeleton) -> Persons:
    """The person instances that official GTPT trains on and evaluates with ground-truth boxes.

    Kept are instances of category "person" (or the file's only category), not crowds, with a positive area, at least one
    labelled body keypoint and a box that reaches into the image.

    Args:
        annotations: COCO keypoint JSON: a path, a member of a zip, or the parsed file.
        skeleton: tells how many keypoints each instance must have.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a COCO keypoint file, or keypoints of another skeleton; names the entry.
    """
    source = "annotations" if isinstance(annotations, Mapping) else str(annotations)
    data = annotations if isinstance(annotations, Mapping) else read_json(annotations)
    require_coco(data, source)
    category = person_category(data, source)
    images = {int(i["id"]): i for i in data["images"]}
    rows = [a for a in data["annotations"] if a.get("category_id") == category and is_person(a)]
    for row in rows:
        if row.get("image_id") not in images:
            raise ValueError(
                f"{source}: annotation {row.get('id')} belongs to image {row.get('image_id')}, which is not listed"
            )
    joints = np.array([joint_list(a, skeleton, source) for a in rows]).reshape(-1, len(skeleton), 3)
    cleaned = [clean_boxes(a["bbox"], (images[a["image_id"]]["width"], images[a["image_id"]]["height"])) for a in rows]
    keep = np.array([ok[0] for _, ok in cleaned], dtype=bool)
    persons = Persons(
        boxes=np.array([b[0] for b, _ in cleaned]).reshape(-1, 4),
        keypoints=joints[..., :2],
        visible=np.minimum(joints[..., 2], 1).astype(np.float32),
        areas=np.array([a["area"] for a in rows], dtype=np.float64),
        scores=np.ones(len(rows)),
        image_ids=np.array([a["image_id"] for a in rows], dtype=np.int64),
        files=np.array([images[a["image_id"]]["file_name"] for a in rows], dtype=object),
        stores=np.zeros(len(rows), dtype=np.int64),
    )
    return persons.select(keep)


def read_detections(path: str | Path, annotations: str | Path | Mapping[str, Any], skeleton: Skeleton) -> Persons:
    """Person boxes of a detector in COCO results form, [{"image_id", "category_id": 1, "bbox", "score"}, ...], uncleaned."""
    data = annotations if isinstance(annotations, Mapping) else read_json(annotations)
    images = {int(i["id"]): i for i in data["images"]}
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(r, dict) and {"image_id", "bbox", "score"} <= set(r) for r in rows):
        raise ValueError(f'{path}: detections must be a list of {{"image_id", "category_id", "bbox", "score"}}')
    rows = [r for r in rows if r.get("category_id", 1) == 1]
    if strangers := sorted({r["image_id"] for r in rows} - set(images))[:5]:
        raise ValueError(f"{path}: detections of images that the annotations do not list, e.g. {strangers}")
    count = len(rows)
    return Persons(
        boxes=np.array([r["bbox"] for r in rows], dtype=np.float64).reshape(-1, 4),
        keypoints=np.zeros((count, len(skeleton), 2)),
        visible=np.zeros((count, len(skeleton)), dtype=np.float32),
        areas=np.zeros(count),
        scores=np.array([r["score"] for r in rows], dtype=np.float64),
        image_ids=np.array([r["image_id"] for r in rows], dtype=np.int64),
        files=np.array([images[r["image_id"]]["file_name"] for r in rows], dtype=object),
        stores=np.zeros(count, dtype=np.int64),
    )


def require_coco(data: Any, source: str) -> None:
    """ValueError unless this has the three lists of a COCO file."""
    if not isinstance(data, Mapping) or not all(
        isinstance(data.get(k), list) for k in ("images", "annotations", "categories")
    ):
        raise ValueError(f"{source} is not a COCO file: expected the lists 'images', 'annotations' and 'categories'")


def person_category(data: Mapping[str, Any], source: str) -> int:
    """Id of "person", or of the only category of a custom data set."""
    ids = {c.get("name"): c["id"] for c in data["categories"]}
    if "person" in ids:
        return ids["person"]
    if len(ids) == 1:
        return next(iter(ids.values()))
    raise ValueError(f"{source}: no category 'person' among {sorted(map(str, ids))}")


def is_person(annotation: Mapping[str, Any]) -> bool:
    """The official choice: no crowd, some area, some labelled body keypoint."""
    return not annotation.get("iscrowd") and annotation.get("area", 0) > 0 and max(annotation.get("keypoints") or [0]) != 0


def joint_list(annotation: Mapping[str, Any], skeleton: Skeleton, source: str) -> np.ndarray:
    """(K, 3) x, y, visibility of an annotation, its whole-body lists joined if the skeleton has them."""
    lists = WHOLEBODY_LISTS if "foot_kpts" in annotation and len(skeleton) > 17 else WHOLEBODY_LISTS[:1]
    joined = [v for name in lists for v in annotation.get(name) or ()]
    if len(joined) != 3 * len(skeleton):
        raise ValueError(
            f"{source}: annotation {annotation.get('id')} has {len(joined) / 3:g} keypoints, {skeleton.name} has {len(skeleton)}"
        )
    return np.array(joined, dtype=np.float64).reshape(-1, 3)


def open_stores(roots: list[str | Path]) -> list[FileStore]:
    """The image stores of several data sets, in the order that `Persons.stores` counts."""
    return [FileStore(root) for root in roots]
