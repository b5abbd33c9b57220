"""SimCC: keypoints as one 1-D distribution for x and one for y; targets, decoding, flip fusion. Pure numpy.

Vectors have `input width * split` and `input height * split` bins; bin b is crop pixel b / split. Official: split 2, so
384 and 512 bins for a 192x256 crop, and a Gaussian of 4 bins.
"""

from __future__ import annotations

import math

import numpy as np

SPLIT = 2.0
SIGMA = 4.0  # in bins


def bin_counts(input_size: tuple[int, int], split: float = SPLIT) -> tuple[int, int]:
    """How many bins the vectors of x and of y have, for a crop of (width, height) pixels."""
    return round(input_size[0] * split), round(input_size[1] * split)


def encode(
    keypoints: np.ndarray, visible: np.ndarray, input_size: tuple[int, int], split: float = SPLIT, sigma: float = SIGMA
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training targets.

    Args:
        keypoints: (..., K, 2) crop pixels.
        visible: (..., K) 0 or 1.
        input_size: width, height of the crop.
        split: bins per pixel.
        sigma: of the Gaussian, in bins.

    Returns:
        Gaussians (..., K, width * split) and (..., K, height * split) in float32, not renormalised at the borders and
        zero where the weight is zero; weights (..., K) float32: visibility, 0 beyond a margin of 3 sigma around the crop.
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    margin = 3 * sigma
    low = np.trunc(keypoints - margin)  # int() of the official code truncates, so the margin is up to a pixel wider
    high = np.trunc(keypoints + margin + 1)
    inside = np.all((low < np.array(input_size)) & (high >= 0), axis=-1)
    weights = np.where(inside, visible, 0).astype(np.float32)
    targets = []
    for axis, count in enumerate(bin_counts(input_size, split)):
        center = keypoints[..., axis, None] * split
        gauss = np.exp(-((np.arange(count) - center) ** 2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
        targets.append(np.where(weights[..., None] > 0.5, gauss, 0).astype(np.float32))
    return targets[0], targets[1], weights


def decode(x: np.ndarray, y: np.ndarray, split: float = SPLIT) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates and raw scores from logits.

    Args:
        x, y: (..., K, bins) logits.
        split: bins per pixel.

    Returns:
        (..., K, 2) float32 crop pixels (first maximum, no sub-bin refinement), and (..., K) float32: the smaller of the
        two softmax maxima. That of the target itself, a Gaussian of 4 bins, is 0.0997; networks give a few hundredths at
        best. See `gtpt.core.calibration` for a score to threshold.
    """
    coords = np.stack([x.argmax(axis=-1), y.argmax(axis=-1)], axis=-1).astype(np.float32) / np.float32(split)
    # max of softmax = 1 / sum(exp(v - max)): no need to build the whole distribution
    peaks = [1.0 / np.exp(v - v.max(axis=-1, keepdims=True)).sum(axis=-1) for v in (x, y)]
    return coords, np.minimum(*peaks).astype(np.float32)


def fuse_flip(
    original: tuple[np.ndarray, np.ndarray],
    mirrored: tuple[np.ndarray, np.ndarray],
    flip_index: np.ndarray,
    split: float = SPLIT,
) -> tuple[np.ndarray, np.ndarray]:
    """Average the logits of a crop with those of its mirror image (flip test).

    Mirroring takes pixel u to W - 1 - u, which is bin (W - 1) * split - b: the reversed vector sits split - 1 bins to
    the right of the original, so it moves back by that much and its values at the border are repeated. Between bins, for a
    split that is no whole number, it is interpolated.

    Args:
        original: x and y logits (..., K, bins) of the crops.
        mirrored: the same of the mirrored crops.
        flip_index: (K,) `Skeleton.flip_index`.
        split: bins per pixel.
    """
    x, y = mirrored[0][..., flip_index, ::-1], mirrored[1][..., flip_index, :]
    bins = x.shape[-1]
    shift = bins - 1 - (round(bins / split) - 1) * split  # split - 1, and what the number of bins was rounded by
    whole = math.floor(shift)
    moved = x[..., np.clip(np.arange(bins) + whole, 0, bins - 1)]
    if rest := shift - whole:
        following = x[..., np.clip(np.arange(bins) + whole + 1, 0, bins - 1)]
        moved = moved + (following - moved) * np.float32(rest)
    return (original[0] + moved) * 0.5, (original[1] + y) * 0.5
