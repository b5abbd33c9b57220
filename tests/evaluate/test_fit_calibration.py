"""Reliability and the isotonic fit, on scores whose true probability is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gtpt.data.coco import Persons
from gtpt.evaluate import expected_calibration_error, fit_isotonic, judge, reliability
from gtpt.evaluate.run import Estimates


def sample(seed, count=40000):
    """Raw scores up to 0.1 and whether they were right, with probability (raw / 0.1)^2."""
    rng = np.random.default_rng(seed)
    raw = rng.uniform(0, 0.1, (count // 10, 10)).astype(np.float32)
    return raw, rng.random(raw.shape) < (raw / 0.1) ** 2


def test_fit_finds_the_true_probability():
    calibration = fit_isotonic(*sample(0))
    raw = np.linspace(0.005, 0.095, 50)
    np.testing.assert_allclose(calibration(raw), (raw / 0.1) ** 2, atol=0.05)
    assert 10 < len(calibration.raw) <= 64


def test_fits_by_hand():
    """Nine keypoints in two bins, of which the upper has the one at their border; where accuracy falls they are pooled."""
    raw, correct = np.arange(9.0), np.array([0, 0, 0, 1, 1, 1, 0, 1, 1], dtype=bool)
    assert fit_isotonic(raw, correct, bins=2).to_dict() == {"raw": [1.5, 6], "calibrated": [0.25, 0.8]}
    assert fit_isotonic(raw, ~correct, bins=2).to_dict() == {"raw": [4], "calibrated": [4 / 9]}


def test_fit_makes_unseen_scores_reliable():
    raw, correct = sample(1)
    before = expected_calibration_error(raw, correct)
    after = expected_calibration_error(fit_isotonic(*sample(0))(raw), correct)
    assert before > 0.25
    assert after < 0.02


def test_judged_are_the_labelled_keypoints_alone():
    """Of two people with two keypoints each: one on the spot, one just within, one just beyond, one not labelled."""
    sigmas, area = np.array([0.05, 0.1]), 1e4
    reach = 2 * sigmas * np.sqrt(area * 2 * np.log(2))  # where the similarity is 0.5
    truth = np.zeros((2, 2, 2))
    points = truth.copy()
    points[0, 1, 0], points[1, 0, 1] = 0.99 * reach[1], 1.01 * reach[0]
    persons = Persons(
        boxes=np.zeros((2, 4)),
        keypoints=truth,
        visible=np.array([[1, 1], [1, 0]], np.float32),
        areas=np.full(2, area),
        scores=np.ones(2),
        image_ids=np.arange(2),
        files=np.array(["a", "b"], dtype=object),
        stores=np.zeros(2, np.int64),
        ids=np.arange(2),
        sizes=np.full((2, 2), 100.0),
    )
    raw, right = judge(Estimates(points, np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)), persons, sigmas)
    np.testing.assert_allclose(raw, [0.1, 0.2, 0.3])
    assert right.tolist() == [True, True, False]


def test_reliability_by_hand():
    table = reliability(np.array([0.0, 0.2, 0.4, 1.0]), np.array([0, 1, 1, 1], dtype=bool), bins=2)
    assert table.edges.tolist() == [0, 0.5, 1]
    assert table.counts.tolist() == [3, 1]
    np.testing.assert_allclose(table.confidence, [0.2, 1])
    np.testing.assert_allclose(table.accuracy, [2 / 3, 1])
    ece = expected_calibration_error(np.array([0.0, 0.2, 0.4, 1.0]), np.array([0, 1, 1, 1], dtype=bool), bins=2)
    assert ece == pytest.approx(3 / 4 * (2 / 3 - 0.2))


def test_empty_bins_are_nan_and_nothing_is_nan():
    table = reliability(np.array([0.9]), np.array([True]), bins=3)
    np.testing.assert_array_equal(table.accuracy, [np.nan, np.nan, 1])
    assert np.isnan(expected_calibration_error(np.zeros(0), np.zeros(0, dtype=bool)))


@given(
    hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(0, 0.125, width=32)),
    st.integers(0, 2**32 - 1),
)
def test_any_fit_is_monotone_and_keeps_the_mean(raw, seed):
    correct = np.random.default_rng(seed).random(len(raw)) < 0.5
    calibration = fit_isotonic(raw, correct, bins=8)  # the result validates itself: ascending and never falling
    assert len(calibration.raw) <= 8
    assert min(correct) <= calibration.calibrated[0] <= correct.mean() <= calibration.calibrated[-1] <= max(correct)


@pytest.mark.parametrize(
    ("raw", "correct", "message"),
    [
        ([], [], "got 0 with 0 finite"),
        ([np.nan, 1], [True, False], "got 2 with 1 finite"),
        ([1, 2], [True], r"same shape, got \(2,\) and \(1,\)"),
    ],
)
def test_what_cannot_be_fitted(raw, correct, message):
    with pytest.raises(ValueError, match=message):
        fit_isotonic(np.array(raw, dtype=float), np.array(correct, dtype=bool))


@pytest.mark.parametrize("score", [-0.1, 1.1, np.nan])
def test_reliability_needs_probabilities(score):
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        reliability(np.array([0.5, score]), np.array([True, True]))
