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
    both = two(known, new)
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


# --- the smoother against the formulas of its paper, joint by joint ---


def one_euro(frames, *, min_cutoff=0.5, beta=12.0):
    """Smoothed places of one joint from (time, point, score, size of the person) frames."""

    def gain(cutoff, elapsed):
        return 1 / (1 + 1 / (2 * np.pi * cutoff * elapsed))

    smooth = raw = velocity = trust = last = None
    places = []
    for time, point, score, size in frames:
        point, now = np.array(point, float), min(1, max(0.1, score / 0.5))
        if raw is None:
            smooth, velocity = point, np.zeros(2)
        else:
            elapsed = time - last
            velocity = velocity + min(now, trust) * gain(1.0, elapsed) * ((point - raw) / elapsed - velocity)
            speed = np.hypot(*velocity) / size
            smooth = smooth + now * gain(min_cutoff + beta * speed**2, elapsed) * (point - smooth)
        raw, trust, last = point, now, time
        places.append(smooth)
    return np.array(places)


@pytest.mark.parametrize("options", [{}, {"min_cutoff": 2.0, "beta": 3.0}])
def test_every_joint_follows_the_formulas(options) -> None:
    """Two people with joints that jitter and run, scores from 0 to 1, boxes that change, uneven times."""
    rng, count = np.random.default_rng(0), 12
    times = np.cumsum(rng.uniform(0.02, 0.3, count))
    joints = rng.normal(0, 4, (count, 2, 17, 2)).cumsum(axis=0) + 100
    scores = rng.uniform(0, 1, (count, 2, 17)).astype(np.float32)
    sizes = rng.uniform(50, 300, (count, 2, 2)).astype(np.float32)  # width, height: the longer side is the size
    smoother, found = Smoother(**options), []
    for time, points, score, size in zip(times, joints, scores, sizes, strict=True):
        poses = make_poses(2, ids=[7, 3]).with_(
            boxes=np.concatenate([np.full((2, 2), 10), 10 + size], axis=1), keypoints=points, keypoint_scores=score
        )
        found.append(smoother.update(poses, time).keypoints)
    for person, joint in np.ndindex(2, 17):
        frames = zip(
            times,
            joints[:, person, joint].astype(np.float32),
            scores[:, person, joint],
            sizes[:, person].max(axis=1),
            strict=True,
        )
        expected = one_euro(frames, **options)
        np.testing.assert_allclose(np.array(found)[:, person, joint], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("gap", "anew"), [(0.5, False), (0.501, True)])
def test_the_memory_ends_after_it(gap: float, anew: bool) -> None:
    smoother = Smoother(memory_s=0.5)
    smoother.update(standing(100).with_(ids=np.array([1])), 1.0)
    later = standing(120).with_(ids=np.array([1]))
    assert np.array_equal(smoother.update(later, 1.0 + gap).keypoints, later.keypoints) == anew


def test_who_is_missed_for_a_frame_is_remembered() -> None:
    """One of two is away and back: the other one's frames in between do not make the smoother forget."""
    smoother = Smoother()
    both = make_poses(2, ids=[1, 2])
    smoother.update(both, 0.0)
    smoother.update(both[[1]], 0.1)
    moved = both.with_(keypoints=both.keypoints + 5)
    result = smoother.update(moved[[0]], 0.2)
    assert not np.array_equal(result.keypoints, moved.keypoints[:1])
    assert smoother._ids.tolist() == [2, 1]


def test_scores_and_boxes_that_are_not_known() -> None:
    """A score of NaN is trusted as little as 0; a box of NaN has a size of one pixel, so nothing is slow."""
    paths = {}
    for name, score, box in (("zero", 0, 60), ("unknown", np.nan, 60), ("pixel", 0.9, 1), ("no box", 0.9, np.nan)):
        smoother = Smoother()
        for frame, place in enumerate([100, 103, 107]):
            poses = standing(place, 0.9)
            poses = poses.with_(
                boxes=np.full((1, 4), np.nan) if np.isnan(box) else np.array([[0, 0, box, 1]]),
                keypoint_scores=np.full((1, 17), score),
                ids=np.array([1]),
            )
            paths[name] = smoother.update(poses, FRAME * (frame + 1)).keypoints
    np.testing.assert_array_equal(paths["unknown"], paths["zero"])
    np.testing.assert_array_equal(paths["no box"], paths["pixel"])
    assert not np.array_equal(paths["zero"], paths["pixel"])


# --- the tracker: how alike a track and a person are ---


def similarities(tracker: Tracker) -> list[np.ndarray]:
    """What is assigned from now on: (tracks, people) of each update."""
    seen, assign = [], tracker._assign
    tracker._assign = lambda matrix, **options: (seen.append(matrix.copy()), assign(matrix, **options))[1]
    return seen


def two(first, second):
    names = ("boxes", "scores", "keypoints", "keypoint_scores", "raw_scores", "ids")
    return first.with_(**{n: np.concatenate([getattr(first, n), getattr(second, n)]) for n in names})


def expected_similarity(moved: float, away: float, size: float, *, weights=1.0, times: int = 1) -> float:
    """Of a person who stands `moved` pixels from where the track expects it, as the constants say."""
    weights = np.broadcast_to(weights, 17)
    reach = 2 * np.maximum(BODY.sigmas, rules.MIN_SIGMA) * (rules.OKS_SLACK + rules.OKS_SLACK_PER_S * away) * size
    oks = (np.exp(-(moved**2) / (2 * reach**2)) * weights).sum() / weights.sum()
    near = np.exp(-(moved**2) / (2 * ((rules.NEAR + rules.NEAR_PER_S * away) * size) ** 2))
    share = rules.OKS_SHARE * oks + (1 - rules.OKS_SHARE) * near
    familiar = {1: rules.NEW, 2: (1 + rules.NEW) / 2}.get(times, 1)
    return share * familiar * max(1 - rules.FADING_PER_S * away, 0.1)


SIZE = np.sqrt(60 * 200)


@pytest.mark.parametrize("away", [0.04, 0.5, 0.9])
@pytest.mark.parametrize("moved", [0.0, 10.0, 30.0])
def test_similarity_in_numbers(moved: float, away: float) -> None:
    tracker = Tracker(BODY)
    tracker.update(two(standing(100), standing(1500)), 1.0)
    seen = similarities(tracker)
    tracker.update(two(standing(1500), standing(100 + moved)), 1.0 + away)
    (matrix,) = seen
    expected = expected_similarity(moved, away, SIZE)
    np.testing.assert_allclose(matrix[0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(matrix[1, 1], expected_similarity(0, away, SIZE), rtol=1e-5)
    assert matrix[0, 1] == matrix[1, 0] == 0  # too far to be anybody


@pytest.mark.parametrize(("frames", "times"), [(1, 1), (2, 2), (3, 3), (5, 5)])
def test_who_was_seen_more_often_counts_more(frames: int, times: int) -> None:
    tracker = Tracker(BODY)
    for frame in range(frames):
        tracker.update(standing(100), FRAME * (frame + 1))
    seen = similarities(tracker)
    tracker.update(standing(105), FRAME * (frames + 1))
    np.testing.assert_allclose(seen[0], [[expected_similarity(5, FRAME, SIZE, times=times)]], rtol=1e-5)


def test_keypoints_count_by_both_of_their_scores() -> None:
    """Half of the keypoints are elsewhere, and with low scores then or now they hardly count."""
    low = np.where(np.arange(17) < 9, 0.9, 0.1).astype(np.float32)
    for before, now in ((low, np.full(17, 0.5)), (np.full(17, 0.5), low), (low, low)):
        tracker, first, second = Tracker(BODY), standing(100), standing(100)
        tracker.update(first.with_(keypoint_scores=before[None]), 1.0)
        keypoints = second.keypoints.copy()
        keypoints[0, 9:] += 1000
        seen = similarities(tracker)
        tracker.update(second.with_(keypoints=keypoints, keypoint_scores=now[None]), 1.5)
        weights = before * now
        oks = weights[:9].sum() / weights.sum()
        expected = (rules.OKS_SHARE * oks + 1 - rules.OKS_SHARE) * rules.NEW * (1 - rules.FADING_PER_S * 0.5)
        np.testing.assert_allclose(seen[0], [[expected]], rtol=1e-5)


def test_the_size_is_the_mean_of_both_and_at_least_a_pixel() -> None:
    tracker, child = Tracker(BODY), standing(100)
    tracker.update(child, 1.0)
    seen = similarities(tracker)
    wide = child.with_(boxes=np.array([[60, 50, 200, 250]], np.float32))  # centre 130, 150 and so 0 away in y, 0 in x
    tracker.update(wide, 1.25)
    size = np.sqrt(np.sqrt(60 * 200 * 140 * 200))
    near = np.exp(-0 / (2 * ((rules.NEAR + rules.NEAR_PER_S * 0.25) * size) ** 2))
    fading = rules.NEW * (1 - rules.FADING_PER_S * 0.25)
    np.testing.assert_allclose(seen[0], [[(rules.OKS_SHARE + (1 - rules.OKS_SHARE) * near) * fading]], rtol=1e-5)
    nearer = child.with_(boxes=np.array([[100, 60, 180, 240]], np.float32), keypoints=wide.keypoints)  # 10 to the right
    tracker = Tracker(BODY)
    tracker.update(child, 1.0)
    seen = similarities(tracker)
    tracker.update(nearer, 1.25)
    size = np.sqrt(np.sqrt(60 * 200 * 80 * 180))
    near = np.exp(-(10**2) / (2 * ((rules.NEAR + rules.NEAR_PER_S * 0.25) * size) ** 2))
    np.testing.assert_allclose(seen[0], [[(rules.OKS_SHARE + (1 - rules.OKS_SHARE) * near) * fading]], rtol=1e-5)
    flat = child.with_(boxes=np.array([[130, 150, 130, 150]], np.float32))  # no size at all
    tracker = Tracker(BODY)
    tracker.update(flat, 1.0)
    seen = similarities(tracker)
    tracker.update(flat.with_(keypoints=flat.keypoints + 0.1), 1.25)
    reach = 2 * np.maximum(BODY.sigmas, rules.MIN_SIGMA) * (rules.OKS_SLACK + rules.OKS_SLACK_PER_S * 0.25)
    oks = np.exp(-(2 * 0.1**2) / (2 * reach**2)).mean()
    np.testing.assert_allclose(seen[0], [[(rules.OKS_SHARE * oks + 1 - rules.OKS_SHARE) * fading]], rtol=1e-4)


@pytest.mark.parametrize(("away", "share"), [(1.0, 0.7), (2.5, 0.25), (3.5, 0.1), (5.0, 0.1)])
def test_who_is_long_away_fades_to_a_tenth(away: float, share: float) -> None:
    tracker = Tracker(BODY, memory_s=10)
    tracker.update(standing(100), 1.0)
    seen = similarities(tracker)
    tracker.update(standing(100), 1.0 + away)
    np.testing.assert_allclose(seen[0], [[rules.NEW * share]], rtol=1e-5)


@pytest.mark.parametrize(("far", "known"), [(0.99, True), (1.01, False)])
def test_the_least_similarity_decides_who_is_new(far: float, known: bool) -> None:
    """Where the similarity, before what is taken off for newcomers, is just above or just below the least one."""
    places = np.linspace(0, 200, 20001)
    shares = [expected_similarity(p, FRAME, SIZE, times=3) / (1 - rules.FADING_PER_S * FRAME) for p in places]
    edge = places[np.argmax(np.array(shares) < rules.MIN_SIMILARITY)]
    tracker = Tracker(BODY)
    tracker.update(standing(100), 1.0)
    assert tracker.update(standing(100 + far * edge), 1.0 + FRAME).ids.tolist() == [1 if known else 2]


def test_people_are_expected_where_their_velocity_takes_them() -> None:
    """Keypoints and box too: a walker at 400 px/s, met again after 0.5 s exactly there, is as alike as one who stood."""
    tracker = Tracker(BODY)
    for frame in range(30):
        tracker.update(standing(100 + 400 * FRAME * frame), FRAME * frame)
    velocity = tracker._tracks.velocity[0, 0]
    assert velocity == pytest.approx(400, rel=0.01)
    seen = similarities(tracker)
    tracker.update(standing(100 + 400 * FRAME * 29 + velocity * 0.5), FRAME * 29 + 0.5)
    np.testing.assert_allclose(seen[0], [[1 - rules.FADING_PER_S * 0.5]], rtol=1e-4)


def test_velocity_is_that_of_the_keypoints_that_were_seen_both_times() -> None:
    tracker, start = Tracker(BODY), standing(100, 0.3)
    scores = np.full((1, 17), 0.3, np.float32)
    scores[0, 5:] = 0
    tracker.update(start.with_(keypoint_scores=scores), 1.0)
    keypoints = start.keypoints + np.array([10, -20])
    keypoints[0, 5:] += 500  # nobody saw where they were
    keypoints[0, 4] = np.nan  # nobody sees where it is
    tracker.update(start.with_(keypoints=keypoints), 1.1)
    gain = 1 - np.exp(-0.1 / rules.VELOCITY_MEMORY)
    np.testing.assert_allclose(tracker._tracks.velocity, [[100 * gain, -200 * gain]], rtol=1e-4)


def test_a_track_keeps_its_last_place_while_away_and_its_order_by_id() -> None:
    tracker = Tracker(BODY)
    tracker.update(two(standing(100), standing(900)), 1.0)
    tracker.update(standing(905), 1.1)
    tracks = tracker._tracks
    assert tracks.ids.tolist() == [1, 2] and tracks.times.tolist() == [1, 2]
    np.testing.assert_allclose(tracks.seen, [1.0, 1.1])
    np.testing.assert_allclose(tracks.boxes[:, 0], [100, 905])


def test_strange_numbers_become_a_place_without_weight() -> None:
    poses = standing(100)
    keypoints, scores = poses.keypoints.copy(), poses.keypoint_scores.copy()
    keypoints[0, 0], keypoints[0, 1, 1], scores[0, 2] = np.inf, np.nan, np.nan
    boxes = np.array([[-np.inf, np.nan, np.inf, 250]])
    tracker = Tracker(BODY)
    tracker.update(poses.with_(keypoints=keypoints, keypoint_scores=scores, boxes=boxes), 1.0)
    tracks = tracker._tracks
    assert tracks.keypoints[0, :2].tolist() == [[0, 0], [0, 0]]
    assert tracks.weights[0, :4].tolist() == [0, 0, 0, np.float32(0.9)]
    assert tracks.boxes.tolist() == [[0, 0, 0, 250]]
    assert (tracks.velocity == 0).all() and tracks.times.tolist() == [1] and tracks.seen.tolist() == [1.0]
