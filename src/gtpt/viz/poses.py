"""Pictures of poses. Left is orange, right is blue, the middle is white: colour-blind eyes tell them apart too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from gtpt.core.calibration import VISIBLE
from gtpt.core.errors import InputError
from gtpt.core.poses import Poses
from gtpt.core.skeleton import Skeleton, split_side
from gtpt.io.arrays import as_rgb
from gtpt.viz.canvas import (
    DARK,
    LEFT,
    MIDDLE,
    RIGHT,
    Color,
    Layer,
    draw_text,
    enlarged,
    text_width,
    within,
)
from gtpt.viz.picture import Picture

SMALL = 0.7  # relative thickness of eyes, nose and ears is below it, that of wrists and ankles above


def draw_poses(
    image: np.ndarray | None,
    poses: Poses,
    *,
    threshold: float = VISIBLE,
    ids: bool = True,
    boxes: bool = False,
    background: Literal["image", "black"] = "image",
) -> Picture:
    """Draw people over a copy of an image.

    Args:
        image: (H, W, 3) uint8, RGB, or what else `PoseEstimator` takes; it stays as it is. Not needed on black.
        poses: in pixels of that image.
        threshold: calibrated score in [0, 1] below which a keypoint, and the limbs that end in it, is not drawn.
        ids: label people with their track id, where they have one.
        boxes: draw the boxes too.
        background: "image", or "black" for the people alone, as ControlNet and other generators of pictures want them.

    Returns:
        (H, W, 3) uint8, RGB: an array that can also be saved and shown.

    Raises:
        ValueError: the image cannot be used, or there is no such background.
    """
    canvas = _canvas(image, poses, background)
    plan = plan_of(poses.skeleton)
    visible = (poses.keypoint_scores >= threshold) & within(poses.keypoints, canvas, margin=16 * max(canvas.shape))
    labelled = ids & (poses.ids >= 0) & (visible & within(poses.keypoints, canvas)).any(axis=1)
    sizes = np.nan_to_num(poses.boxes[:, 2:] - poses.boxes[:, :2]).max(axis=1, initial=0)
    order = np.argsort(sizes)  # the largest, mostly the nearest, lies on top
    for i in order:
        if boxes:
            _draw_box(canvas, poses.boxes[i], limb_radius(sizes[i]))
        draw_person(canvas, poses.keypoints[i], visible[i], plan, sizes[i])
    for i in order:
        if labelled[i]:
            x, y = _top(poses.keypoints[i, visible[i]])
            y = min(y, poses.boxes[i, 1]) if boxes else y - 0.06 * sizes[i]  # above the box, or the hair
            _draw_label(canvas, str(poses.ids[i]), (x, y), sizes[i])
    return Picture.of(canvas)


def _canvas(image: np.ndarray | None, poses: Poses, background: str) -> np.ndarray:
    if background == "black":
        width, height = poses.image_size
        return np.zeros((height, width, 3), np.uint8)
    if background != "image":
        raise InputError(f"no background {background!r}: choose 'image' or 'black'")
    if image is None:
        raise InputError("there is no image to draw on: give one, or background='black'")
    return as_rgb(image, "the image to draw on").copy()


@dataclass(frozen=True)
class _Part:
    """Keypoints that share a line width: the body, a hand, the face, a foot."""

    fine: bool
    keypoints: np.ndarray  # (n,) indices
    edges: np.ndarray  # (e, 2) indices

    def seen(self, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The keypoints, and the edges with two of them, that are to be drawn; from (K,) bool."""
        return self.keypoints[visible[self.keypoints]], self.edges[visible[self.edges].all(axis=1)]


@dataclass(frozen=True)
class _Plan:
    """What a skeleton says about its picture."""

    parts: tuple[_Part, ...]
    weights: np.ndarray  # (K,) relative thickness
    colors: tuple[Color, ...]  # of the keypoints
    edge_colors: Mapping[tuple[int, int], Color]


@lru_cache(maxsize=16)
def plan_of(skeleton: Skeleton) -> _Plan:
    part_of = [skeleton.part_of(i) for i in range(len(skeleton))]
    # an edge between the body and a part (ankle to toe) is as fine as the part
    owner = {edge: part_of[edge[0]] or part_of[edge[1]] for edge in skeleton.edges}
    parts = [
        _Part(
            fine=name is not None,
            keypoints=np.array([i for i, p in enumerate(part_of) if p == name]),
            edges=np.array([edge for edge, p in owner.items() if p == name], dtype=int).reshape(-1, 2),
        )
        for name in dict.fromkeys(part_of)
    ]
    palette = {"left": LEFT, "right": RIGHT, "": MIDDLE}
    sides = [side[0] if (side := split_side(name)) else "" for name in skeleton.keypoints]
    edge_sides = {edge: {sides[i] for i in edge} - {""} for edge in skeleton.edges}
    fine = np.array([p is not None for p in part_of])
    return _Plan(
        parts=tuple(sorted(parts, key=lambda part: part.fine)),  # hands over the body
        weights=np.where(fine, 1, np.clip(skeleton.sigmas / 0.06, 0.45, 1)),  # an eye is a smaller thing than a hip
        colors=tuple(palette[side] for side in sides),
        edge_colors={edge: palette[found.pop()] if len(found) == 1 else MIDDLE for edge, found in edge_sides.items()},
    )


def limb_radius(size: float) -> float:
    """Half the width of a limb, in pixels, for a person whose box is `size` pixels long."""
    return float(np.clip(0.007 * size, 0.8, 14))


def draw_person(canvas: np.ndarray, points: np.ndarray, visible: np.ndarray, plan: _Plan, size: float) -> None:
    radius = limb_radius(size)
    if not visible.any():
        return
    limb = _limb_radii(points, visible, plan, radius)
    with enlarged(canvas, points[visible], margin=3 * radius + 2) as layer:
        for part in plan.parts:
            dots, edges = part.seen(visible)
            if len(dots):
                most = limb[part.keypoints[0]] if part.fine else radius  # the ankle is thin where a toe joins it
                _draw_part(layer, points, dots, edges, plan, np.minimum(limb, most), rings=not part.fine)


def _limb_radii(points: np.ndarray, visible: np.ndarray, plan: _Plan, radius: float) -> np.ndarray:
    """(K,) half the width of the limbs at each keypoint."""
    limb = radius * plan.weights
    for part in plan.parts:
        dots, edges = part.seen(visible)
        if part.fine and len(dots):
            at, (a, b) = points[dots], points[edges].swapaxes(0, 1)
            bone = np.median(np.linalg.norm(a - b, axis=1)) if len(a) else 0.25 * np.ptp(at, axis=0).max()
            width = np.clip(0.065 * bone, 0.25, 0.35 * radius)  # so that the dots of a dense part stay apart
            limb[part.keypoints] = width
            # The body has eyes and a nose of its own, which must not cover those of a face.
            inside = ((points >= at.min(axis=0)) & (points <= at.max(axis=0))).all(axis=1) & (plan.weights < SMALL)
            limb[inside] = np.minimum(limb[inside], width)
    return limb


def _draw_part(
    layer: Layer, points: np.ndarray, dots: np.ndarray, edges: np.ndarray, plan: _Plan, limb: np.ndarray, *, rings: bool
) -> None:
    """Dark below, colour above; rings set the joints of the body apart from its limbs.

    Args:
        layer: to draw on.
        points: (K, 2).
        dots: indices of the keypoints to draw.
        edges: (e, 2) indices of their edges.
        plan: of the skeleton.
        limb: (K,) half the width of the limbs at each keypoint.
        rings: around the joints.
    """
    border = 0.3 + 0.3 * limb
    joint = limb * (1.6 if rings else 2)
    a, b = edges.T
    dark = [DARK] * len(edges)
    edge_colors = [plan.edge_colors[i, j] for i, j in edges.tolist()]
    at = points[dots]
    layer.bones(points[a], points[b], (limb + border)[a], (limb + border)[b], dark)
    layer.discs(at, (joint + border)[dots], [DARK] * len(dots))
    layer.bones(points[a], points[b], limb[a], limb[b], edge_colors)
    if rings:
        layer.discs(at, (joint + 0.6 * border)[dots], [DARK] * len(dots))
    layer.discs(at, joint[dots], [plan.colors[i] for i in dots])


def _draw_box(canvas: np.ndarray, box: np.ndarray, radius: float) -> None:
    if not np.isfinite(box).all():
        return
    x1, y1, x2, y2 = np.clip(box, -16 * max(canvas.shape), 16 * max(canvas.shape))
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    for width, color in ((0.4 * radius + 0.8, DARK), (0.4 * radius, MIDDLE)):
        half = np.full(4, width)
        Layer(canvas).bones(corners, np.roll(corners, -1, axis=0), half, half, [color] * 4)


def _top(points: np.ndarray) -> tuple[float, float]:
    """The highest y, and the middle of the points up there: mostly the head."""
    y = points[:, 1].min()
    near = points[points[:, 1] < y + 0.15 * np.ptp(points[:, 1]) + 1]
    return near[:, 0].mean(), y


def _draw_label(canvas: np.ndarray, text: str, anchor: tuple[float, float], size: float) -> None:
    """White on a dark pill above the anchor, moved so that all of it is inside the image."""
    height = float(np.clip(0.04 * size, 9, max(22, 0.02 * len(canvas))))
    radius = 0.85 * height
    straight = max(text_width(text, height) / 2 - 0.25 * height, 0)  # half the pill without its round ends
    low = np.array([straight + radius, radius])
    center = np.clip(np.subtract(anchor, (0, radius)), low, np.maximum(canvas.shape[1::-1] - low, low))
    ends = center + np.array([[-straight, 0], [straight, 0]])
    Layer(canvas).bones(ends[:1], ends[1:], np.array([radius]), np.array([radius]), [DARK])
    draw_text(canvas, text, (center[0], center[1] + height / 2), height, MIDDLE)
