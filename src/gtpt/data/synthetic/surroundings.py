"""What is behind and in front of people: pictures that the user gives, or drawn scenes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from gtpt.core.errors import SourceError
from gtpt.data.annotations import read_annotations
from gtpt.data.images import FileStore

LIMBS = (
    (5, 6),
    (5, 7),
    (7, 9),
    (6, 8),
    (8, 10),
    (5, 11),
    (6, 12),
    (11, 12),
    (11, 13),
    (13, 15),
    (12, 14),
    (14, 16),
    (0, 5),
    (0, 6),
)
BODY = 17  # keypoints of COCO, with which those of a whole body begin
TORSO = (5, 6, 12, 11)  # of COCO's keypoints, round the trunk
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp")
LEAST_PATCH = 18  # pixels of a patch of cloth


class Surroundings:
    """Backgrounds, and cloth.

    Args:
        root: a folder or zip of pictures. If it has an annotations.json in COCO form, one labelled person of each picture
            is painted out, and pieces of their clothes serve as patterns. None: drawn scenes.

    Raises:
        FileNotFoundError: no such place.
        SourceError: no picture in it.
        AnnotationError: annotations that cannot be read.
    """

    def __init__(self, root: Path | None):
        self.store = FileStore(root) if root is not None else None
        self.people: dict[str, tuple[np.ndarray, np.ndarray] | None] = {}  # by picture: box, joints
        if self.store is not None and self.store.exists("annotations.json"):
            file = read_annotations(self.store.root / "annotations.json")
            bodies = [person for person in file.annotations if len(person.lists[0] or ()) >= 3 * BODY]
            first = {person.image_id: person for person in reversed(bodies)}
            for image in file.images_by_id(["file_name"]).values():
                self.people[image.file_name] = None
                if (person := first.get(image.id)) is not None:
                    joints = np.array(person.lists[0][: 3 * BODY], float).reshape(BODY, 3)
                    self.people[image.file_name] = np.array(person.box(f"annotation {person.id}")), joints
        elif self.store is not None:
            self.people = {name: None for name in self.store.names() if name.lower().endswith(SUFFIXES)}
        self.names = list(self.people)
        if root is not None and not self.names:
            raise SourceError(f"{root}: no pictures ({', '.join(SUFFIXES)}) to take surroundings from")

    def draw(self, rng: np.random.Generator, size: tuple[int, int], box: np.ndarray | None = None) -> np.ndarray:
        """A background.

        Args:
            rng: source of chance.
            size: its width and height.
            box: left, top, width, height of the person who will stand there, and takes the place of one painted out.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        if self.store is None:
            return draw_scene(rng, size)
        name = self.names[int(rng.integers(len(self.names)))]
        image, person = self.store.read_image(name, ignore_orientation=True), self.people[name]
        place = None
        if person is not None:
            image, place = paint_out(image, *person, rng), person[0]
        if rng.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
            place = place if place is None else np.array([image.shape[1] - place[0] - place[2], *place[1:]])
        if place is None or box is None or place[2:].min() <= 0 or rng.random() < 0.1:
            return _cover(image, size, rng)
        scale = np.clip(max(box[2:] / place[2:]), 0.3, 6) * rng.uniform(0.9, 1.15)
        shift = box[:2] + box[2:] / 2 - scale * (place[:2] + place[2:] / 2)
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

    def patches(self, count: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Up to so many pieces of real clothes, (h, w, 3) uint8 RGB, from the trunks of labelled people."""
        found: list[np.ndarray] = []
        names = [name for name, person in self.people.items() if person is not None]
        for i in rng.permutation(len(names)):
            if len(found) == count:
                break
            joints = self.people[names[i]][1][list(TORSO)]  # type: ignore[index]
            low, high = joints[:, :2].min(0), joints[:, :2].max(0)
            inner = np.array([low + 0.18 * (high - low), high - 0.18 * (high - low)]).astype(int)
            if (joints[:, 2] == 2).all() and (inner[1] - inner[0]).min() >= LEAST_PATCH:
                assert self.store is not None
                image = self.store.read_image(names[i], ignore_orientation=True)
                found.append(image[inner[0, 1] : inner[1, 1], inner[0, 0] : inner[1, 0]].copy())
        return [patch for patch in found if min(patch.shape[:2]) > 1]


def paint_out(image: np.ndarray, box: np.ndarray, joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fill a person with what surrounds them.

    Args:
        image: (H, W, 3) uint8.
        box: left, top, width, height.
        joints: (17, 3) of COCO, in the image's pixels.
        rng: of the grain.
    """
    height, width = image.shape[:2]
    seen, points = joints[:, 2] > 0, joints[:, :2].astype(int)
    thick = max(int(0.13 * box[3]), int(0.22 * box[2]), 3)
    mask = np.zeros((height, width), np.uint8)
    for a, b in LIMBS:
        if seen[a] and seen[b]:
            cv2.line(mask, points[a].tolist(), points[b].tolist(), 1, thick)
    for point in points[seen]:
        cv2.circle(mask, point.tolist(), int(thick * 0.6), 1, -1)
    if seen[list(TORSO)].all():
        cv2.fillConvexPoly(mask, points[list(TORSO)].astype(np.int32), 1)
    left, top, right, bottom = (int(v) for v in (*(box[:2] - 4), *(box[:2] + box[2:] + 4)))
    hole = np.zeros_like(mask, bool)
    hole[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    hole &= mask > 0
    coarse = rng.normal(0, 5, (height // 6 + 2, width // 6 + 2)).astype(np.float32)
    grain = rng.normal(0, 2, (height, width)) + cv2.resize(coarse, (width, height))
    filled = _fill(image, hole) + np.where(hole, grain, 0)[..., None]
    return np.clip(filled, 0, 255).astype(np.uint8)


def _fill(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Average the known pixels at coarser and coarser scales until every hole has a colour, then go back."""
    known = (~hole).astype(np.float32)[..., None]
    levels = [np.concatenate([image * known, known], axis=2)]  # colour times share, share of known pixels
    while min(levels[-1].shape[:2]) > 2:
        height, width = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (max(width // 2, 1), max(height // 2, 1)), interpolation=cv2.INTER_AREA))
    coarsest = levels.pop()
    filled = coarsest[..., :3] / np.maximum(coarsest[..., 3:], 1e-4)
    for level in reversed(levels):
        filled = cv2.resize(filled, level.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        filled = level[..., :3] + (1 - level[..., 3:]) * filled
    return filled


def _cover(image: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Scale until it covers the size, cut the rest."""
    scale = max(size[0] / image.shape[1], size[1] / image.shape[0]) * rng.uniform(1.0, 1.25)
    grown = np.maximum(np.round(np.array(image.shape[1::-1]) * scale).astype(int), size)
    left, top = rng.integers(0, grown - size + 1)
    image = cv2.resize(image, grown.tolist(), interpolation=cv2.INTER_LINEAR)
    return image[top : top + size[1], left : left + size[0]]


def draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Ground and wall or sky with shapes and grain, no place in particular: (H, W, 3) uint8 of width, height `size`."""
    width, height = size
    horizon = int(height * rng.uniform(0.2, 0.85))
    colors = rng.uniform(30, 225, (4, 1)) * (1 + rng.uniform(-0.35, 0.35, (4, 3)))
    ramp = np.linspace(0, 1, height)[:, None, None]
    image = np.tile(colors[0] * (1 - ramp) + colors[1] * ramp, (1, width, 1)).astype(np.float32)
    image[horizon:] = (colors[2] * (1 - ramp) + colors[3] * ramp)[horizon:]
    for _ in range(int(rng.integers(4, 26))):
        _draw_shape(image, rng)
    for cells, strength in ((6, 22), (24, 14), (90, 10)):
        shape = (cells, max(cells * width // height, 2))
        coarse = rng.normal(0, strength * rng.uniform(0.3, 1.5), (*shape, 3)) @ (0.2 * np.eye(3) + 0.8 / 3)
        image += cv2.resize(coarse.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    return np.clip(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 3))), 0, 255).astype(np.uint8)


def _draw_shape(image: np.ndarray, rng: np.random.Generator) -> None:
    size = np.array(image.shape[1::-1])
    middle, extent = rng.uniform(0, 1, 2) * size, rng.uniform(0.03, 0.35, 2) * size
    color = (rng.uniform(0, 255) * (1 + rng.uniform(-0.4, 0.4, 3))).tolist()
    kind = rng.choice(["box", "blob", "line"], p=[0.5, 0.25, 0.25])
    if kind == "box":
        corners = cv2.boxPoints((middle.tolist(), extent.tolist(), float(rng.normal(0, 12))))
        cv2.fillConvexPoly(image, corners.astype(np.int32), color, cv2.LINE_AA)
    elif kind == "blob":
        cv2.ellipse(image, (middle.tolist(), extent.tolist(), float(rng.uniform(0, 180))), color, -1, cv2.LINE_AA)
    else:
        end = (middle + rng.normal(0, 0.5, 2) * size).astype(int).tolist()
        cv2.line(image, middle.astype(int).tolist(), end, color, int(rng.integers(1, 9)), cv2.LINE_AA)
