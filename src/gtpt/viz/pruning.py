"""What the network looked at: which image patches each keypoint group kept, prune after prune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from gtpt.core.calibration import VISIBLE
from gtpt.core.errors import InputError
from gtpt.core.geometry import transform_points
from gtpt.core.poses import Poses
from gtpt.core.skeleton import Skeleton
from gtpt.estimator import PoseEstimator
from gtpt.io.arrays import as_rgb
from gtpt.viz.canvas import ACCENT, DARK, PAPER, PENCIL, draw_text, within
from gtpt.viz.poses import draw_person, plan_of

ENLARGE = 4


def explain(estimator: PoseEstimator, image: np.ndarray, poses: Poses) -> list[np.ndarray]:
    """One sheet per person: rows are keypoint groups, columns the stages of pruning.

    Args:
        estimator: with onnxruntime or PyTorch; OpenVINO does not show what it kept.
        image: RGB uint8 (H, W, 3), the image of the poses.
        poses: of this estimator.

    Returns:
        RGB uint8 pictures, in the order of the poses.

    Raises:
        ValueError: an estimator with another engine.
    """
    engine: Any = estimator.engine
    if not hasattr(engine, "kept"):
        raise InputError(f"{type(engine).__name__} does not show what it kept: use onnxruntime or torch (engine)")
    if not len(poses):
        return []
    crops, _ = estimator.crops(image, poses.boxes)
    kept = engine.kept(crops)
    shown, matrices = estimator.crops(image, poses.boxes, enlarge=ENLARGE)  # the same views, for eyes
    in_crop = transform_points(poses.keypoints, matrices)
    scored = np.concatenate([in_crop, poses.keypoint_scores[..., None]], axis=2)
    return [
        draw_kept_patches(
            shown[i],
            {stage: [ids[i : i + 1] for ids in groups] for stage, groups in kept.items()},
            poses.skeleton,
            grid=engine.info.config.grid,
            keypoints=scored[i],
        )
        for i in range(len(poses))
    ]


FADED = 0.62  # how far what was pruned is on its way to paper


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
        first = [] if poses is None else [("pose", [(tile_with_pose(crop, poses[i], skeleton), "")])]
        columns = [(title, [tile_with_patches(crop, ids[i], grid) for ids in groups]) for title, groups in stages.items()]
        sheets.append(_sheet([*first, *columns], [group.name for group in skeleton.groups]))
    return np.concatenate(sheets) if sheets else np.full((_GAP, _GAP, 3), PAPER, dtype=np.uint8)


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
        raise InputError(f"kept patches {title!r}: one array for all or one for each of {count} groups, not {len(groups)}")
    for ids in groups:
        if ids.ndim != 2 or len(ids) != people:
            raise InputError(
                f"kept patches {title!r}: ids must be a ({people}, n) array for {people} crops, got {ids.shape}"
            )
        if ids.size and not 0 <= ids.min() <= ids.max() < patches:
            raise InputError(f"kept patches {title!r}: ids must be in 0..{patches - 1}, got {ids.min()}..{ids.max()}")


def _enlarge(crop: np.ndarray) -> np.ndarray:
    crop = as_rgb(crop, "a crop")
    height, width = crop.shape[:2]
    return cv2.resize(crop, (round(width * _TILE / height), _TILE), interpolation=cv2.INTER_CUBIC)


def tile_with_pose(crop: np.ndarray, keypoints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    tile = _enlarge(crop)
    points = (keypoints[:, :2] + 0.5) * (_TILE / len(crop)) - 0.5
    visible = (keypoints[:, 2] >= VISIBLE) & within(points, tile, margin=_TILE)
    draw_person(tile, points, visible, plan_of(skeleton), 0.8 * _TILE)
    return tile


def tile_with_patches(crop: np.ndarray, ids: np.ndarray, grid: tuple[int, int]) -> _Tile:
    """The crop with what was pruned grey and pale and a line around what was kept, and how many patches these are."""
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

    def place(row: int, column: int) -> tuple[int, int]:
        return _GAP + column * across, round(1.5 * _GAP) + row * down

    def put(row: int, column: int, tile: _Tile, name: str) -> None:
        x, y = place(row, column)
        sheet[y : y + height, x : x + width] = tile[0]
        caption = ": ".join(text for text in (name, tile[1]) if text)
        draw_text(sheet, caption, (x + width / 2, y + height + 0.5 * _GAP), 15, DARK)

    for row, (title, tile) in enumerate(shared):
        put(row, 0, tile, title)
    for column, (title, tiles) in enumerate(stages, start=1):
        x, y = place(0, column)
        draw_text(sheet, title, (x + width / 2, y - 0.4 * _GAP), 17, DARK)
        for row, tile in enumerate(tiles):
            (left, from_top), (_, top) = place(row if column > 1 else len(shared) - 1, column - 1), place(row, column)
            line = (left + width, from_top + height // 2), (x, top + height // 2)
            cv2.line(sheet, *line, PENCIL, 2, cv2.LINE_AA)
            put(row, column, tile, names[row])
    return sheet
