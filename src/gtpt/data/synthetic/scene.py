"""One labelled crop: people before a camera, cut by the picture's borders, hidden by each other and by things."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from gtpt.data.synthetic import photograph
from gtpt.data.synthetic.body import Body, Shape
from gtpt.data.synthetic.people import Patterns, draw_shape, dress
from gtpt.data.synthetic.points import Points
from gtpt.data.synthetic.poses import Pose, PoseBank, rotation
from gtpt.data.synthetic.renderer import Figure, Renderer
from gtpt.data.synthetic.surroundings import Surroundings

LEVEL = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # body axes to a level camera's, seeing the front
SURROUND = 1.69  # a crop over the person's box in the crop's aspect: 1.25 x 1.35 of augmentation
ASPECT = 0.75
SUPERSAMPLING = 1.5
LEAST_PIXELS, LEAST_SIDE, LEAST_POINTS = 120, 6, 4  # of a person that is worth labelling
SEEN_PART = 0.3  # faces and hands of which less is seen are not labelled, as in COCO-WholeBody
NEAREST = 0.15  # metres before the camera


@dataclass(frozen=True)
class Sample:
    """A crop and its labels.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        keypoints: (K, 3) float64 x, y in pixels, visibility 0 (outside), 1 (hidden) or 2 (seen).
        box: (4,) left, top, width, height of what is seen of the person, about as a detector finds it.
        area: pixels of the person that are seen.
    """

    image: np.ndarray
    keypoints: np.ndarray
    box: np.ndarray
    area: float


@dataclass
class Plan:
    """All choices that come before bodies are posed; the person to label is the first.

    Attributes:
        poses, shapes: N people.
        places: (N, 3) their middles in camera space, metres.
        tilt: (3, 3) turns a level camera's view.
        rng: goes on from here.
    """

    poses: list[Pose]
    shapes: list[Shape]
    places: np.ndarray
    tilt: np.ndarray
    rng: np.random.Generator


@dataclass
class Studio:
    """What all scenes share."""

    body: Body
    bank: PoseBank
    renderer: Renderer
    points: Points
    surroundings: Surroundings
    patterns: Patterns
    largest: int

    def plan(self, rng: np.random.Generator) -> Plan:
        """Who stands where before which camera."""
        others = int(rng.choice([0, 1, 2], p=[0.68, 0.24, 0.08]))
        pitch = np.clip(rng.normal(6, 11), -25, 55) if rng.random() < 0.92 else rng.uniform(20, 70)
        roll = rng.normal(0, 4)
        tilt = rotation(np.radians([pitch, 0, 0])) @ rotation(np.radians([0, 0, roll]))
        distance = np.exp(rng.uniform(np.log(1.9), np.log(11)))
        places = [[0.0, 0.0, distance]]
        for _ in range(others):
            aside, behind = rng.normal(0, 0.55), rng.normal(0.35, 0.7)
            if abs(aside) < 0.3 and abs(behind) < 0.35:
                behind = 0.5  # not inside the other
            places.append([aside, 0.0, max(distance + behind, 1.0)])
        poses = [self.bank.draw(rng) for _ in places]
        return Plan(poses, [draw_shape(self.body, rng) for _ in places], np.array(places), tilt, rng)

    def shoot(self, plan: Plan, vertices: np.ndarray, normals: np.ndarray, frames: np.ndarray) -> Sample | None:
        """Draw a plan; None if too little of the person is seen.

        Args:
            plan: of N people.
            vertices, normals: (N, V, 3) of their posed bodies.
            frames: (N, B, 4, 4) of their bones.
        """
        rng = plan.rng
        figures = [self._figure(plan, i, vertices[i], normals[i], frames[i]) for i in range(len(plan.poses))]
        target = figures[0]
        view = _View.draw(_flat(target.vertices[self.body.skin]), self.largest, rng)
        if view is None:
            return None
        light = photograph.draw_light(rng, plan.tilt @ [0.0, -1.0, 0.0])
        color, depth, who = self.renderer.render(figures, light, view.window, view.fine_size)
        people = cv2.resize(color, view.size, interpolation=cv2.INTER_AREA).astype(np.float32)
        image = photograph.insert(self.surroundings.draw(rng, view.size, view.box), people, rng)
        seen = cv2.resize((who == 1).astype(np.uint8), view.size, interpolation=cv2.INTER_AREA) > 0
        covered = np.zeros_like(seen)
        if rng.random() < 0.3:
            image, covered = photograph.occlude(image, self.surroundings.draw(rng, view.size), seen, rng)
        image = photograph.develop(image, rng)
        keypoints = self.points(target.vertices, target.bone_heads)
        labels = self._labels(keypoints, view, depth, who, covered)
        box = _box_of(seen & ~covered, rng)
        if box is None or (labels[:, 2] > 0).sum() < LEAST_POINTS:
            return None
        return Sample(image, labels, box, float((seen & ~covered).sum()))

    def _figure(self, plan: Plan, i: int, vertices: np.ndarray, normals: np.ndarray, frames: np.ndarray) -> Figure:
        turn = plan.tilt @ LEVEL @ plan.poses[i].root
        turned = vertices @ turn.T
        move = plan.places[i] - (turned.min(0) + turned.max(0)) / 2
        head = turn @ frames[self.body.bones.index("head"), :3, :3] @ self.body.head_rest.T
        layers = dress(self.body, plan.shapes[i], plan.rng, self.patterns)
        return Figure(turned + move, normals @ turn.T, frames[:, :3, 3] @ turn.T + move, head, layers, number=i + 1)

    def _labels(
        self, keypoints: np.ndarray, view: _View, depth: np.ndarray, who: np.ndarray, covered: np.ndarray
    ) -> np.ndarray:
        """(K, 3): pixels, and whether the keypoint is outside (0), hidden (1) or seen (2)."""
        pixels = (_flat(keypoints) - view.window[:2]) * view.scale
        labels = np.zeros((len(pixels), 3))
        for k, (x, y) in enumerate(pixels):
            if not (0 <= x < view.size[0] and 0 <= y < view.size[1]):
                continue
            row = min(int(y * SUPERSAMPLING), depth.shape[0] - 1)
            column = min(int(x * SUPERSAMPLING), depth.shape[1] - 1)
            around = slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2)
            mine = depth[around][who[around] == 1]  # the furthest counts: at an outline, nearer parts are neighbours
            clear = keypoints[k, 2] - mine.max() < self.points.depth[k] if len(mine) else not who[around].any()
            labels[k] = x, y, 2 if clear and not covered[int(y), int(x)] else 1
        for part in (1, 2, 3):
            mine = self.points.parts == part
            if mine.any() and (labels[mine, 2] == 2).mean() < SEEN_PART:
                labels[mine] = 0
        return labels


@dataclass(frozen=True)
class _View:
    """A crop's place on the picture plane (metres at distance 1) and its pixels."""

    window: np.ndarray  # left, top, right, bottom
    size: tuple[int, int]
    scale: float  # pixels per unit of the plane
    box: np.ndarray  # of the person in the crop: left, top, width, height in pixels

    @property
    def fine_size(self) -> tuple[int, int]:
        return int(self.size[0] * SUPERSAMPLING), int(self.size[1] * SUPERSAMPLING)

    @classmethod
    def draw(cls, outline: np.ndarray, largest: int, rng: np.random.Generator) -> _View | None:
        """Cut a crop around a person from a picture; None if the picture holds nothing of them."""
        low, high = outline.min(0), outline.max(0)
        frame = _picture(low, high, rng)
        low, high = np.maximum(low, frame[0]), np.minimum(high, frame[1])
        extent = high - low
        if extent.min() <= 0:
            return None
        outer = SURROUND * np.array([max(extent[0], ASPECT * extent[1]), max(extent[1], extent[0] / ASPECT)])
        middle = (low + high) / 2 + extent * rng.normal(0, 0.01, 2)
        scale = rng.uniform(0.62, 1.0) * largest / outer[1]
        start, end = np.maximum(middle - outer / 2, frame[0]), np.minimum(middle + outer / 2, frame[1])
        size = np.maximum(np.round((end - start) * scale).astype(int), 8)
        window = np.concatenate([start, start + size / scale])
        box = np.concatenate([(low - start) * scale, extent * scale])
        return cls(window, (int(size[0]), int(size[1])), float(scale), box)


def _flat(points: np.ndarray) -> np.ndarray:
    """(N, 3) camera space to (N, 2) on the picture plane."""
    return points[:, :2] / np.maximum(points[:, 2:], NEAREST)


def _picture(low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(2, 2) corners of the picture on the picture plane: far from the person, or cutting them."""
    size = high - low
    frame = np.stack([low - size.max() * rng.uniform(0.02, 2.0, 2), high + size.max() * rng.uniform(0.02, 2.0, 2)])
    if rng.random() < 0.38:
        side = rng.choice(["bottom", "left", "right", "top"], p=[0.72, 0.1, 0.1, 0.08])
        if side == "bottom":
            frame[1, 1] = low[1] + size[1] * rng.uniform(0.22, 0.95)
        elif side == "left":
            frame[0, 0] = low[0] + size[0] * rng.uniform(0.08, 0.5)
        elif side == "right":
            frame[1, 0] = high[0] - size[0] * rng.uniform(0.08, 0.5)
        else:
            frame[0, 1] = low[1] + size[1] * rng.uniform(0.05, 0.3)
    return frame


def _box_of(seen: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Left, top, width, height of a mask, a little off as detectors are; None if there is too little of it."""
    columns, rows = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
    if seen.sum() < LEAST_PIXELS or min(len(columns), len(rows)) < LEAST_SIDE:
        return None
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], float)
    corners += rng.normal(0, 0.008, (2, 2)) * (corners[1] - corners[0])
    corners = np.clip(corners, 0, seen.shape[::-1])
    return np.concatenate([corners[0], corners[1] - corners[0]])
