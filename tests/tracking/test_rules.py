"""The rules of tracking and smoothing in numbers, by hand: what a figure over a whole video would not notice."""

from __future__ import annotations

import numpy as np
import pytest

from gtpt import Smoother, Tracker, load_skeleton
from gtpt.pipeline import boxes_from_poses
from gtpt.tracking import tracker as rules

from ..sample import make_poses

BODY = load_skeleton("coco17")
FRAME = 0.04


def standing(left: float, score: float = 0.9):
    """One person of 60 x 200 pixels in a picture of 2000 x 400."""
    joints = np.stack([np.linspace(left, left + 60, 17), np.linspace(50, 250, 17)], axis=1)[None]
    poses = make_poses(1, image_size=(2000, 400))
    return poses.with_(
        boxes=np.array([[left, 50, left + 60, 250]], np.float32),
        keypoints=joints.astype(np.float32),
        keypoint_scores=np.full((1, 17), score, np.float32),
        ids=np.array([-1]),
    )


def test_velocity_follows_with_its_time_constant() -> None:
    """After a start at constant speed v the estimate is v * (1 - exp(-t / VELOCITY_MEMORY))."""
    tracker, speed = Tracker(BODY), 100.0
    for frame in range(6):
        tracker.update(standing(100 + speed * FRAME * frame), FRAME * frame)
    expected = speed * (1 - np.exp(-5 * FRAME / rules.VELOCITY_MEMORY))
    np.testing.assert_allclose(tracker._tracks.velocity[0], [expected, 0], rtol=1e-3, atol=1e-3)
    assert 0.2 * speed < expected < 0.99 * speed, "the frames of this test tell one time constant from another"


def test_one_who_is_known_wins_against_a_newcomer() -> None:
    """Two tracks are equally near to one person: the one that was seen often has it."""
    tracker = Tracker(BODY)
    for frame in range(12):
        tracker.update(standing(100), FRAME * frame)
    known, new = standing(100), standing(140)
    both = known.with_(**{n: np.concatenate([getattr(known, n), getattr(new, n)]) for n in
                          ("boxes", "scores", "keypoints", "keypoint_scores", "raw_scores", "ids")})  # fmt: skip
    ids = tracker.update(both, FRAME * 12).ids
    tracker._tracks.velocity[:] = 0
    middle = tracker.update(standing(120.5), FRAME * 13)  # a little nearer to the newcomer
    assert middle.ids[0] == ids[0] == 1


def test_a_wild_point_is_trusted_as_little_on_its_way_back() -> None:
    """Out by 50 pixels with a score that is trusted least, and back: no speed is left of it."""
    smoother = Smoother()
    for frame, (place, score) in enumerate([(0, 0.9), (0, 0.9), (50, 0.01), (0, 0.9)]):
        smoother.update(standing(100 + place, score).with_(ids=np.array([1])), FRAME * frame)
    velocity = smoother._state[0, :, 4]
    assert np.abs(velocity).max() < 5, "50 pixels in a frame are 1250 pixels a second"


@pytest.mark.parametrize(("count", "spans"), [(2, False), (3, False), (4, True)])
def test_a_box_needs_four_sure_keypoints(count: int, spans: bool) -> None:
    poses = standing(100)
    scores = np.zeros((1, 17), np.float32)
    scores[0, 4 : 4 + count] = 0.8
    boxes = boxes_from_poses(poses.with_(keypoint_scores=scores))
    assert np.array_equal(boxes, poses.boxes) == (not spans)
