"""Pictures of poses. Left is orange, right is blue, the middle is white: colour-blind eyes tell them apart too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from gtpt.calibration import VISIBLE
from gtpt.poses import Poses
from gtpt.skeleton import Skeleton

Color = tuple[int, int, int]

LEFT: Color = (240, 150, 0)
RIGHT: Color = (70, 175, 240)
MIDDLE: Color = (255, 255, 255)
DARK: Color = (24, 24, 28)
PAPER: Color = (255, 255, 255)
PENCIL: Color = (190, 190, 194)
ACCENT: Color = (0, 158, 115)
FADED = 0.62  # how far what was pruned is on its way to paper

SMALL = 0.7  # relative thickness of eyes, nose and ears is below it, that of wrists and ankles above
_SHIFT = 4  # OpenCV draws at 1/16 pixel
_ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)  # (16, 2)


def draw_poses(
    image: np.ndarray, poses: Poses, *, threshold: float = VISIBLE, ids: bool = True, boxes: bool = False
) -> np.ndarray:
    """Draw people over a copy of an image.

    Args:
        image: (H, W, 3) uint8, RGB; it stays as it is.
        poses: in pixels of that image.
        threshold: calibrated score in [0, 1] below which a keypoint, and the limbs that end in it, is not drawn.
        ids: label people with their track id, where they have one.
        boxes: draw the boxes too.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: the image is no (H, W, 3) uint8.
    """
    canvas = _rgb(image).copy()
    plan = _plan(poses.skeleton)
    visible = (poses.keypoint_scores >= threshold) & _within(poses.keypoints, canvas, margin=16 * max(canvas.shape))
    labelled = ids & (poses.ids >= 0) & (visible & _within(poses.keypoints, canvas)).any(axis=1)
    sizes = np.nan_to_num(poses.boxes[:, 2:] - poses.boxes[:, :2]).max(axis=1, initial=0)
    order = np.argsort(sizes)  # the largest, mostly the nearest, lies on top
    for i in order:
        if boxes:
            _draw_box(canvas, poses.boxes[i], _limb_radius(sizes[i]))
        _draw_person(canvas, poses.keypoints[i], visible[i], plan, sizes[i])
    for i in order:
        if labelled[i]:
            x, y = _top(poses.keypoints[i, visible[i]])
            y = min(y, poses.boxes[i, 1]) if boxes else y - 0.06 * sizes[i]  # above the box, or the hair
            _draw_label(canvas, str(poses.ids[i]), (x, y), sizes[i])
    return canvas


def draw_kept_patches(
    crops: np.ndarray,
    kept: Mapping[str, Sequence[np.ndarray]],
    skeleton: Skeleton,
    *,
    grid: tuple[int, int] = (16, 16),
    keypoints: np.ndarray | None = None,
) -> np.ndarray:
    """Show which image patches the network kept for each group of keypoints, stage after stage.

    Args:
        crops: (B, h, w, 3) or (h, w, 3) uint8 RGB, what the network saw.
        kept: per stage, in order, one (B, n) array of patch ids for all groups together or one for each group
            (`Explained.kept` of the network). Ids count row by row from the top left.
        skeleton: whose groups the stages belong to.
        grid: rows and columns of patches.
        keypoints: (B, K, 3) or (K, 3) x, y in crop pixels and calibrated score: drawn beside the patches.

    Returns:
        (H, W, 3) uint8 RGB, a sheet for each person, one below the other.

    Raises:
        ValueError: crops that are not uint8 RGB, ids outside the grid, another number of groups or of people.
    """
    crops = np.asarray(crops)[None] if np.ndim(crops) == 3 else np.asarray(crops)
    poses = None if keypoints is None else np.asarray(keypoints).reshape(len(crops), len(skeleton), 3)
    stages = {"all patches": [np.tile(np.arange(grid[0] * grid[1]), (len(crops), 1))]}
    stages |= {_stage_title(name): [np.asarray(ids) for ids in groups] for name, groups in kept.items()}
    for title, groups in stages.items():
        _check_stage(title, groups, (len(skeleton.groups), len(crops)), grid)
    sheets = []
    for i, crop in enumerate(crops):
        first = [] if poses is None else [("pose", [(_tile_with_pose(crop, poses[i], skeleton), "")])]
        columns = [(title, [_tile_with_caption(crop, ids[i], grid) for ids in groups]) for title, groups in stages.items()]
        sheets.append(_sheet([*first, *columns], [group.name for group in skeleton.groups]))
    return np.concatenate(sheets) if sheets else np.full((_GAP, _GAP, 3), PAPER, dtype=np.uint8)


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
def _plan(skeleton: Skeleton) -> _Plan:
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
    sides = [_side(name) for name in skeleton.keypoints]
    edge_sides = {edge: {sides[i] for i in edge} - {""} for edge in skeleton.edges}
    fine = np.array([p is not None for p in part_of])
    return _Plan(
        parts=tuple(sorted(parts, key=lambda part: part.fine)),  # hands over the body
        weights=np.where(fine, 1, np.clip(skeleton.sigmas / 0.06, 0.45, 1)),  # an eye is a smaller thing than a hip
        colors=tuple(palette[side] for side in sides),
        edge_colors={edge: palette[found.pop()] if len(found) == 1 else MIDDLE for edge, found in edge_sides.items()},
    )


def _side(name: str) -> str:
    return next((side for side in ("left", "right") if name.startswith(f"{side}_")), "")


def _limb_radius(size: float) -> float:
    """Half the width of a limb, in pixels, for a person whose box is `size` pixels long."""
    return float(np.clip(0.007 * size, 0.8, 14))


def _draw_person(canvas: np.ndarray, points: np.ndarray, visible: np.ndarray, plan: _Plan, size: float) -> None:
    radius = _limb_radius(size)
    if not visible.any():
        return
    limb = _limb_radii(points, visible, plan, radius)
    with _enlarged(canvas, points[visible], margin=3 * radius + 2) as layer:
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
    layer: _Layer, points: np.ndarray, dots: np.ndarray, edges: np.ndarray, plan: _Plan, limb: np.ndarray, *, rings: bool
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


@dataclass(frozen=True)
class _Layer:
    """Pixels to draw on, `scale` times as fine as the image; `origin` is the image pixel of its top left corner."""

    pixels: np.ndarray
    origin: tuple[int, int] = (0, 0)
    scale: int = 1

    def bones(
        self, a: np.ndarray, b: np.ndarray, radius_a: np.ndarray, radius_b: np.ndarray, colors: Sequence[Color]
    ) -> None:
        """Lines with round ends from (n, 2) a to b, with half their width at both; cv2.line knows whole widths only."""
        ends = [p[:, None] + r[:, None, None] * _CIRCLE for p, r in ((a, radius_a), (b, radius_b))]
        rings = (np.concatenate(ends, axis=1) - self.origin + 0.5) * self.scale - 0.5
        for ring, color in zip(np.round(rings * (1 << _SHIFT)).astype(np.int32), colors, strict=True):
            cv2.fillConvexPoly(self.pixels, cv2.convexHull(ring), color, cv2.LINE_AA, _SHIFT)

    def discs(self, centers: np.ndarray, radius: np.ndarray, colors: Sequence[Color]) -> None:
        self.bones(centers, centers, radius, radius, colors)


@contextmanager
def _enlarged(canvas: np.ndarray, points: np.ndarray, margin: float) -> Iterator[_Layer]:
    """The canvas around some points, up to four times as large while one draws: lines finer than a pixel stay smooth."""
    limits = canvas.shape[1::-1]
    x0, y0 = np.clip(np.floor(points.min(axis=0) - margin), 0, limits).astype(int)
    x1, y1 = np.clip(np.ceil(points.max(axis=0) + margin) + 1, 0, limits).astype(int)
    region = canvas[y0:y1, x0:x1]
    scale = int(np.clip(1000 // max(*region.shape, 1), 1, 4))
    pixels = region.repeat(scale, axis=0).repeat(scale, axis=1) if region.size else np.zeros((1, 1, 3), dtype=np.uint8)
    yield _Layer(pixels, (int(x0), int(y0)), scale)
    if region.size:
        region[:] = cv2.resize(pixels, region.shape[1::-1], interpolation=cv2.INTER_AREA)  # undoes repeat exactly


def _draw_box(canvas: np.ndarray, box: np.ndarray, radius: float) -> None:
    if not np.isfinite(box).all():
        return
    x1, y1, x2, y2 = np.clip(box, -16 * max(canvas.shape), 16 * max(canvas.shape))
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    for width, color in ((0.4 * radius + 0.8, DARK), (0.4 * radius, MIDDLE)):
        half = np.full(4, width)
        _Layer(canvas).bones(corners, np.roll(corners, -1, axis=0), half, half, [color] * 4)


def _top(points: np.ndarray) -> tuple[float, float]:
    """The highest y, and the middle of the points up there: mostly the head."""
    y = points[:, 1].min()
    near = points[points[:, 1] < y + 0.15 * np.ptp(points[:, 1]) + 1]
    return near[:, 0].mean(), y


def _draw_label(canvas: np.ndarray, text: str, anchor: tuple[float, float], size: float) -> None:
    """White on a dark pill above the anchor, moved so that all of it is inside the image."""
    height = float(np.clip(0.04 * size, 9, max(22, 0.02 * len(canvas))))
    radius = 0.85 * height
    straight = max(_text_width(text, height) / 2 - 0.25 * height, 0)  # half the pill without its round ends
    low = np.array([straight + radius, radius])
    center = np.clip(np.subtract(anchor, (0, radius)), low, np.maximum(canvas.shape[1::-1] - low, low))
    ends = center + np.array([[-straight, 0], [straight, 0]])
    _Layer(canvas).bones(ends[:1], ends[1:], np.array([radius]), np.array([radius]), [DARK])
    _draw_text(canvas, text, (center[0], center[1] + height / 2), height, MIDDLE)


def _text_width(text: str, height: float) -> int:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, height / 22, _stroke(height))[0][0]


def _draw_text(canvas: np.ndarray, text: str, at: tuple[float, float], height: float, color: Color) -> None:
    """Text with capitals `height` pixels high, centred on x, its base line on y."""
    origin = (round(at[0] - _text_width(text, height) / 2), round(at[1]))
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, height / 22, color, _stroke(height), cv2.LINE_AA)


def _stroke(height: float) -> int:
    return max(1, round(height / 16))


_TILE = 360  # height of a tile on the sheet of patches
_GAP = 48
_Tile = tuple[np.ndarray, str]  # picture and caption


def _stage_title(name: str) -> str:
    """The network's name of a pruning stage in words."""
    encoder = next((e for e in ("coarse", "group") if name.startswith(e) and name.removeprefix(e).isdecimal()), None)
    if encoder:
        return f"after {encoder} layer {name.removeprefix(encoder)}"
    return "entering the groups" if name == "entry" else name


def _check_stage(title: str, groups: Sequence[np.ndarray], counts: tuple[int, int], grid: tuple[int, int]) -> None:
    (count, people), patches = counts, grid[0] * grid[1]
    if len(groups) not in (1, count):
        raise ValueError(f"kept patches {title!r}: one array for all or one for each of {count} groups, not {len(groups)}")
    for ids in groups:
        if ids.ndim != 2 or len(ids) != people:
            raise ValueError(
                f"kept patches {title!r}: ids must be a ({people}, n) array for {people} crops, got {ids.shape}"
            )
        if ids.size and not 0 <= ids.min() <= ids.max() < patches:
            raise ValueError(f"kept patches {title!r}: ids must be in 0..{patches - 1}, got {ids.min()}..{ids.max()}")


def _enlarge(crop: np.ndarray) -> np.ndarray:
    height, width = _rgb(crop).shape[:2]
    return cv2.resize(crop, (round(width * _TILE / height), _TILE), interpolation=cv2.INTER_CUBIC)


def _tile_with_pose(crop: np.ndarray, keypoints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    tile = _enlarge(crop)
    points = (keypoints[:, :2] + 0.5) * (_TILE / len(crop)) - 0.5
    visible = (keypoints[:, 2] >= VISIBLE) & _within(points, tile, margin=_TILE)
    _draw_person(tile, points, visible, _plan(skeleton), 0.8 * _TILE)
    return tile


def _tile_with_caption(crop: np.ndarray, ids: np.ndarray, grid: tuple[int, int]) -> _Tile:
    """The crop with what was pruned grey and pale, and a line around what was kept."""
    tile = _enlarge(crop)
    mask = np.zeros(grid[0] * grid[1], dtype=np.uint8)
    mask[ids] = 1
    shown = cv2.resize(mask.reshape(grid), tile.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)[..., None]
    tile = np.where(shown[..., None] > 0, tile, (FADED * 255 + (1 - FADED) * grey).astype(np.uint8))
    # the border belongs to what was kept, so that neighbours share no line and a single patch is a frame
    inner = cv2.erode(shown, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    tile[(shown > 0) & (inner == 0)] = ACCENT
    return tile, f"{mask.sum()} of {mask.size}"


def _sheet(columns: Sequence[tuple[str, Sequence[_Tile]]], names: Sequence[str]) -> np.ndarray:
    """What all groups share, downwards in the first column; then a column for each stage of the groups, a row for each."""
    shared = [(title, tiles[0]) for title, tiles in columns if len(tiles) == 1]
    stages = [(title, tiles) for title, tiles in columns if len(tiles) > 1]
    height, width = shared[0][1][0].shape[:2]
    rows = max(len(shared), len(names) if stages else 1)
    down, across = height + round(1.4 * _GAP), width + _GAP
    sheet = np.full((2 * _GAP + rows * down, _GAP + (1 + len(stages)) * across, 3), PAPER, dtype=np.uint8)
    place = lambda row, column: (_GAP + column * across, round(1.5 * _GAP) + row * down)  # noqa: E731

    def put(row: int, column: int, tile: _Tile, name: str) -> None:
        x, y = place(row, column)
        sheet[y : y + height, x : x + width] = tile[0]
        caption = ": ".join(text for text in (name, tile[1]) if text)
        _draw_text(sheet, caption, (x + width / 2, y + height + 0.5 * _GAP), 15, DARK)

    for row, (title, tile) in enumerate(shared):
        put(row, 0, tile, title)
    for column, (title, tiles) in enumerate(stages, start=1):
        x, y = place(0, column)
        _draw_text(sheet, title, (x + width / 2, y - 0.4 * _GAP), 17, DARK)
        for row, tile in enumerate(tiles):
            (left, from_top), (_, top) = place(row if column > 1 else len(shared) - 1, column - 1), place(row, column)
            line = (left + width, from_top + height // 2), (x, top + height // 2)
            cv2.line(sheet, *line, PENCIL, 2, cv2.LINE_AA)
            put(row, column, tile, names[row])
    return sheet


def _within(points: np.ndarray, canvas: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """(...) bool for (..., 2) points: in the image or at most a margin outside; far away OpenCV's integers overflow."""
    with np.errstate(invalid="ignore"):  # NaN is nowhere
        inside = (points >= -0.5 - margin) & (points < np.array(canvas.shape[1::-1]) - 0.5 + margin)
    return np.asarray(inside.all(axis=-1))


def _rgb(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image to draw on must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    return np.ascontiguousarray(image)
