"""The first minute: people in a picture by one call, boxes in any form, and pictures that show themselves."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.sample import assert_same, make_poses

import gtpt
from gtpt import Pipeline, PoseEstimator, draw_poses, read_image
from gtpt.detect import Detections, GivenBoxes, WholeImage, make_detector
from gtpt.estimator import MIN_SCORE, distinct

PHOTO = Path(__file__).parents[1] / "examples/photos/cameraman.jpg"
BOXES = np.array([[0, 62, 340, 512], [100, 80, 300, 400]], np.float32)
SCORES = np.array([0.9, 0.75], np.float32)


@pytest.fixture(scope="module")
def estimator() -> PoseEstimator:
    return PoseEstimator(threads=1)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return read_image(PHOTO)


def supervision(boxes: np.ndarray, scores: np.ndarray | None, names: list[str] | None = None) -> SimpleNamespace:
    return SimpleNamespace(xyxy=boxes, confidence=scores, data={} if names is None else {"class_name": np.array(names)})


FORMS = {
    "pair": (BOXES, SCORES),
    "lists": (BOXES.tolist(), SCORES.tolist()),
    "five columns": np.column_stack([BOXES, SCORES]),
    "Detections": Detections(BOXES, SCORES),
    "supervision": supervision(BOXES, SCORES),
    "classes": supervision(np.vstack([BOXES, BOXES[:1]]), np.append(SCORES, 0.9), ["person", "person", "dog"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_boxes_in_any_form(form: str, estimator: PoseEstimator, image: np.ndarray) -> None:
    expected = estimator(image, BOXES, SCORES)
    assert_same(estimator(image, FORMS[form]), expected)
    assert_same(estimator([image, image], [FORMS[form], BOXES])[0], expected)

    def detector(images: list[np.ndarray]) -> list:
        return [FORMS[form] for _ in images]

    (result,) = Pipeline(estimator, detector)([image])  # a plain array as a frame
    assert_same(result.poses, expected[distinct(expected)])
    assert_same(PoseEstimator(threads=1, detector=detector)(image), expected[distinct(expected)])


def test_boxes_without_scores_count_fully(estimator: PoseEstimator, image: np.ndarray) -> None:
    expected = estimator(image, BOXES)
    for form in (BOXES.tolist(), tuple(map(tuple, BOXES)), supervision(BOXES, None)):
        assert_same(estimator(image, form), expected)
    assert_same(estimator(image, FORMS["pair"], [1, 1]), expected)  # what is said last counts


def test_without_boxes_and_detector_it_says_what_to_do(estimator: PoseEstimator, image: np.ndarray) -> None:
    for call in (lambda: estimator(image), lambda: estimator([image, image], [BOXES, None])):
        with pytest.raises(ValueError, match=r"give boxes.*whole-image.*PoseEstimator\(detector='yolox-nano'\)"):
            call()


def test_a_detector_finds_who_has_no_boxes(image: np.ndarray) -> None:
    estimator = PoseEstimator(threads=1, detector="whole-image")
    height, width = image.shape[:2]
    assert_same(estimator(image), estimator(image, [[0, 0, width, height]]))
    first, second = estimator([image, image[:100]], [BOXES, None])
    assert len(first) == 2 and second.boxes.tolist() == [[0, 0, width, 100]]
    outside = PoseEstimator(threads=1, detector=lambda images: [[[-50, -50, -5, -5], [0, 62, 340, 512]] for _ in images])
    assert outside(image).boxes.tolist() == [[0, 62, 340, 512]]
    with pytest.raises(ValueError, match="outside"):
        outside(image, [[-50, -50, -5, -5]])


def test_errors_of_a_detector_are_its_own(image: np.ndarray, tmp_path: Path) -> None:
    def broken(images: list[np.ndarray]) -> list:
        raise KeyError("mine")

    for call in (
        lambda: PoseEstimator(threads=1, detector=broken)(image),
        lambda: gtpt.predict(PHOTO, tmp_path, detector=broken, quiet=True),
    ):
        with pytest.raises(KeyError, match="mine"):
            call()


def test_colours_in_opencvs_order(estimator: PoseEstimator, image: np.ndarray) -> None:
    red = np.zeros((64, 48, 3), np.uint8)
    red[..., 0] = np.arange(48)
    swapped = np.ascontiguousarray(red[..., ::-1])
    assert_same(estimator(swapped, "whole-image", bgr=True), estimator(red, "whole-image"))
    assert np.abs(estimator(swapped, "whole-image").raw_scores - estimator(red, "whole-image").raw_scores).max() > 0
    rgba = np.dstack([red, red[..., 0]])
    assert_same(estimator(rgba[..., [2, 1, 0, 3]], "whole-image", bgr=True), estimator(red, "whole-image"))


def test_one_estimator_serves_many_threads(image: np.ndarray) -> None:
    """Each caller gets the people of its own picture, as if it were alone."""
    detector = lambda images: [[[0, 62, i.shape[1], i.shape[0]]] * (1 + i.shape[0] % 3) for i in images]  # noqa: E731
    estimator = PoseEstimator(threads=2, detector=detector)
    pictures = [np.ascontiguousarray(image[: 400 + 10 * n]) for n in range(12)]
    alone = [estimator(picture) for picture in pictures]
    with ThreadPoolExecutor(6) as callers:
        for expected, found in zip(alone, callers.map(estimator, pictures), strict=True):
            assert_same(found, expected)


def test_find_takes_arrays_paths_and_lists(image: np.ndarray, tmp_path: Path) -> None:
    expected = PoseEstimator(detector="whole-image")(image)
    for one in (image, PHOTO, str(PHOTO)):
        assert_same(gtpt.find(one, detector="whole-image"), expected)
    assert_same(gtpt.find(image[..., ::-1], detector="whole-image", bgr=True), expected)
    assert_same(gtpt.find(Image.fromarray(image), detector="whole-image", bgr=True), expected)
    assert_same(PoseEstimator(detector="whole-image")(Image.fromarray(image)), expected)
    assert np.array_equal(expected.draw(Image.fromarray(image)), expected.draw(image))
    both = gtpt.find([PHOTO, image], detector="whole-image")
    assert len(both) == 2 and all(len(poses) == 1 for poses in both)
    for neither in (None, b"bytes", iter([image])):
        with pytest.raises(ValueError, match="images must be an RGB uint8 array"):
            gtpt.find(neither, detector="whole-image")
    with pytest.raises(FileNotFoundError, match=r"nobody\.jpg"):
        gtpt.find(tmp_path / "nobody.jpg", detector="whole-image")
    with pytest.raises(ValueError, match=r"folder is no photo.*gtpt\.predict"):
        gtpt.find(PHOTO.parent, detector="whole-image")


def test_find_with_the_default_detector(shared: Path) -> None:
    poses = gtpt.find(PHOTO, detector=shared / "data/detector/yolox_nano.onnx")
    assert len(poses) == 1 and poses.scores[0] > 0.3


def test_a_detector_takes_one_image_too(image: np.ndarray) -> None:
    one = make_detector("whole-image")(image)
    assert isinstance(one, Detections) and one.boxes.tolist() == [[0, 0, image.shape[1], image.shape[0]]]
    assert [len(found) for found in WholeImage()([image, image])] == [1, 1]


def test_who_is_hardly_seen_is_dropped_unless_given(image: np.ndarray, tmp_path: Path) -> None:
    """And nobody is with scores that are no probabilities."""
    boxes, sure = [[0, 62, 340, 512], [300, 10, 400, 90]], [0.9, 0.2]
    detector = lambda images: [(boxes, sure)] * len(images)  # noqa: E731
    found = PoseEstimator(threads=1, detector=detector)
    everybody = found(image, boxes, sure)
    assert len(everybody) == 2 and everybody.scores[1] < MIN_SCORE < everybody.scores[0]
    assert_same(found(image), everybody[:1])
    assert_same(next(Pipeline(found, detector)([image])).poses, everybody[:1])
    assert_same(next(Pipeline(found, detector, min_score=0)([image])).poses, everybody)
    given = GivenBoxes({"0": (np.array(boxes), np.array(sure))})
    assert_same(next(Pipeline(found, given)([image])).poses, everybody)
    options = {"draw": False, "quiet": True}
    counts = [
        gtpt.predict(PHOTO, tmp_path, **how, **options).sources[0].people
        for how in ({"detector": detector}, {"detector": detector, "min_score": 0}, {"boxes": {PHOTO.name: (boxes, sure)}})
    ]
    assert counts == [1, 2, 2]
    found.engine.info = replace(found.engine.info, calibration=None)
    assert len(found(image)) == 2


def test_half_a_body_inside_a_whole_one_is_one_person() -> None:
    """And two people at the same place, one before the other, are two."""
    one = make_poses(1, seed=3)
    box = np.array([[100, 100, 300, 500]], np.float32)
    rng = np.random.default_rng(0)
    points = rng.uniform([110, 110], [290, 490], (1, 17, 2)).astype(np.float32)
    sure = np.full((1, 17), 0.9, np.float32)
    whole = one.with_(boxes=box, keypoints=points, keypoint_scores=sure)

    def pair(boxes: list, keypoints: np.ndarray, scores: np.ndarray) -> gtpt.Poses:
        return gtpt.Poses(
            boxes=np.vstack([whole.boxes, boxes]),
            scores=[0.9, 0.8],
            keypoints=np.concatenate([points, keypoints]),
            keypoint_scores=np.concatenate([sure, scores]),
            raw_scores=np.zeros((2, 17)),
            ids=[-1, -1],
            image_size=one.image_size,
            skeleton=one.skeleton,
        )

    half = np.where(np.arange(17) < 11, 0.8, 0.1)[None]
    inside = [[105, 100, 290, 320]]
    assert distinct(pair(inside, points + 1, half)).tolist() == [True, False]
    assert distinct(pair(inside, points + 1, half)[[1, 0]]).tolist() == [False, True]  # the better pose stays
    assert distinct(pair(inside, points[:, ::-1], half)).tolist() == [True, True]  # another pose: a child before its parent
    assert distinct(pair([[290, 300, 500, 600]], points, half)).tolist() == [True, True]  # elsewhere
    few = np.where(np.arange(17) < 3, 0.8, 0.1)[None]
    assert distinct(pair(inside, points, few)).tolist() == [True, True]  # three points say too little
    assert distinct(whole[[]]).tolist() == []


def test_pictures_are_arrays_that_save_and_show_themselves(
    image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    poses = make_poses(2, image_size=image.shape[1::-1])
    picture = poses.draw(image)
    np.testing.assert_array_equal(picture, draw_poses(image, poses))
    path = picture.save(tmp_path / "drawn.png")
    np.testing.assert_array_equal(read_image(path), picture)
    shown = cv2.imdecode(np.frombuffer(picture._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(shown[..., ::-1], picture)
    assert picture[..., 0]._repr_png_() is None and (picture / 2)._repr_png_() is None
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform.startswith("linux"):
        picture.show()
        np.testing.assert_array_equal(read_image(capsys.readouterr().out.split()[-1]), picture)
    with pytest.raises(ValueError, match=r"cannot be written as \.txt"):
        picture.save(tmp_path / "drawn.txt")
    with pytest.raises(OSError, match=r"cannot write the picture to .*drawn\.png"):
        picture.save(tmp_path / "drawn.png" / "drawn.png")  # a file in the place of a folder
    assert picture.save(tmp_path / "new" / "folder" / "drawn.png").is_file()


def test_people_alone_on_black() -> None:
    poses = make_poses(2, image_size=(64, 48))
    black = np.zeros((48, 64, 3), np.uint8)
    expected = draw_poses(black, poses)
    np.testing.assert_array_equal(draw_poses(None, poses, background="black"), expected)
    np.testing.assert_array_equal(draw_poses(black + 200, poses, background="black"), expected)
    np.testing.assert_array_equal(poses.draw(), expected)
    for arguments, message in (({"background": "white"}, "'image' or 'black'"), ({}, "no image to draw on")):
        with pytest.raises(ValueError, match=message):
            draw_poses(None, poses, **arguments)
