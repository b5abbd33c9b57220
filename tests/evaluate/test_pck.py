from __future__ import annotations

import numpy as np
import pytest

from gtpt.evaluate import pck


def test_pck_counts_visible_joints_within_the_threshold():
    gt = np.full((2, 3, 2), 50.0)
    pred = gt.copy()
    pred[0, :, 0] += 4, 5, 6  # of 100 pixels
    pred[1, :, 1] -= 9, 11, 99  # of 200 pixels
    visible = np.array([[1, 2, 1], [1, 1, 0]])
    per_joint, mean = pck(pred, gt, visible, np.array([100.0, 200]))
    np.testing.assert_allclose(per_joint, [1, 0.5, 0])
    assert mean == pytest.approx(0.5)


def test_joints_that_nobody_has_are_nan_and_do_not_count():
    points = np.zeros((1, 2, 2))
    per_joint, mean = pck(points, points, np.array([[1, 0]]), np.array([10.0]))
    np.testing.assert_array_equal(per_joint, [1, np.nan])
    assert mean == 1
    nothing, mean = pck(points, points, np.zeros((1, 2)), np.zeros(1))
    assert np.isnan(nothing).all() and np.isnan(mean)
    empty, mean = pck(points[:0], points[:0], np.zeros((0, 2)), np.zeros(0))
    assert np.isnan(empty).all() and np.isnan(mean)


@pytest.mark.parametrize("length", [0, -1, float("nan")])
def test_reference_must_be_positive(length):
    points = np.zeros((2, 2, 2))
    with pytest.raises(ValueError, match=r"persons \[1\]"):
        pck(points, points, np.array([[1, 1], [1, 0]]), np.array([1.0, length]))
