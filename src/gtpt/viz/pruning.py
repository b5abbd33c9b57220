"""What the network looked at: which image patches each keypoint group kept, prune after prune."""

from __future__ import annotations

import numpy as np

from gtpt.draw import draw_kept_patches
from gtpt.estimator import PoseEstimator
from gtpt.geometry import transform_points
from gtpt.poses import Poses

ENLARGE = 4


def explain(estimator: PoseEstimator, image: np.ndarray, poses: Poses) -> list[np.ndarray]:
    """One sheet per person: rows are keypoint groups, columns the stages of pruning.

    Args:
        estimator: with engine="torch"; the other engines do not show what they kept.
        image: RGB uint8 (H, W, 3), the image of the poses.
        poses: of this estimator.

    Returns:
        RGB uint8 pictures, in the order of the poses.

    Raises:
        ValueError: an estimator with another engine.
    """
    from gtpt.runtime.engine import TorchEngine

    if not isinstance(estimator.engine, TorchEngine):
        raise ValueError(
            f'explaining needs PoseEstimator(..., engine="torch"), this one runs {type(estimator.engine).__name__}'
        )
    if not len(poses):
        return []
    crops, _ = estimator.crops(image, poses.boxes)
    kept = estimator.engine.kept(crops)
    shown, matrices = estimator.crops(image, poses.boxes, enlarge=ENLARGE)  # the same views, for eyes
    in_crop = transform_points(poses.keypoints, matrices)
    scored = np.concatenate([in_crop, poses.keypoint_scores[..., None]], axis=2)
    return [
        draw_kept_patches(
            shown[i],
            {stage: [ids[i : i + 1] for ids in groups] for stage, groups in kept.items()},
            poses.skeleton,
            grid=estimator.engine.info.config.grid,
            keypoints=scored[i],
        )
        for i in range(len(poses))
    ]
