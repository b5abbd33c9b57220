"""Persons of COCO and COCO-WholeBody files as arrays, chosen and cleaned exactly as the official reader does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.errors import AnnotationError
from gtpt.core.geometry import clean_boxes
from gtpt.core.skeleton import Skeleton
from gtpt.data.annotations import Annotation, Annotations, Id, Image, Result, read_annotations, read_results
from gtpt.data.images import FileStore


@dataclass(frozen=True, eq=False)
class Persons:
    """N person instances, one row each in every array; coordinates in pixels of their image.

    Attributes:
        boxes: (N, 4) float64 left, top, width, height.
        keypoints: (N, K, 2) float64; zeros for detections without ground truth.
        visible: (N, K) float32, 1 where labelled (visibility 1 and 2 alike), 0 where not (0 and below).
        areas: (N,) float64 segment areas of the annotations; of the box where none is stated.
        scores: (N,) float64 box scores, 1 for ground truth.
        image_ids: (N,) int64, or texts where the file has those.
        files: (N,) names below the image store.
        stores: (N,) int64, index into the data set's image stores.
        ids: (N,) object, those of the annotations; None for detections.
        sizes: (N, 2) float64 width, height of their image as the file states them, which tells whether the coordinates are
            those of the picture as stored or upright, see `gtpt.core.geometry.meant_pixels`.
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
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, index: np.ndarray) -> Persons:
        """Some of the persons."""
        return replace(self, **{name: getattr(self, name)[index] for name in self.__dataclass_fields__})

    def in_skeleton(self, own: Skeleton, wanted: Skeleton) -> Persons:
        """The same persons with the keypoints of another skeleton, by name; those that theirs lacks have no label."""
        mine, theirs = own.shared_with(wanted)
        keypoints = np.zeros((len(self), len(wanted), 2))
        visible = np.zeros((len(self), len(wanted)), dtype=np.float32)
        keypoints[:, theirs], visible[:, theirs] = self.keypoints[:, mine], self.visible[:, mine]
        return replace(self, keypoints=keypoints, visible=visible)

    @classmethod
    def concatenate(cls, parts: list[Persons]) -> Persons:
        """Of several data sets; each keeps its own image store."""
        stores = [np.full(len(p), i) for i, p in enumerate(parts)]
        arrays = {n: np.concatenate([getattr(p, n) for p in parts]) for n in cls.__dataclass_fields__ if n != "stores"}
        return cls(**arrays, stores=np.concatenate(stores))


def read_coco(
    annotations: str | Path | Mapping[str, Any] | Annotations, skeleton: Skeleton, *, labelled: bool = True
) -> Persons:
    """The person instances that official GTPT trains on and evaluates with ground-truth boxes.

    Kept are instances of category "person" (or the file's only category), not crowds, with a positive area, at least one
    labelled body keypoint and a box that reaches into the image (and is larger than one pixel).

    Args:
        annotations: COCO keypoint JSON: a path, a member of a zip, the parsed file, or what `read_annotations` gave.
        skeleton: tells how many keypoints each instance must have.
        labelled: False takes everybody with a box who is no crowd, without keypoints: a teacher will tell them.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: not a COCO keypoint file, keypoints of another skeleton or in another order, NaN; names the entry.
    """
    file = read_annotations(annotations)
    category, images = file.person_category(), file.images_by_id()
    rows = [a for a in file.annotations if a.category_id == category and (a.counts if labelled else not a.iscrowd)]
    if labelled:
        file.check_keypoint_names(skeleton, [category])
        joints = np.array([a.joints(skeleton, f"{file.source}: annotation {a.id}") for a in rows])
    else:
        joints = np.zeros((len(rows), len(skeleton), 3))
    joints = joints.reshape(-1, len(skeleton), 3)
    owners = [_image_of(a, images, f"{file.source}: annotation {a.id}") for a in rows]
    found = np.array([a.box(f"{file.source}: annotation {a.id}") for a in rows]).reshape(-1, 4)
    widths, heights = np.array([image.size for image in owners]).reshape(-1, 2).T
    boxes, inside = clean_boxes(found, (widths, heights))
    persons = Persons(
        boxes=boxes,
        keypoints=joints[..., :2],
        visible=np.clip(joints[..., 2], 0, 1).astype(np.float32),
        areas=np.array([a.size for a in rows], dtype=np.float64),
        scores=np.ones(len(rows)),
        image_ids=_id_array(owners),
        files=np.array([image.file_name for image in owners], dtype=object),
        stores=np.zeros(len(rows), dtype=np.int64),
        ids=np.array([a.id for a in rows], dtype=object),
        sizes=np.stack([widths, heights], axis=1),
    )
    return persons.select(inside & (boxes[:, 2:].max(axis=1) > 0))


def read_detections(
    path: str | Path, annotations: str | Path | Mapping[str, Any] | Annotations, skeleton: Skeleton
) -> Persons:
    """Person boxes of a detector in COCO results form, used as they are unless they have no extent.

    Args:
        path: JSON list of {"image_id", "category_id", "bbox", "score"}; those of other categories are left out.
        annotations: COCO file whose images they are of.
        skeleton: number of keypoints.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: not such a list, NaN, or boxes of images that are not listed.
    """
    file = read_annotations(annotations)
    images, category = file.images_by_id(), file.person_category()
    rows = read_results(path, ("image_id", "bbox", "score"))
    rows = [r for r in rows if r.category_id in (None, category)]
    titles = [f"{path}: detection of image {r.image_id}" for r in rows]
    owners = [_image_of(r, images, title) for r, title in zip(rows, titles, strict=True)]
    boxes = np.array([r.box(title) for r, title in zip(rows, titles, strict=True)], dtype=np.float64).reshape(-1, 4)
    count = len(rows)
    persons = Persons(
        boxes=boxes,
        keypoints=np.zeros((count, len(skeleton), 2)),
        visible=np.zeros((count, len(skeleton)), dtype=np.float32),
        areas=np.zeros(count),
        scores=np.array([r.score for r in rows], dtype=np.float64),
        image_ids=_id_array(owners),
        files=np.array([image.file_name for image in owners], dtype=object),
        stores=np.zeros(count, dtype=np.int64),
        ids=np.full(count, None, dtype=object),
        sizes=np.array([image.size for image in owners], dtype=np.float64).reshape(-1, 2),
    )
    return persons.select(boxes[:, 2:].max(axis=1) > 0)


def _id_array(images: Sequence[Image]) -> np.ndarray:
    """Ids of images, which are numbers or texts but not both."""
    return np.array([image.id for image in images]) if images else np.zeros(0, dtype=np.int64)


def _image_of(entry: Annotation | Result, images: Mapping[Id, Image], title: str) -> Image:
    """The image of an entry; AnnotationError if it is not listed."""
    image = None if entry.image_id is None else images.get(entry.image_id)
    if image is None:
        raise AnnotationError(f"{title} belongs to image {entry.image_id}, which is not listed")
    return image


def open_stores(roots: list[str | Path]) -> list[FileStore]:
    """The image stores of several data sets, in the order that `Persons.stores` counts."""
    return [FileStore(root) for root in roots]
