"""PCK: the percentage of correct keypoints."""

from __future__ import annotations

import numpy as np

from gtpt.core.errors import InputError


def pck(
    pred: np.ndarray, gt: np.ndarray, visible: np.ndarray, reference: np.ndarray, threshold: float = 0.05
) -> tuple[np.ndarray, float]:
    """Share of labelled keypoints that lie within `threshold` times a person's reference length of the truth.

    The standard reference here is the longer side of the ground-truth box ("PCK@0.05"): every person has one and it hardly
    changes with the view, whereas a head or a torso diameter needs joints that are often hidden and shrinks from the side.
    0.05 of the box is about 0.2 of a standing person's torso, the threshold of the older definition.

    Args:
        pred: (N, K, 2) image pixels.
        gt: (N, K, 2) image pixels.
        visible: (N, K); joints with a value > 0 count.
        reference: (N,) lengths in pixels, e.g. `boxes[:, 2:].max(axis=1)` for left, top, width, height.
        threshold: fraction of the reference, inclusive.

    Returns:
        (K,) float64 in [0, 1] per joint, NaN where nobody has it, and the mean over the joints that somebody has (NaN if
        there is none): each joint weighs the same, however often it is labelled.

    Raises:
        ValueError: a reference length of a person with visible joints that is not positive.
    """
    seen = np.asarray(visible) > 0
    reference = np.asarray(reference, dtype=np.float64)
    if bad := np.flatnonzero(seen.any(axis=1) & ~(reference > 0)).tolist():
        raise InputError(f"reference lengths must be positive, not so for persons {bad[:10]}: {reference[bad[:10]]}")
    distance = np.linalg.norm(np.asarray(pred, dtype=np.float64) - gt, axis=-1)
    correct = (distance <= threshold * reference[:, None]) & seen
    counts = seen.sum(axis=0)
    per_joint = np.where(counts > 0, correct.sum(axis=0) / np.maximum(counts, 1), np.nan)
    return per_joint, float(per_joint[counts > 0].mean()) if counts.any() else float("nan")
