"""From network outputs to a COCO results file: the official post-processing."""

from __future__ import annotations

from typing import Any

import numpy as np

from gtpt.core.errors import InputError
from gtpt.evaluate.oks import NMS_THRESHOLD, oks_nms, rescore


def official_results(
    image_ids: np.ndarray,
    keypoints: np.ndarray,
    raw_scores: np.ndarray,
    *,
    box_scores: np.ndarray,
    sizes: np.ndarray,
    sigmas: np.ndarray,
    nms_threshold: float | None = NMS_THRESHOLD,
    category_id: int | str = 1,
) -> list[dict[str, Any]]:
    """Rescoring and OKS NMS per image, as the published figures were made.

    Args:
        image_ids: (N,) integers or texts, the COCO image of each person, in any order.
        keypoints: (N, K, 2) image pixels.
        raw_scores: (N, K) smaller of the two SimCC maxima, not the calibrated score.
        box_scores: (N,) detector scores in [0, 1]; ones for ground-truth boxes.
        sizes: (N, 2) width, height of the crops in image pixels (official scale * 200); their product is the NMS area.
        sigmas: (K,) `Skeleton.sigmas`.
        nms_threshold: see `oks_nms`; None keeps everybody.
        category_id: of a person in the ground truth; 1 in COCO.

    Returns:
        COCO results, one dict per kept person: image_id, category_id, keypoints (flat x, y, raw score, 3 K long) and
        score. Images by ascending id, people of an image best first (without NMS: in the given order).

    Raises:
        ValueError: arrays of different lengths.
    """
    image_ids, keypoints, raw_scores = np.asarray(image_ids), np.asarray(keypoints), np.asarray(raw_scores)
    lengths = {len(a) for a in (image_ids, keypoints, raw_scores, box_scores, sizes)}
    if len(lengths) > 1:
        raise InputError(f"image_ids, keypoints, raw_scores, box_scores and sizes differ in length: {sorted(lengths)}")
    scores = rescore(raw_scores, box_scores)
    areas = np.asarray(sizes, dtype=np.float64).reshape(-1, 2).prod(axis=1)
    order = np.argsort(image_ids, kind="stable")
    starts = np.flatnonzero(image_ids[order][1:] != image_ids[order][:-1]) + 1
    kept = order
    if nms_threshold is not None:
        images = np.split(order, starts)
        kept = np.concatenate([i[oks_nms(keypoints[i], scores[i], areas[i], sigmas, nms_threshold)] for i in images])
    flat = np.concatenate([keypoints, raw_scores[..., None]], axis=-1)[kept].reshape(len(kept), 3 * keypoints.shape[1])
    entries = zip(image_ids[kept].tolist(), flat.tolist(), scores[kept].tolist(), strict=True)
    return [{"image_id": i, "category_id": category_id, "keypoints": k, "score": s} for i, k, s in entries]
