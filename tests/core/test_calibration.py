from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtpt.core import simcc
from gtpt.core.calibration import Calibration

TABLE = Calibration((0.01, 0.05, 0.1), (0.0, 0.5, 0.9))


def test_between_the_knots_it_is_linear_and_outside_it_stays():
    raw = np.array([[0.0, 0.01, 0.03], [0.075, 0.1, 5.0]])
    probability = TABLE(raw)
    assert probability.dtype == np.float32
    np.testing.assert_allclose(probability, [[0, 0, 0.25], [0.7, 0.9, 0.9]], atol=1e-6)
    assert TABLE(np.zeros((0, 17))).shape == (0, 17)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_better_raw_score_is_never_worse(a, b):
    low, high = TABLE(np.sort([a, b]))
    assert 0 <= low <= high <= 1


def test_json_round_trip():
    given = Calibration(np.float32([0, 0.25, 0.5]), [0, 1, 1])
    read = Calibration.from_dict(json.loads(json.dumps(given.to_dict())))
    assert read == given == Calibration((0.0, 0.25, 0.5), (0.0, 1.0, 1.0))


def test_default_is_the_share_of_the_official_target():
    """A softmax that equals the target gets 1, one that is twice as wide a half, a flat one next to 0."""
    default = Calibration.default()
    np.testing.assert_allclose(default(np.array([0.0, 0.0997 / 4, 0.0997, 1.0])), [0, 0.25, 1, 1], atol=1e-3)
    point = np.array([[96.0, 128]])
    for sigma, expected in ((4, 1), (8, 0.5), (2, 1)):
        x, y, _ = simcc.encode(point, np.ones(1), (192, 256), sigma=sigma)
        _, raw = simcc.decode(np.log(x + 1e-30), np.log(y + 1e-30))
        np.testing.assert_allclose(default(raw), [expected], atol=1e-3)
    assert default(simcc.decode(np.zeros((1, 384)), np.zeros((1, 512)))[1])[0] < 0.03


@pytest.mark.parametrize(
    ("raw", "calibrated", "message"),
    [
        ((), (), "as many raw as calibrated"),
        ((0.1,), (0.1, 0.2), "as many raw as calibrated"),
        (((0.1, 0.2),), ((0.1, 0.2),), "as many raw as calibrated"),
        ((0.1, 0.2, 0.2), (0.1, 0.2, 0.3), "must ascend"),
        ((0.1, float("nan")), (0.1, 0.2), "must ascend"),
        ((0.1, 0.2, 0.3), (0.1, 0.3, 0.2), "never fall"),
        ((0.1, 0.2), (0.2, 1.1), r"\[0, 1\]"),
        ((0.1, 0.2), (0.2, float("nan")), r"\[0, 1\]"),
    ],
)
def test_tables_that_are_none(raw, calibrated, message):
    with pytest.raises(ValueError, match=message):
        Calibration(raw, calibrated)


def test_unknown_keys_are_errors():
    with pytest.raises(ValueError, match=r"got \['raw', 'temperature'\]"):
        Calibration.from_dict({"raw": [0], "temperature": [1]})
