"""Contact sheets: many labelled crops in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from gtpt.core.skeleton import Skeleton
from gtpt.viz.poses import draw_person, plan_of

ENLARGED = 2  # so that the points of a face stay apart


def contact_sheet(
    crops: Sequence[np.ndarray],
    joints: np.ndarray,
    visible: np.ndarray,
    skeleton: Skeleton,
    *,
    columns: int = 8,
    labels: bool = True,
) -> np.ndarray:
    """Crops side by side, twice as large, with their keypoints.

    Args:
        crops: N of (H, W, 3) uint8 RGB, all of one size.
        joints: (N, K, 2) in pixels of the crops.
        visible: (N, K), keypoints of which 0 are not drawn.
        skeleton: of K keypoints.
        columns: crops in a row.
        labels: draw the keypoints.

    Returns:
        (rows x 2H, columns x 2W, 3) uint8 RGB; places without a crop are black.
    """
    height, width = (ENLARGED * side for side in crops[0].shape[:2])
    rows = -(-len(crops) // columns)
    sheet = np.zeros((rows * height, min(columns, len(crops)) * width, 3), np.uint8)
    for i, crop in enumerate(crops):
        tile = cv2.resize(crop, (width, height), interpolation=cv2.INTER_CUBIC)
        inside = (joints[i] >= 0).all(1) & (joints[i] < [crop.shape[1], crop.shape[0]]).all(1)
        if labels:
            draw_person(tile, (joints[i] + 0.5) * ENLARGED - 0.5, (visible[i] > 0) & inside, plan_of(skeleton), height / 2)
        top, left = i // columns * height, i % columns * width
        sheet[top : top + height, left : left + width] = tile
    return sheet
