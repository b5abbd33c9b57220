"""How far scores can be trusted as probabilities, and the fit of the table that makes them so (`gtpt.core.calibration`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gtpt.core.calibration import Calibration
from gtpt.core.errors import InputError
from gtpt.evaluate.oks import keypoint_similarity

if TYPE_CHECKING:
    from gtpt.data.coco import Persons
    from gtpt.evaluate.run import Estimates

RIGHT = 0.5  # similarity of a keypoint above which it counts as right


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predictions in equal bins of their score; a calibrated score has `accuracy` == `confidence` in every bin.

    Attributes:
        edges: (bins + 1,) of the bins, from 0 to 1.
        counts: (bins,) int64 predictions.
        confidence: (bins,) mean score, NaN in an empty bin.
        accuracy: (bins,) share of correct ones, NaN in an empty bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(scores: np.ndarray, correct: np.ndarray, bins: int = 15) -> Reliability:
    """Reliability diagram as arrays.

    Args:
        scores: (...) in [0, 1].
        correct: (...) bool, e.g. `keypoint_similarity(...) > 0.5` of the labelled keypoints.
        bins: of equal width.

    Raises:
        ValueError: different shapes or a score outside [0, 1].
    """
    scores, correct = _pairs(scores, correct)
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
        raise InputError(f"scores must lie in [0, 1], got {scores.min():.4g} to {scores.max():.4g}")
    index = np.minimum((scores * bins).astype(np.int64), bins - 1)
    counts, score_sum, correct_sum = (np.bincount(index, w, bins) for w in (None, scores, correct))
    per_bin = np.where(counts > 0, counts, np.nan)
    return Reliability(np.linspace(0, 1, bins + 1), counts, score_sum / per_bin, correct_sum / per_bin)


def expected_calibration_error(scores: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Mean gap between score and accuracy over the predictions, in [0, 1]; NaN without any. See `reliability`."""
    table = reliability(scores, correct, bins)
    total = table.counts.sum()
    return float(np.nansum(np.abs(table.confidence - table.accuracy) * table.counts) / total) if total else float("nan")


def fit_isotonic(raw: np.ndarray, correct: np.ndarray, bins: int = 64) -> Calibration:
    """The monotone table that fits best: isotonic regression over bins with equally many keypoints.

    Args:
        raw: (...) raw scores of labelled keypoints, any range.
        correct: (...) bool, see `reliability`.
        bins: at most that many knots; fewer where accuracy does not rise.

    Raises:
        ValueError: different shapes, nothing to fit, or raw scores that are not finite.
    """
    raw, correct = _pairs(raw, correct)
    if not raw.size or not np.isfinite(raw).all():
        raise InputError(f"a calibration needs finite raw scores, got {raw.size} with {np.isfinite(raw).sum()} finite")
    edges = np.unique(np.quantile(raw, np.linspace(0, 1, bins + 1)[1:-1]))
    index = np.searchsorted(edges, raw, side="right")  # equal scores share a bin, so the knots ascend
    sums = np.stack([np.bincount(index), np.bincount(index, raw), np.bincount(index, correct)], axis=1)
    blocks: list[np.ndarray] = []  # pool adjacent violators; a block is count, sum of raw scores, number of correct ones
    for block in sums:  # an empty bin joins any other
        while blocks and blocks[-1][2] * block[0] >= block[2] * blocks[-1][0]:
            block = block + blocks.pop()
        blocks.append(block)
    count, raw_sum, correct_sum = np.array(blocks).T
    return Calibration(tuple(raw_sum / count), tuple(correct_sum / count))


def judge(found: Estimates, persons: Persons, sigmas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a table is fitted to: raw scores of the labelled keypoints of people, and whether each is right.

    Right is a keypoint similarity above 0.5.

    Args:
        found: estimates of `persons`, from their ground-truth boxes.
        persons: with ground truth.
        sigmas: (K,) `Skeleton.sigmas`.

    Returns:
        (M,) float32 and (M,) bool for `fit_isotonic`, `reliability` and `expected_calibration_error`.
    """
    right = keypoint_similarity(found.keypoints, persons.keypoints, persons.areas, sigmas) > RIGHT
    labelled = persons.visible > 0
    return found.raw_scores[labelled], right[labelled]


def _pairs(scores: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, correct = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=bool)
    if scores.shape != correct.shape:
        raise InputError(f"scores and correct must have the same shape, got {scores.shape} and {correct.shape}")
    return scores.ravel(), correct.ravel()
