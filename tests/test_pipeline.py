"""Pipeline: frames in, people out, in order, however they are put together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from gtpt.core.poses import Poses
from gtpt.core.skeleton import load_skeleton
from gtpt.detect import GivenBoxes, WholeImage
from gtpt.estimator import PoseEstimator
from gtpt.io.sources import Frame
from gtpt.pipeline import Pipeline, boxes_from_poses

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> PoseEstimator:
    from gtpt.model import build, save

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save(build("gtpt-t", input_size=(48, 64)), path, {"calibration": {"raw": [0.0, 0.03], "calibrated": [0.0, 1.0]}})
    return PoseEstimator(path)


def video(count: int) -> Iterator[Frame]:
    rng = np.random.default_rng(0)
    for i in range(count):
        yield Frame(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8), i, i / 25)


class Counting:
    """A detector of the user's own: one box that depends on the image; remembers how many images it saw at once."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        self.calls.append(len(images))
        return [(np.array([[0, 0, 20 + image[0, 0, 0] / 10, 50]], np.float32), np.array([0.5])) for image in images]


def test_batching_changes_nothing(estimator: PoseEstimator) -> None:
    one, many = Counting(), Counting()
    alone = list(Pipeline(estimator, one, frames_at_once=1)(video(7)))
    together = list(Pipeline(estimator, many, frames_at_once=3)(video(7)))
    assert one.calls == [1] * 7 and many.calls == [3, 3, 1]
    assert [r.frame.index for r in together] == list(range(7))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a.poses.keypoints, b.poses.keypoints, atol=1e-3)
        np.testing.assert_array_equal(a.poses.boxes, b.poses.boxes)


def test_detects_every_nth_frame_and_follows_the_pose_in_between(estimator: PoseEstimator) -> None:
    detector = Counting()
    results = list(Pipeline(estimator, detector, detect_every=3)(video(7)))
    assert detector.calls == [1, 1, 1]
    np.testing.assert_array_equal(results[1].poses.boxes, boxes_from_poses(results[0].poses))
    np.testing.assert_array_equal(results[3].poses.boxes[:, :2], [[0, 0]])


def test_a_person_keeps_the_detectors_score_until_it_looks_again(estimator: PoseEstimator) -> None:
    still = [Frame(next(video(1)).image, i, i / 25) for i in range(4)]
    scores = [float(r.poses.scores[0]) for r in Pipeline(estimator, Counting(), detect_every=3)(still)]
    assert scores[0] == scores[3] and max(scores) < 0.6  # of 1, if the detector's 0.5 were forgotten
    kept = [len(r.poses) for r in Pipeline(estimator, Counting(), detect_every=3, min_score=0.6)(still)]
    assert kept == [0, 0, 0, 0]


def test_nobody_in_the_video(estimator: PoseEstimator) -> None:
    empty = Pipeline(estimator, lambda images: [np.zeros((0, 4))] * len(images), detect_every=2)
    assert [len(r.poses) for r in empty(video(5))] == [0] * 5


BOXES = np.array([[10, 20, 50, 59], [-30, -30, 5, 5], [80, 0, 95, 10], [0, 60, 9, 70], [-9, -9, 0, 5], [70, 50, 300, 300]])


@pytest.mark.parametrize("given", [True, False])
def test_boxes_outside_are_dropped_with_one_warning(
    given: bool, estimator: PoseEstimator, caplog: pytest.LogCaptureFixture
) -> None:
    detector = GivenBoxes({i: BOXES for i in range(3)}) if given else lambda images: [BOXES] * len(images)
    with caplog.at_level(logging.WARNING):
        results = list(Pipeline(estimator, detector, frames_at_once=2)(video(3)))
    assert all(r.poses.boxes.tolist() == BOXES[[0, 1, 5]].tolist() for r in results) and len(results) == 3
    assert [r.getMessage() for r in caplog.records] == ["0: 3 of 6 boxes lie outside the image or in its first pixel"]


@pytest.mark.parametrize("frames", ["film.mp4", Path("film.mp4"), np.zeros((20, 30, 3), np.uint8)])
def test_one_picture_or_a_path_is_no_film(estimator: PoseEstimator, frames: object) -> None:
    with pytest.raises(ValueError, match="no sequence of frames"):
        next(Pipeline(estimator, WholeImage())(frames))


def test_boxes_carried_to_a_smaller_photo(estimator: PoseEstimator) -> None:
    images = [np.full((60, 80, 3), 99, np.uint8), np.full((20, 20, 3), 99, np.uint8)]
    corner = lambda images: [np.array([[50, 40, 80, 60]])] * len(images)  # noqa: E731
    frames = (Frame(image, i, i / 30) for i, image in enumerate(images))
    assert [len(r.poses) for r in Pipeline(estimator, corner, detect_every=2)(frames)] == [1, 0]


def test_refining_estimates_in_the_box_of_the_first_pose(estimator: PoseEstimator) -> None:
    whole = lambda images: [np.array([[0, 0, 80, 60]])] * len(images)  # noqa: E731
    first = next(Pipeline(estimator, whole)(video(1))).poses
    refined = next(Pipeline(estimator, whole, refine=True)(video(1))).poses
    np.testing.assert_array_equal(refined.boxes, boxes_from_poses(first))


def test_low_people_are_dropped(estimator: PoseEstimator) -> None:
    first = next(Pipeline(estimator, Counting())(video(1))).poses
    score = float(first.scores[0])
    assert 0.05 < score < 0.95 and score == pytest.approx(0.5 * first.keypoint_scores.mean())  # 0.5 of the detector
    assert len(next(Pipeline(estimator, Counting(), min_score=score - 0.05)(video(1))).poses) == 1
    assert len(next(Pipeline(estimator, Counting(), min_score=score + 0.05)(video(1))).poses) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"detect_every": 0}, "detect_every"), ({"smoother": object()}, "tracker"), ({"min_score": 2}, "min_score")],
)
def test_settings_that_do_not_go_together(estimator: PoseEstimator, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pipeline(estimator, Counting(), **settings)


def poses(keypoints: np.ndarray, scores: np.ndarray, box: Sequence[float]) -> Poses:
    return Poses(
        boxes=np.array([box]),
        scores=np.ones(1),
        keypoints=keypoints[None],
        keypoint_scores=scores[None],
        raw_scores=scores[None],
        ids=np.zeros(1),
        image_size=(200, 100),
        skeleton=load_skeleton("coco17"),
    )


def test_boxes_from_poses_spans_what_is_sure() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform((50, 20), (150, 80), (17, 2))
    points[:4] = [[50, 20], [150, 80], [100, 50], [60, 60]]
    points[16] = [-500, 900]
    scores = np.ones(17)
    scores[16] = 0.1
    box = boxes_from_poses(poses(points, scores, [0, 0, 10, 10]), margin=0.1)
    np.testing.assert_allclose(box, [[40, 14, 160, 86]], atol=1e-4)
    assert np.array_equal(boxes_from_poses(poses(points, scores * 0.1, [1, 2, 30, 40])), [[1, 2, 30, 40]])
    outside = boxes_from_poses(poses(points + 1000, np.ones(17), [1, 2, 30, 40]))
    assert np.array_equal(outside, [[1, 2, 30, 40]])


def test_import_is_light(tmp_path: Path) -> None:
    import subprocess
    import sys

    heavy = ("torch", "onnxruntime", "av", "scipy", "pandas", "lightning")
    code = f"import sys, gtpt, gtpt.cli; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert out.stdout.strip() == "[]"
