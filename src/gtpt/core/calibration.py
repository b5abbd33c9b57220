"""Calibrated keypoint scores: from the raw SimCC score to the probability that the keypoint is right.

The raw score of a keypoint, the smaller of its two SimCC maxima, is a few hundredths at best and depends on the network, so
that a threshold on it means nothing. A small monotone table, fitted on held-out people (`gtpt.evaluate.fit_isotonic`) and
stored with the weights, turns it into a probability: of the keypoints with a score near 0.7, 70 % lie within tolerance.
Training fits one in each validation that is the best so far; converted weights of the authors have none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gtpt.core.errors import InputError
from gtpt.core.simcc import SIGMA

VISIBLE = 0.3  # calibrated score from which on a keypoint counts as seen; it means the same for every calibrated network
IDEAL = 1 / (SIGMA * math.sqrt(2 * math.pi))  # raw score of a softmax that equals the official target


@dataclass(frozen=True)
class Calibration:
    """A monotone piecewise-linear map; outside the knots it keeps the value of the nearest one.

    Attributes:
        raw: ascending raw scores.
        calibrated: as many probabilities in [0, 1], never falling.

    Raises:
        ValueError: no knots, lists of different lengths, knots that are not ascending, values outside [0, 1].
    """

    raw: tuple[float, ...]
    calibrated: tuple[float, ...]

    def __post_init__(self) -> None:
        raw, calibrated = np.array(self.raw, dtype=np.float64), np.array(self.calibrated, dtype=np.float64)
        if raw.ndim != 1 or raw.shape != calibrated.shape or not raw.size:
            raise InputError(f"calibration needs as many raw as calibrated knots, got {raw.shape} and {calibrated.shape}")
        if not np.isfinite(raw).all() or (np.diff(raw) <= 0).any():
            raise InputError(f"raw knots of a calibration must ascend, got {raw.tolist()}")
        if not ((calibrated >= 0) & (calibrated <= 1)).all() or (np.diff(calibrated) < 0).any():
            raise InputError(f"calibrated knots must lie in [0, 1] and never fall, got {calibrated.tolist()}")
        object.__setattr__(self, "raw", tuple(raw.tolist()))
        object.__setattr__(self, "calibrated", tuple(calibrated.tolist()))

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Probabilities, float32 in [0, 1], of raw scores of any shape."""
        return np.asarray(np.interp(raw, self.raw, self.calibrated), dtype=np.float32)

    @classmethod
    def default(cls) -> Calibration:
        """For weights without a table: the share that the raw score has of an ideal one, at most 1.

        Ideal is the target of the official training, a Gaussian of 4 bins with the maximum 1 / (4 sqrt(2 pi)) = 0.0997. A
        rough scale and no probability: the width that a network was trained with is not in its file, and how close a right
        keypoint comes to the target depends on the network.
        """
        return cls((0.0, IDEAL), (0.0, 1.0))

    @classmethod
    def from_dict(cls, data: Mapping[str, Sequence[float]]) -> Calibration:
        """From the form of `to_dict`, e.g. the metadata of a checkpoint."""
        if set(data) != {"raw", "calibrated"}:
            raise InputError(f"a calibration has the keys 'calibrated' and 'raw', got {sorted(data)}")
        return cls(tuple(data["raw"]), tuple(data["calibrated"]))

    def to_dict(self) -> dict[str, list[float]]:
        """Plain JSON types."""
        return {"raw": list(self.raw), "calibrated": list(self.calibrated)}
