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
    import torch

    from gtpt.model import normalize
    from gtpt.runtime.engine import TorchEngine

    if not isinstance(estimator.engine, TorchEngine):
        raise ValueError(
            f'explaining needs PoseEstimator(..., engine="torch"), this one runs {type(estimator.engine).__name__}'
        )
    if not len(poses):
        return []
    net, config = estimator.engine.net, estimator.engine.info.config
    crops, matrices = estimator.crops(image, poses.boxes)
    with torch.inference_mode():
        kept = net(normalize(torch.from_numpy(crops).to(net.human_token.device)), return_kept=True).kept
    shown, matrices = estimator.crops(image, poses.boxes, enlarge=ENLARGE)  # the same views, for eyes
    in_crop = transform_points(poses.keypoints, matrices)
    scored = np.concatenate([in_crop, poses.keypoint_scores[..., None]], axis=2)
    arrays = {stage: [ids.cpu().numpy() for ids in groups] for stage, groups in kept.items()}
    return [
        draw_kept_patches(
            shown[i],
            {stage: [ids[i : i + 1] for ids in groups] for stage, groups in arrays.items()},
            poses.skeleton,
            grid=config.grid,
            keypoints=scored[i],
        )
        for i in range(len(poses))
    ]
