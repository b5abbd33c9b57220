"""A tidy table: one row for each person and joint; what CSV, Parquet and pandas have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from gtpt.core.extras import require
from gtpt.core.poses import Poses

TABLE_COLUMNS = ("person", "id", "joint", "x", "y", "score", "raw_score", "person_score", "x1", "y1", "x2", "y2")


def to_table(poses: Poses, **constants: int | float | str) -> dict[str, np.ndarray]:
    """Tidy columns, one row for each person and joint; `constants` (frame, time, name) become leading columns."""
    people, joints = poses.keypoint_scores.shape
    rows = people * joints
    values = (
        np.repeat(np.arange(people), joints),
        np.repeat(poses.ids, joints),
        np.tile(np.array(poses.skeleton.keypoints), people),
        poses.keypoints[..., 0].ravel(),
        poses.keypoints[..., 1].ravel(),
        poses.keypoint_scores.ravel(),
        poses.raw_scores.ravel(),
        np.repeat(poses.scores, joints),
        *(np.repeat(poses.boxes[:, i], joints) for i in range(4)),
    )
    leading = {key: np.full(rows, value) for key, value in constants.items()}
    return {**leading, **dict(zip(TABLE_COLUMNS, values, strict=True))}


def to_pandas(poses: Poses) -> Any:
    """The tidy table as a `pandas.DataFrame` (extra "dataframe")."""
    return require("pandas", "dataframe").DataFrame(to_table(poses))
