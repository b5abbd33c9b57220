"""OKS, OKS NMS and rescoring against the official code's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from gtpt.core.skeleton import load_skeleton
from gtpt.evaluate import keypoint_similarity, official_results, oks, oks_nms, rescore

SKELETONS = [("body", "coco17"), ("wholebody", "coco_wholebody133")]


@pytest.fixture(params=SKELETONS, ids=lambda p: p[0])
def people(request, golden):
    """Keypoints (14, K, 3), boxes (centre, scale, area, box score), images and what the official code made of them."""
    kind, name = request.param
    with np.load(golden / "ops.npz") as ops:
        found = {key: ops[f"nms_{kind}_{key}"] for key in ("kpts", "boxes", "image", "kept_index", "kept_score")}
        found["oks"] = ops[f"oks_{kind}_0"]
    return found | {"sigmas": load_skeleton(name).sigmas}


@pytest.mark.integration
def test_oks_is_the_official_one(people):
    points, areas = people["kpts"][..., :2], people["boxes"][:, 4]
    similarity = oks(points[:1], areas[:1], points[1:], areas[1:], people["sigmas"])
    assert similarity.shape == (1, 13)
    np.testing.assert_allclose(similarity[0], people["oks"], atol=1e-8)  # theirs is float32 inside


@pytest.mark.integration
def test_rescoring_and_nms_are_the_official_ones(people):
    scores = rescore(people["kpts"][..., 2], people["boxes"][:, 5])
    kept = []
    for image in np.unique(people["image"]):
        index = np.flatnonzero(people["image"] == image)
        points, areas = people["kpts"][index, :, :2], people["boxes"][index, 4]
        kept.extend(index[oks_nms(points, scores[index], areas, people["sigmas"])])
    assert kept == people["kept_index"].tolist()
    np.testing.assert_allclose(scores[kept], people["kept_score"], rtol=1e-6)


@pytest.mark.integration
def test_official_results_do_it_all(people):
    points, boxes = people["kpts"], people["boxes"]
    given = {"box_scores": boxes[:, 5], "sizes": boxes[:, 2:4] * 200, "sigmas": people["sigmas"]}
    results = official_results(people["image"], points[..., :2], points[..., 2], **given)
    kept = people["kept_index"]
    assert [r["image_id"] for r in results] == people["image"][kept].tolist()
    np.testing.assert_allclose([r["score"] for r in results], people["kept_score"], rtol=1e-6)
    np.testing.assert_array_equal([r["keypoints"] for r in results], points[kept].reshape(len(kept), -1))
    everybody = official_results(
        people["image"], points[..., :2], points[..., 2], **given, nms_threshold=None, category_id=3
    )
    assert [r["category_id"] for r in everybody] == [3] * 14


def test_official_results_by_hand():
    """Of three people in image 7 two are 4 pixels apart, and the better one of these stays."""
    points, raw = np.array([[[0, 0]], [[5, 6]], [[4, 0]], [[34, 0]]]), np.array([[0.04], [0.02], [0.08], [0.06]])
    given = {"box_scores": np.array([1, 0.5, 1, 0.5]), "sizes": np.full((4, 2), 100), "sigmas": np.array([0.1])}
    results = official_results(np.array([7, 3, 7, 7]), points, raw, **given, category_id=2)
    assert [r["keypoints"] for r in results] == [[5, 6, 0.02], [4, 0, 0.08], [34, 0, 0.06]]
    assert [(r["image_id"], r["category_id"], r["score"]) for r in results] == [(3, 2, 0.01), (7, 2, 0.08), (7, 2, 0.03)]
    everybody = official_results(np.array([7, 3, 7, 7]), points, raw, **given, nms_threshold=None)
    assert [(r["image_id"], r["category_id"], r["score"]) for r in everybody] == [
        (3, 1, 0.01),
        (7, 1, 0.04),
        (7, 1, 0.08),
        (7, 1, 0.03),
    ]


def test_official_results_of_nobody_and_of_unequal_arrays():
    empty = {"box_scores": np.zeros(0), "sizes": np.zeros((0, 2)), "sigmas": np.ones(3)}
    assert official_results(np.zeros(0, int), np.zeros((0, 3, 2)), np.zeros((0, 3)), **empty) == []
    with pytest.raises(ValueError, match=r"differ in length: \[0, 1\]"):
        official_results(np.zeros(1, int), np.zeros((0, 3, 2)), np.zeros((0, 3)), **empty)


def test_nms_keeps_the_first_of_equals_and_respects_the_threshold():
    points = np.array([[[0.0, 0.0]], [[0.0, 0.0]], [[30.0, 0.0]]])
    scores, areas, sigmas = np.array([0.5, 0.5, 0.9]), np.full(3, 1e4), np.array([0.1])
    assert oks_nms(points, scores, areas, sigmas).tolist() == [2, 0]
    assert oks_nms(points, scores, areas, sigmas, threshold=1.0).tolist() == [2, 0, 1]
    assert oks_nms(points, scores, areas, sigmas, threshold=0.33).tolist() == [2, 0]  # OKS at 30 px: exp(-1.125) = 0.325
    assert oks_nms(points, scores, areas, sigmas, threshold=0.32).tolist() == [2]
    assert oks_nms(points[:0], scores[:0], areas[:0], sigmas).tolist() == []


def test_oks_is_symmetric_and_one_on_the_diagonal():
    rng = np.random.default_rng(0)
    points, areas, sigmas = rng.uniform(0, 200, (6, 17, 2)), rng.uniform(1e3, 1e5, 6), rng.uniform(0.02, 0.1, 17)
    similarity = oks(points, areas, points, areas, sigmas)
    np.testing.assert_allclose(similarity, similarity.T)
    np.testing.assert_allclose(np.diag(similarity), 1)


def test_keypoint_similarity_falls_to_a_half_where_it_should():
    area, sigma = 2500.0, 0.05
    radius = np.sqrt(2 * np.log(2) * area) * 2 * sigma
    similarity = keypoint_similarity(np.array([[[radius, 0.0]]]), np.zeros((1, 1, 2)), np.array([area]), np.array([sigma]))
    assert similarity == pytest.approx(0.5)


def test_keypoint_similarity_survives_an_area_of_zero():
    similarity = keypoint_similarity(np.array([[[0.0, 0], [1, 0]]]), np.zeros((1, 2, 2)), np.zeros(1), np.ones(2))
    assert similarity.tolist() == [[1, 0]]


def test_rescoring_counts_scores_above_the_threshold_only():
    raw = np.array([[0.01, 0.02, 0.04], [0.01, 0.01, 0.04], [0.0, 0.005, 0.01]])
    np.testing.assert_allclose(rescore(raw, np.array([0.5, 0.5, 1.0])), [0.015, 0.02, 0])
