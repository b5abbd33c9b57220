"""Persons of COCO and COCO-WholeBody files as arrays, chosen and cleaned exactly as the official reader does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from gtpt.core.errors import AnnotationError
from gtpt.core.geometry import clean_boxes
from gtpt.core.skeleton import Skeleton
from gtpt.data.images import FileStore, read_json
from gtpt.io.formats.coco import WHOLEBODY_LISTS

KINDS: dict[str, Callable[[Any], bool]] = {
    # boxes may belong to names; where ids become arrays or go into COCO's evaluation they cannot
    "an id": lambda v: isinstance(v, (Integral, str)),
    "a whole number of 64 bits": lambda v: isinstance(v, Integral) and -(2**63) <= int(v) < 2**63,
    "a name": lambda v: isinstance(v, (Integral, str)),
    "a finite number": lambda v: isinstance(v, Real) and math.isfinite(v),
    "a text": lambda v: isinstance(v, str),
}
FORM = {  # what the entries of COCO's lists hold, where they hold it; the values are keys of KINDS
    "images": {"id": "an id", "file_name": "a text", "width": "a finite number", "height": "a finite number"},
    "annotations": {
        "id": "a name",
        "image_id": "an id",
        "category_id": "an id",
        "iscrowd": "a finite number",
        "area": "a finite number",
    },
    "categories": {"id": "an id", "name": "a text"},
    "results": {"image_id": "an id", "category_id": "an id", "score": "a finite number"},
}
LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True, eq=False)
class Persons:
    """N person instances, one row each in every array; coordinates in pixels of their image.

    Attributes:
        boxes: (N, 4) float64 left, top, width, height.
        keypoints: (N, K, 2) float64; zeros for detections without ground truth.
        visible: (N, K) float32, 1 where labelled (visibility 1 and 2 alike), 0 where not (0 and below).
        areas: (N,) float64 segment areas of the annotations.
        scores: (N,) float64 box scores, 1 for ground truth.
        image_ids: (N,) int64.
        files: (N,) names below the image store.
        stores: (N,) int64, index into the data set's image stores.
        ids: (N,) object, those of the annotations; None for detections.
    """

    boxes: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    areas: np.ndarray
    scores: np.ndarray
    image_ids: np.ndarray
    files: np.ndarray
    stores: np.ndarray
    ids: np.ndarray

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
    labelled body keypoint and a box that reaches into the image (and is larger than one pixel).

    Args:
        annotations: COCO keypoint JSON: a path, a member of a zip, or the parsed file.
        skeleton: tells how many keypoints each instance must have.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a COCO keypoint file, keypoints of another skeleton or in another order, NaN; names the entry.
    """
    source = "annotations" if isinstance(annotations, Mapping) else str(annotations)
    data = annotations if isinstance(annotations, Mapping) else read_json(annotations)
    require_coco(data, source, numbered=True)
    category = person_category(data, source)
    images = index_images(data, source)
    rows = [a for a in data["annotations"] if a.get("category_id") == category and is_person(a)]
    check_keypoint_names(data, skeleton, source, category)
    joints = np.array([joint_list(a, skeleton, f"{source}: {_title(a)}") for a in rows]).reshape(-1, len(skeleton), 3)
    cleaned = [clean_boxes(np.array(box_of(a, images, source)), image_size(images[a["image_id"]])) for a in rows]
    boxes = np.array([box[0] for box, _ in cleaned]).reshape(-1, 4)
    inside = np.array([ok[0] for _, ok in cleaned], dtype=bool)
    persons = Persons(
        boxes=boxes,
        keypoints=joints[..., :2],
        visible=np.clip(joints[..., 2], 0, 1).astype(np.float32),
        areas=np.array([a["area"] for a in rows], dtype=np.float64),
        scores=np.ones(len(rows)),
        image_ids=np.array([a["image_id"] for a in rows], dtype=np.int64),
        files=np.array([images[a["image_id"]]["file_name"] for a in rows], dtype=object),
        stores=np.zeros(len(rows), dtype=np.int64),
        ids=np.array([a.get("id") for a in rows], dtype=object),
    )
    return persons.select(inside & (boxes[:, 2:].max(axis=1) > 0))


def read_detections(path: str | Path, annotations: str | Path | Mapping[str, Any], skeleton: Skeleton) -> Persons:
    """Person boxes of a detector in COCO results form, used as they are unless they have no extent.

    Args:
        path: JSON list of {"image_id", "category_id", "bbox", "score"}; those of other categories are left out.
        annotations: COCO file whose images they are of.
        skeleton: number of keypoints.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a list, NaN, or boxes of images that are not listed.
    """
    source = "annotations" if isinstance(annotations, Mapping) else str(annotations)
    data = annotations if isinstance(annotations, Mapping) else read_json(annotations)
    require_coco(data, source, numbered=True)
    images, category = index_images(data, source), person_category(data, source)
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(r, dict) and {"image_id", "bbox", "score"} <= set(r) for r in rows):
        raise AnnotationError(f'{path}: detections must be a list of {{"image_id", "category_id", "bbox", "score"}}')
    check_form(rows, "results", str(path), numbered=True)
    rows = [r for r in rows if r.get("category_id", category) == category]
    boxes = np.array([box_of(r, images, str(path)) for r in rows], dtype=np.float64).reshape(-1, 4)
    scores = np.array([r["score"] for r in rows], dtype=np.float64)
    count = len(rows)
    persons = Persons(
        boxes=boxes,
        keypoints=np.zeros((count, len(skeleton), 2)),
        visible=np.zeros((count, len(skeleton)), dtype=np.float32),
        areas=np.zeros(count),
        scores=scores,
        image_ids=np.array([r["image_id"] for r in rows], dtype=np.int64),
        files=np.array([images[r["image_id"]]["file_name"] for r in rows], dtype=object),
        stores=np.zeros(count, dtype=np.int64),
        ids=np.full(count, None, dtype=object),
    )
    return persons.select(boxes[:, 2:].max(axis=1) > 0)


def require_coco(data: Any, source: str, *, numbered: bool = False) -> None:
    """ValueError unless this has the three lists of a COCO file, with entries of the usual types; see `check_form`."""
    if not isinstance(data, Mapping) or not all(isinstance(data.get(name), list) for name in LISTS):
        raise AnnotationError(f"{source} is not a COCO file: expected the lists 'images', 'annotations' and 'categories'")
    for name in LISTS:
        check_form(data[name], name, source, numbered=numbered)
    for name in ("images", "categories"):
        if not all("id" in entry for entry in data[name]):
            raise AnnotationError(f"{source}: each of its {name} must have an id")


def check_form(entries: Sequence[Any], name: str, source: str, *, numbered: bool = False) -> None:
    """ValueError that names the first entry which is no mapping or whose values do not fit `FORM[name]`.

    Args:
        entries, name, source: a list of a COCO file, its key in `FORM`, and the file.
        numbered: ids of images and categories must be whole numbers that fit into arrays, no texts.
    """
    form = {key: "a whole number of 64 bits" if numbered and kind == "an id" else kind for key, kind in FORM[name].items()}
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise AnnotationError(f"{source} is not a COCO file: entry {number} of the {name} is {entry!r:.40}")
        for key, kind in form.items():
            if key in entry and not KINDS[kind](entry[key]):
                raise AnnotationError(
                    f"{source}: entry {number} of the {name} has the {key} {entry[key]!r:.40}, not {kind}"
                )


def person_category(data: Mapping[str, Any], source: str) -> int:
    """Id of "person", or of the only category of a custom data set."""
    ids = {c.get("name"): c["id"] for c in data["categories"]}
    if "person" in ids:
        return ids["person"]
    if len(ids) == 1:
        return next(iter(ids.values()))
    raise AnnotationError(f"{source}: no category 'person' among {sorted(map(str, ids))}")


def check_keypoint_names(data: Mapping[str, Any], skeleton: Skeleton, source: str, only: int | None = None) -> None:
    """ValueError if the categories, or the `only` one, name other keypoints than the skeleton or in another order."""
    for category in data["categories"]:
        names = category.get("keypoints", ()) if only in (None, category["id"]) else ()
        if not isinstance(names, (list, tuple)):
            raise AnnotationError(
                f"{source}: category {category.get('name')!r} has the keypoints {names!r:.40}, no list of names"
            )
        expected = skeleton.keypoints[: len(names)]  # COCO-WholeBody lists the body's names only
        if tuple(names) != expected:
            raise AnnotationError(
                f"{source}: category {category.get('name')!r} has the keypoints {list(names)}, which are not those of "
                f"skeleton {skeleton.name!r}, {list(expected)}, in this order"
            )


def is_person(annotation: Mapping[str, Any]) -> bool:
    """The official choice: no crowd, some area, some labelled body keypoint."""
    return not annotation.get("iscrowd") and annotation.get("area", 0) > 0 and has_joints(annotation)


def has_joints(annotation: Mapping[str, Any]) -> bool:
    """Whether any body keypoint is labelled; also where the list holds no numbers, which `joint_list` complains about."""
    try:
        return max(annotation.get("keypoints") or [0]) != 0
    except TypeError:
        return True


def index_images(
    data: Mapping[str, Any], source: str, needed: Sequence[str] = ("file_name", "width", "height")
) -> dict[int, Mapping[str, Any]]:
    """The file's images by id; ValueError names one that lacks something."""
    for image in data["images"]:
        if missing := [key for key in needed if key not in image]:
            raise AnnotationError(f"{source}: image {image['id']} has no {', '.join(missing)}")
    return {image["id"]: image for image in data["images"]}


def image_size(image: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height as the file says."""
    return image["width"], image["height"]


def box_of(entry: Mapping[str, Any], images: Mapping[int, Any], source: str) -> list[float]:
    """The box of an annotation or a detection; ValueError if its image is not listed or it is not four numbers."""
    if entry.get("image_id") not in images:
        raise AnnotationError(f"{source}: {_title(entry)} belongs to image {entry.get('image_id')}, which is not listed")
    if not is_box(entry.get("bbox")):
        raise AnnotationError(f"{source}: {_title(entry)} has the box {entry.get('bbox')}, not left, top, width, height")
    return entry["bbox"]


def is_box(box: Any) -> bool:
    """Whether these are four finite numbers."""
    values = box if isinstance(box, (list, tuple, np.ndarray)) else ()
    return len(values) == 4 and all(isinstance(v, Real) and math.isfinite(v) for v in values)


def joint_list(entry: Mapping[str, Any], skeleton: Skeleton, title: str) -> np.ndarray:
    """(K, 3) float64 x, y, and visibility or score of an annotation or result.

    Args:
        entry: with `keypoints` of the whole skeleton, or the five lists of COCO-WholeBody.
        skeleton: number of keypoints.
        title: of the entry, for errors.

    Raises:
        ValueError: lists of other things than finite numbers, or of another number of keypoints.
    """
    lists = [entry.get(name) for name in WHOLEBODY_LISTS]
    for name, values in zip(WHOLEBODY_LISTS, lists, strict=True):
        if not isinstance(values, (list, tuple, np.ndarray, NoneType)):
            raise AnnotationError(
                f"{title} has the {name} {values!r:.40}, not a list of numbers x, y, visibility or score, ..."
            )
    flat = lists[0]
    if flat is None or len(flat) != 3 * len(skeleton):
        flat = [value for values in lists if values is not None for value in values]
    if len(flat) != 3 * len(skeleton):
        raise AnnotationError(
            f"{title} has {len(flat) / 3:g} keypoints, {skeleton.name} has {len(skeleton)}: use the skeleton of the file"
        )
    try:
        joints = np.array(flat, dtype=np.float64).reshape(-1, 3)
    except (ValueError, TypeError):
        joints = np.array(np.nan)
    if not np.isfinite(joints).all():
        raise AnnotationError(f"{title} has keypoints that are not finite numbers")
    return joints


def _title(entry: Mapping[str, Any]) -> str:
    return f"annotation {entry['id']}" if "id" in entry else f"detection of image {entry.get('image_id')}"


def open_stores(roots: list[str | Path]) -> list[FileStore]:
    """The image stores of several data sets, in the order that `Persons.stores` counts."""
    return [FileStore(root) for root in roots]
