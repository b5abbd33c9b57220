"""What a teacher network believes about each training crop: keypoint maps, made once, warped along with the augmentation.

Ours, not in the paper. Labels say one point per keypoint and nothing of the keypoints they lack; a stronger network says
where else a keypoint could be, and places those that nobody labelled.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.errors import AnnotationError
from gtpt.core.geometry import transform_points, xywh_to_xyxy
from gtpt.core.skeleton import Skeleton, load_skeleton
from gtpt.data.annotations import read_results
from gtpt.data.coco import Persons
from gtpt.data.config import TrainSource

CELLS = 64  # of each map that are kept, the heaviest ones: 89 % of a sharpened map on average

SHARPEN = 2.0  # maps are raised to this power: a coarse grid makes them wider than the teacher's knowledge is
OVERLAP = 0.5  # least IoU of a person's box and the extent of a result's keypoints


@dataclass(frozen=True, eq=False)
class TeacherMaps:
    """Maps of N persons and K keypoints, of which the C heaviest cells are kept.

    Attributes:
        ids: (N,) annotation ids.
        points: (N, K, C, 2) float32 centres of the cells, in pixels of the person's image.
        mass: (N, K, C) float32 probability in each cell, summing to one over C.
        keypoints: (N, K, 2) float32 the teacher's answer, in pixels of the image.
        scores: (N, K) float32 how sure it is, 0..1.
        order: for each keypoint of the network, which of the K it is, -1 if none; None where they are the same.
    """

    ids: np.ndarray
    points: np.ndarray
    mass: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    order: np.ndarray | None = None
    _rows: dict[Any, int] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        self._rows.update((i, row) for row, i in enumerate(self.ids.tolist()))

    def row(self, annotation_id: object) -> int | None:
        """Row of a person; None for one whom the teacher was not shown."""
        return self._rows.get(annotation_id)

    def about(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Points, mass, keypoints and scores of one person, as in the attributes, with the keypoints in `order`."""
        found = self.points[row], self.mass[row], self.keypoints[row], self.scores[row]
        if self.order is None:
            return found
        points, mass, keypoints, scores = (values[self.order] for values in found)
        known = self.order >= 0
        return points, mass * known[:, None], keypoints, scores * known

    def in_skeleton(self, own: Skeleton, wanted: Skeleton) -> TeacherMaps:
        """The same maps, told for another skeleton's keypoints by `about`: matched by name, and a score of 0 for others."""
        mine, theirs = own.shared_with(wanted)
        order = np.full(len(wanted), -1)
        order[theirs] = mine
        return replace(self, order=order)


def teacher_of(source: TrainSource, persons: Persons, own: Skeleton, wanted: Skeleton) -> TeacherMaps | None:
    """What the teacher of a training source says, told for a network's keypoints; None for a source without one.

    Args:
        source: names the file, and the skeleton of its keypoints if that is not the one of the annotations.
        persons: of the source.
        own: skeleton of the annotations.
        wanted: skeleton of the network.

    Raises:
        FileNotFoundError, ValueError: no such file or skeleton, or one that does not fit; see `load_teacher`.
    """
    if source.teacher is None:
        return None
    taught = load_skeleton(source.teacher_skeleton or own)
    return load_teacher(source.teacher, persons, taught).in_skeleton(taught, wanted)


def load_teacher(path: str | Path, persons: Persons, skeleton: Skeleton) -> TeacherMaps:
    """Read what a teacher says of the people of a data set.

    Args:
        path: either COCO results (a *.json list, as any top-down network's evaluation writes it; a result belongs to the
            annotated person of its image whose box it overlaps most, by half at least), or maps, a *.npz with
            id (N,): annotation ids;
            heat (N, K, h, w) uint8: round(255 * sqrt(p / max p)) of each keypoint's probability over the cells;
            M (N, 2, 3) float64: a cell's (column, row, 1) to x, y in pixels of the person's image;
            keypoints (N, K, 3): the teacher's x, y, and score in 0..1.
        persons: of the data set.
        skeleton: whose K keypoints the file has, in this order.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, of another number of keypoints, or of other people; says what differs.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no teacher's maps or results at {path}")
    teacher = _from_results(path, persons, skeleton) if path.suffix == ".json" else _from_maps(path, len(skeleton))
    if all(teacher.row(i) is None for i in persons.ids):
        raise AnnotationError(
            f"{path} knows none of the people of this data set: it must be made from the same annotations"
        )
    return teacher


def _from_results(path: Path, persons: Persons, skeleton: Skeleton) -> TeacherMaps:
    """Keypoints as maps of one cell; for each person the best result whose keypoints lie where its box is."""
    rows = read_results(path, ("image_id", "keypoints"))
    joints = np.array([row.joints(skeleton, f"{path}: result {n}") for n, row in enumerate(rows)])
    joints = joints.reshape(-1, len(skeleton), 3)
    low, high = joints[..., :2].min(axis=1), joints[..., :2].max(axis=1)
    by_image: dict[object, list[int]] = {}
    for number, row in enumerate(rows):
        by_image.setdefault(row.image_id, []).append(number)
    chosen = {}
    for person, (image, box) in enumerate(zip(persons.image_ids.tolist(), xywh_to_xyxy(persons.boxes), strict=True)):
        candidates = by_image.get(image, [])
        if candidates:
            shared = np.clip(np.minimum(high[candidates], box[2:]) - np.maximum(low[candidates], box[:2]), 0, None)
            sizes = (high[candidates] - low[candidates]).prod(axis=1) + (box[2:] - box[:2]).prod()
            overlap = shared.prod(axis=1) / np.maximum(sizes - shared.prod(axis=1), 1e-9)
            if overlap.max() >= OVERLAP:
                chosen[person] = candidates[int(overlap.argmax())]
    found = joints[list(chosen.values())].reshape(-1, len(skeleton), 3).astype(np.float32)
    return TeacherMaps(
        ids=persons.ids[list(chosen)],
        points=found[:, :, None, :2],
        mass=np.ones((*found.shape[:2], 1), np.float32),
        keypoints=found[..., :2],
        scores=np.clip(found[..., 2], 0, 1),
    )


def _from_maps(path: Path, num_keypoints: int) -> TeacherMaps:
    try:
        with np.load(path, allow_pickle=False) as file:
            ids, heat, matrices, found = (file[key] for key in ("id", "heat", "M", "keypoints"))
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise AnnotationError(f"{path} holds no teacher's maps (arrays id, heat, M, keypoints): {error}") from error
    count = len(ids)
    shapes = {"heat": (count, num_keypoints, *heat.shape[2:]), "M": (count, 2, 3), "keypoints": (count, num_keypoints, 3)}
    for name, array in (("heat", heat), ("M", matrices), ("keypoints", found)):
        if array.shape != shapes[name] or heat.ndim != 4:
            raise AnnotationError(
                f"{path}: {name} is {array.shape}, not {shapes[name]} ({count} persons in `id`, {num_keypoints} keypoints, "
                f"or those of the source's `teacher_skeleton`)"
            )
    if not (np.isfinite(matrices).all() and np.isfinite(found).all()):
        raise AnnotationError(f"{path} holds places or scores that are not finite")
    cells, mass = _heaviest(heat, SHARPEN)
    column, row = cells % heat.shape[3], cells // heat.shape[3]
    points = transform_points(np.stack([column, row], -1).reshape(count, -1, 2), matrices)
    return TeacherMaps(
        ids=ids,
        points=points.reshape(*cells.shape, 2).astype(np.float32),
        mass=mass,
        keypoints=found[..., :2].astype(np.float32),
        scores=np.clip(found[..., 2], 0, 1).astype(np.float32),
    )


def _heaviest(heat: np.ndarray, sharpen: float) -> tuple[np.ndarray, np.ndarray]:
    """Cells (N, K, C) of the largest values, and their share of the mass; person by person, since the maps are large."""
    flat = heat.reshape(*heat.shape[:2], -1)
    keep = min(CELLS, flat.shape[2])
    cells = np.empty((*flat.shape[:2], keep), np.int32)
    for number, maps in enumerate(flat):
        cells[number] = np.argpartition(maps, -keep, axis=1)[:, -keep:]
    mass = np.take_along_axis(flat, cells, axis=2).astype(np.float32) ** (2 * sharpen)
    return cells, mass / np.maximum(mass.sum(axis=2, keepdims=True), 1e-9)


def splat(points: np.ndarray, mass: np.ndarray, bins: tuple[int, int], split: float) -> tuple[np.ndarray, np.ndarray]:
    """Project weighted points onto the two SimCC axes, each shared between its two neighbouring bins.

    Args:
        points: (K, C, 2) crop pixels.
        mass: (K, C).
        bins: of x and y.
        split: bins per pixel.

    Returns:
        (K, bins of x) and (K, bins of y) float32; mass outside the crop is lost.
    """
    out = []
    for axis, count in enumerate(bins):
        place = points[..., axis] * split
        lower = np.floor(place)
        rest = place - lower
        lower = np.clip(lower, -2, count).astype(np.int64) + 2  # two bins more at both ends for what lies outside
        rows = np.arange(len(points))[:, None] * (count + 4)
        flat = np.bincount((rows + lower).ravel(), (mass * (1 - rest)).ravel(), len(points) * (count + 4))
        flat += np.bincount((rows + lower + 1).ravel(), (mass * rest).ravel(), len(points) * (count + 4))
        out.append(flat.reshape(len(points), count + 4)[:, 2 : count + 2].astype(np.float32))
    return out[0], out[1]
