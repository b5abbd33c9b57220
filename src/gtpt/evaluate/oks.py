"""Object keypoint similarity: between points and ground truth, between detections, and what is built on it.

The arithmetic is that of COCO and of the official GTPT test code, vectorised. Frame: image pixels; areas are in pixels^2.
"""

from __future__ import annotations

import numpy as np

NMS_THRESHOLD = 0.9
SCORE_THRESHOLD = 0.01  # raw scores at or below it do not count in a person's mean
EPS = np.spacing(1.0)  # as in the COCO code: an area of zero is legal


def keypoint_similarity(pred: np.ndarray, gt: np.ndarray, areas: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """exp(-d^2 / (2 area (2 sigma)^2)) of every keypoint: 1 = on the spot, 0.5 = a usual tolerance for "correct".

    Args:
        pred: (..., K, 2) image pixels.
        gt: (..., K, 2) image pixels.
        areas: (...) of the persons in pixels^2 (COCO: of the segment).
        sigmas: (K,) `Skeleton.sigmas`.

    Returns:
        (..., K) float64 in [0, 1]. Visibility is not looked at: mask the result yourself.
    """
    squared = ((np.asarray(pred, dtype=np.float64) - gt) ** 2).sum(axis=-1)
    similarity: np.ndarray = np.exp(-squared / (2 * (np.asarray(areas)[..., None] + EPS) * (2 * np.asarray(sigmas)) ** 2))
    return similarity


def oks(
    a_keypoints: np.ndarray, a_areas: np.ndarray, b_keypoints: np.ndarray, b_areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """OKS between detections: the mean over all keypoints, hidden ones too, with the mean of both areas.

    Args:
        a_keypoints, b_keypoints: (N, K, 2) and (M, K, 2) image pixels.
        a_areas, b_areas: (N,) and (M,) pixels^2; official: of the enlarged crop, not of the person.
        sigmas: (K,) `Skeleton.sigmas`.

    Returns:
        (N, M) float64 in [0, 1].
    """
    areas = (np.asarray(a_areas, dtype=np.float64)[:, None] + np.asarray(b_areas)[None]) / 2
    similarity = keypoint_similarity(np.asarray(a_keypoints)[:, None], np.asarray(b_keypoints)[None], areas, sigmas)
    return np.asarray(similarity.mean(axis=-1))


def oks_nms(
    keypoints: np.ndarray, scores: np.ndarray, areas: np.ndarray, sigmas: np.ndarray, threshold: float = NMS_THRESHOLD
) -> np.ndarray:
    """Drop every person that is more than `threshold` similar to a better one of the same image.

    Args:
        keypoints: (N, K, 2) image pixels, people of one image.
        scores: (N,) person scores; of equal ones the first wins.
        areas: (N,) pixels^2, see `oks`.
        sigmas: (K,) `Skeleton.sigmas`.
        threshold: OKS up to and including which both persons stay.

    Returns:
        (kept,) int64 indices, best score first.
    """
    keypoints, areas = np.asarray(keypoints), np.asarray(areas)
    order = np.argsort(-np.asarray(scores), kind="stable")
    kept = []
    while order.size:
        best, order = order[:1], order[1:]
        kept.append(best[0])
        order = order[oks(keypoints[best], areas[best], keypoints[order], areas[order], sigmas)[0] <= threshold]
    return np.array(kept, dtype=np.int64)


def rescore(keypoint_scores: np.ndarray, box_scores: np.ndarray, threshold: float = SCORE_THRESHOLD) -> np.ndarray:
    """Person scores: box score times the mean of the raw keypoint scores above a threshold, 0 where there is none.

    Args:
        keypoint_scores: (N, K) raw scores (`gtpt.core.simcc.decode`).
        box_scores: (N,) detector scores in [0, 1].
        threshold: lowest raw score, exclusive, that counts.

    Returns:
        (N,) float64.
    """
    scores = np.asarray(keypoint_scores, dtype=np.float64)
    counts = scores > threshold
    return np.asarray((scores * counts).sum(axis=1) / np.maximum(counts.sum(axis=1), 1) * np.asarray(box_scores))
