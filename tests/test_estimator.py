"""PoseEstimator: the same poses however people are batched, and clear words for what it cannot use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gtpt.core import geometry, simcc
from gtpt.core.poses import Poses
from gtpt.estimator import PoseEstimator
from gtpt.pipeline import boxes_from_poses

torch = pytest.importorskip("torch")

SIZE = (48, 64)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gtpt.model import build, save

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    net = build("gtpt-t", input_size=SIZE)
    for parameter in net.stem.parameters():  # the official start is so small that crops would hardly matter
        if parameter.dim() == 4:
            torch.nn.init.kaiming_normal_(parameter)
    save(net, path, {"calibration": {"raw": [0.0, 0.1], "calibrated": [0.0, 1.0]}})
    return path


@pytest.fixture(scope="module")
def estimator(weights: Path) -> PoseEstimator:
    return PoseEstimator(weights, batch_size=3)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((120, 90, 3), (80, 200, 3), (60, 60, 3))]


BOXES = [
    np.array([[5, 5, 60, 110], [20, 0, 85, 119]], np.float32),
    np.zeros((0, 4), np.float32),
    np.array([[1, 1, 50, 59], [0, 0, 30, 30], [10, 20, 60, 60]], np.float32),
]


def assert_equal(a: Poses, b: Poses) -> None:
    for name in ("boxes", "scores", "keypoints", "keypoint_scores", "raw_scores"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-4, err_msg=name)


def test_equals_crop_network_decode_by_hand(estimator: PoseEstimator, images: list[np.ndarray]) -> None:
    box = BOXES[0][:1]
    centers, sizes = geometry.boxes_to_crops(geometry.xyxy_to_xywh(box), SIZE[0] / SIZE[1])
    matrix = geometry.affine_matrices(centers, sizes, SIZE)
    x, y = estimator.engine(geometry.crop(images[0], matrix[0], SIZE)[None])
    points, raw = simcc.decode(x, y)
    poses = estimator(images[0], box)
    np.testing.assert_allclose(
        poses.keypoints, geometry.transform_points(points, geometry.invert_affine(matrix)), atol=1e-3
    )
    np.testing.assert_allclose(poses.raw_scores, raw, rtol=1e-5)
    np.testing.assert_allclose(poses.keypoint_scores, np.clip(raw * 10, 0, 1), atol=1e-5)
    assert poses.image_size == (90, 120)


def test_batches_over_people_and_images_change_nothing(estimator: PoseEstimator, images: list[np.ndarray]) -> None:
    together = estimator(images, BOXES)
    assert [len(p) for p in together] == [2, 0, 3]
    for image, boxes, poses in zip(images, BOXES, together, strict=True):
        assert_equal(estimator(image, boxes), poses)
    assert_equal(estimator(images[2], BOXES[2][::-1])[::-1], together[2])


def test_flip_test_of_a_mirrored_photo_is_the_mirrored_pose(weights: Path, images: list[np.ndarray]) -> None:
    estimator = PoseEstimator(weights, flip_test=True)
    image, box = images[0], np.array([[10, 10, 70, 100]], np.float32)
    width = image.shape[1]
    mirrored_box = np.array([[width - 70, 10, width - 10, 100]], np.float32)
    straight, mirrored = estimator(image, box), estimator(geometry.mirror_crops(image), mirrored_box)
    expected = straight.keypoints[:, estimator.skeleton.flip_index]
    # the crop of the mirrored box is shifted by one source pixel against the mirrored crop
    difference = np.abs(width - 1 - mirrored.keypoints[..., 0] - expected[..., 0])
    assert np.median(difference) <= 3


def test_nobody_is_nobody(estimator: PoseEstimator, images: list[np.ndarray]) -> None:
    poses = estimator(images[0], [])
    assert len(poses) == 0 and poses.keypoints.shape == (0, 17, 2)
    assert boxes_from_poses(poses).shape == (0, 4)
    assert estimator([], []) == []


def test_the_whole_image_as_a_box(estimator: PoseEstimator, images: list[np.ndarray]) -> None:
    assert_equal(estimator(images[1], "whole-image"), estimator(images[1], [[0, 0, 200, 80]]))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0, 0, np.nan, 5]], "image 0: box 0 .*nan"),
        ([[0, 0, 9, 9], [50, 10, 20, 40]], "image 0: box 1 .*inverted"),
        ([[500, 500, 600, 600]], "outside the 90x120 image"),
        ([[0.1, 0, 0.9, 1]], "image 0: box 0 .*shares of the picture"),
        ([0, 0, 5, 5], r"\(N, 4\)"),
        (np.zeros((2, 6)) + 1, r"\(N, 4\)"),
    ],
)
def test_bad_boxes_are_named(estimator: PoseEstimator, images: list[np.ndarray], boxes: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimator(images[0], boxes)


@pytest.mark.parametrize("convert", [lambda i: i.max(axis=2), lambda i: i.astype(np.uint16) * 257])
def test_crops_of_images_of_all_kinds(estimator: PoseEstimator, images: list[np.ndarray], convert) -> None:
    crops, _ = estimator.crops(convert(images[0]), np.array([[0, 0, 40, 40]]))
    assert crops.dtype == np.uint8 and crops.shape[3] == 3 and crops.max() > 0


def test_enlarged_crops_are_the_same_views(estimator: PoseEstimator, images: list[np.ndarray]) -> None:
    box = np.array([[3, 5, 33, 45]])
    (small, to_small), (large, to_large) = estimator.crops(images[0], box), estimator.crops(images[0], box, enlarge=3)
    assert large.shape[1:3] == (3 * small.shape[1], 3 * small.shape[2])
    point = np.array([[[20.0, 30.0]]])
    a, b = geometry.transform_points(point, to_small), geometry.transform_points(point, to_large)
    np.testing.assert_allclose((a + 0.5) * 3 - 0.5, b, atol=1e-4)


def test_a_path_is_no_image(estimator: PoseEstimator) -> None:
    with pytest.raises(ValueError, match=r"gtpt\.read_image first"):
        estimator("photo.jpg")


def test_images_of_all_kinds(estimator: PoseEstimator, images: list[np.ndarray]) -> None:
    image, box = images[0], BOXES[0]
    grey = np.ascontiguousarray(image[..., 0])
    three = np.repeat(grey[..., None], 3, axis=2)
    assert_equal(estimator(grey, box), estimator(three, box))
    rgba = np.concatenate([image, image[..., :1]], axis=2)
    assert_equal(estimator(rgba, box), estimator(image, box))
    assert_equal(estimator(image.astype(np.uint16) * 257, box), estimator(image, box))
    with pytest.raises(ValueError, match="uint8"):
        estimator(image / 255.0, box)
    with pytest.raises(ValueError, match="image 1"):
        estimator([image, np.zeros((0, 5, 3), np.uint8)], [box, []])
    assert len(estimator(np.zeros((1, 1, 3), np.uint8), "whole-image")) == 1


def test_lists_must_match(estimator: PoseEstimator, images: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="3 images, but 2"):
        estimator(images, BOXES[:2])
    with pytest.raises(ValueError, match="scores"):
        estimator(images[0], BOXES[0], [0.5])
    with pytest.raises(ValueError, match=r"image 0: scores must be 1 numbers .*'sure'"):
        estimator(images[0], BOXES[0][:1], ["sure"])


def test_many_people_and_thin_images(estimator: PoseEstimator) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    corners = rng.uniform(0, 150, (300, 2))
    poses = estimator(image, np.concatenate([corners, corners + 40], axis=1))
    assert len(poses) == 300 and np.isfinite(poses.keypoints).all()
    assert len(estimator(np.zeros((10, 20000, 3), np.uint8), "whole-image")) == 1


def test_weights_that_cannot_be_used(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(FileNotFoundError):
        PoseEstimator(tmp_path / "missing.safetensors")
    with pytest.raises(ValueError, match="no engine 'tensorrt'"):
        PoseEstimator(weights, engine="tensorrt")
    with pytest.raises(ValueError, match="cannot be run by onnxruntime"):
        PoseEstimator(weights, engine="onnxruntime")
    with pytest.raises(ValueError, match="no device"):
        PoseEstimator(weights, device="cuda:7")
    with pytest.raises(ValueError, match="batch_size"):
        PoseEstimator(weights, batch_size=0)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(ValueError, match=r"broken\.onnx"):
        PoseEstimator(broken)


def test_what_was_given_may_change_afterwards(estimator: PoseEstimator) -> None:
    image, boxes, scores = np.full((90, 60, 3), 99, np.uint8), np.float32([[5, 5, 50, 80]]), np.float32([0.5])
    poses = estimator(image, boxes, scores)
    before = poses.to_dict()
    boxes += 100
    scores[:] = 0
    assert poses.to_dict() == before


def test_a_stack_of_images_is_given_as_a_list(estimator: PoseEstimator) -> None:
    stack = np.zeros((2, 40, 40, 3), np.uint8)
    with pytest.raises(ValueError, match=r"list\(images\)"):
        estimator(stack, [None, None])
    assert len(estimator(list(stack), ["whole-image"] * 2)) == 2
