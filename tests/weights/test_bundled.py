"""The weights that come with the package: they load offline in every engine and find people."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gtpt import PoseEstimator, read_image
from gtpt.detect import load_boxes
from gtpt.weights import load_registry, model_card, resolve

PHOTOS = Path(__file__).parents[2] / "examples/photos"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTPT_OFFLINE", "1")


def test_torch_and_onnxruntime_place_the_same_keypoints() -> None:
    pytest.importorskip("torch")
    default, torch = PoseEstimator(), PoseEstimator(engine="torch")
    images = [read_image(p) for p in sorted(PHOTOS.glob("*.jpg"))]
    boxes = [d.boxes for d in load_boxes(PHOTOS / "boxes.csv")(images, sorted(p.name for p in PHOTOS.glob("*.jpg")))]
    for a, b in zip(default(images, boxes), torch(images, boxes), strict=True):
        assert np.linalg.norm(a.keypoints - b.keypoints, axis=-1).max() < 0.05  # pixels: half precision holds both exactly
        np.testing.assert_allclose(a.keypoint_scores, b.keypoint_scores, atol=1e-3)


def test_both_files_together_are_small() -> None:
    assert sum(file.bytes for file in load_registry()["gtpt-t-coco17"].files.values()) <= 16_000_000


def test_faces_are_found_in_the_demo_photos() -> None:
    """By eye: the middle of the eyes and the nose in each photo, right within a fifth of the box's width."""
    places = {"astronaut.jpg": (222, 105), "cameraman.jpg": (255, 145), "grace_hopper.jpg": (265, 205)}
    boxes = load_boxes(PHOTOS / "boxes.csv")
    estimator = PoseEstimator()
    for name, place in places.items():
        image = read_image(PHOTOS / name)
        box = boxes([image], [name])[0].boxes
        face = estimator(image, box).keypoints[0, :3].mean(axis=0)
        assert np.linalg.norm(face - place) < 0.2 * (box[0, 2] - box[0, 0]), name


@pytest.mark.integration
def test_both_files_are_the_same_network_on_real_people(shared: Path) -> None:
    pytest.importorskip("torch")
    from gtpt.data.crops import load_crops
    from gtpt.export.verify import verify_onnx
    from gtpt.model import load

    net = load(resolve("gtpt-t-coco17", format="safetensors"))
    crops = load_crops(shared / "data/pose17_devval.zip", net.skeleton, net.config.input_size, 128)
    found = verify_onnx(resolve("gtpt-t-coco17", format="onnx"), net, crops, bound_px=0.05)
    assert found.changed < 0.01  # where two peaks are of the same height


@pytest.mark.integration
def test_figures_are_those_of_the_model_card(shared: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("faster_coco_eval")
    from gtpt.evaluate import expected_calibration_error, judge
    from gtpt.evaluate.run import evaluate_network
    from gtpt.model import load

    crops = shared / "data/pose17_devval.zip"
    net = load(resolve("gtpt-t-coco17", format="safetensors"))
    report, persons, found = evaluate_network(net, crops / "annotations.json", crops, flip_test=True)
    stated = re.search(r"\| pruned, flip test \| ([\d.]+) \|", model_card("gtpt-t-coco17"))
    assert stated and abs(100 * report.ap - float(stated[1])) < 0.1
    raw, right = judge(found, persons, net.skeleton.sigmas)
    calibrated = PoseEstimator().calibration(raw)
    assert (
        expected_calibration_error(calibrated, right) < 0.05
    )  # fitted without the flip test, which lowers scores a little
    assert expected_calibration_error(np.clip(raw, 0, 1), right) > 0.5
