"""The people of one image for the library `supervision`."""

from __future__ import annotations

from typing import Any

import numpy as np

from gtpt.core.extras import require
from gtpt.core.poses import Poses


def to_supervision(poses: Poses) -> tuple[Any, Any]:
    """`supervision.KeyPoints` and `supervision.Detections` of the same people in the same order (extra "supervision").

    The confidence of a keypoint is the calibrated score, that of a person `scores`; `tracker_id` of the detections is
    None unless everybody has an id.
    """
    sv = require("supervision", "supervision")
    finite = np.isfinite(poses.keypoints).all(axis=2, keepdims=True)
    class_id = np.zeros(len(poses), dtype=int)
    keypoints = sv.KeyPoints(
        xy=np.where(finite, poses.keypoints, 0),  # supervision takes (0, 0) for a missing point
        class_id=class_id,
        keypoint_confidence=poses.keypoint_scores.copy(),
        detection_confidence=poses.scores.copy(),
        data={"tracker_id": poses.ids.copy()},
    )
    tracker_id = poses.ids.copy() if len(poses) and (poses.ids >= 0).all() else None
    detections = sv.Detections(
        xyxy=poses.boxes.copy(), confidence=poses.scores.copy(), class_id=class_id.copy(), tracker_id=tracker_id
    )
    return keypoints, detections
