"""YOLOX: the published boxes come out, people are found, nobody is invented, and foreign files are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtpt.core.geometry import xywh_to_xyxy
from gtpt.detect import Detections, YoloxDetector, make_detector
from gtpt.detect.yolox import grid, suppress
from gtpt.io.images import decode_image

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


# the real network on real photos


@pytest.fixture(scope="module")
def detector_file(shared: Path) -> Path:
    return shared / "data" / "detector" / "yolox_nano.onnx"


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[dict[str, Any]]:
    """Pixels, boxes of people, and the boxes that the data set's own run of this network gave."""
    root = shared / "data" / "coco_sample"
    truth = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    found = json.loads((root / "person_detection_results" / "COCO_val2017_detections_yolox_nano.json").read_text())
    return [
        {
            "image": decode_image((root / "images" / "val2017" / i["file_name"]).read_bytes(), ignore_orientation=True),
            "people": [a["bbox"] for a in truth["annotations"] if a["image_id"] == i["id"] and not a["iscrowd"]],
            "reference": [d for d in found if d["image_id"] == i["id"]],
        }
        for i in truth["images"]
    ]


@pytest.fixture(scope="module")
def found(detector_file: Path, photos: list[dict[str, Any]]) -> list[Detections]:
    """With the settings that the published boxes were made with."""
    return YoloxDetector(detector_file, threshold=0.05, nms=0.6, threads=1)([p["image"] for p in photos])


@pytest.mark.integration
def test_equals_the_published_detections(photos: list[dict[str, Any]], found: list[Detections]):
    for photo, people in zip(photos, found, strict=True):
        boxes = xywh_to_xyxy(np.array([d["bbox"] for d in photo["reference"]]))
        assert len(people) == len(boxes)
        for box, row in zip(boxes, photo["reference"], strict=True):
            distance = np.abs(people.boxes - box).max(axis=1)
            assert distance.min() < 0.06  # published with two decimals; ours in sixteenths of a pixel of the input
            assert abs(people.scores[distance.argmin()] - row["score"]) < 1e-4


@pytest.mark.integration
def test_recall(photos: list[dict[str, Any]], found: list[Detections]):
    """Over all of val2017: 0.89 at 0.1 and 0.82 at 0.3; of these 43 people 37 and 33."""
    boxes = [(d, [x, y, x + w, y + h]) for p, d in zip(photos, found, strict=True) for x, y, w, h in p["people"] if h > 60]
    assert len(boxes) == 43
    for threshold, bar in ((0.1, 0.85), (0.3, 0.76)):
        hits = [any(iou(b, box) >= 0.5 for b in d[d.scores >= threshold].boxes) for d, box in boxes]
        assert np.mean(hits) >= bar


@pytest.mark.integration
def test_nobody_is_invented(detector_file: Path):
    detector = YoloxDetector(detector_file, threshold=0.1, threads=1)
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], (480, 640, 3))
    empty = [np.zeros((480, 640, 3), np.uint8), np.full((300, 200, 3), 255, np.uint8), ramp]
    empty += [rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)]
    empty += [np.full(shape, 90, np.uint8) for shape in ((1, 1, 3), (10, 20000, 3), (20000, 10, 3))]
    for found in detector(empty):
        assert found.boxes.shape == (0, 4) and found.scores.shape == (0,)
    assert detector([]) == []


@pytest.mark.integration
def test_the_lowest_threshold_keeps_boxes_that_touch_the_image(detector_file: Path):
    detector = YoloxDetector(detector_file, threshold=0, nms=0.6, threads=1)
    (people,) = detector([np.full((30, 300, 3), 90, np.uint8)])
    assert len(people) and (people.boxes[:, 2:] > 0).all() and (people.boxes[:, :2] < [300, 30]).all()
    assert (np.diff(people.scores) <= 0).all()


# any YOLOX: other input sizes, batches of their own


WIDTH, HEIGHT, CELL = 96, 64, 100  # 96 cells of stride 8, 24 of stride 16, 6 of stride 32
CELL_BOX = [60, -8, 84, 16]  # cell 100 is the fifth in the first row of stride 16; its box is 24 px wide and high


def network(
    path: Path,
    batch: int | str = "batch",
    *,
    width: int = WIDTH,
    log_size: float = np.log(1.5),
    box: tuple[float, float, float, float] | None = None,
) -> Path:
    """A YOLOX whose cell 100 sees a person, as surely as the image is blue."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    base, person = np.zeros((1, 126, 7), np.float32), np.zeros((1, 126, 7), np.float32)
    base[0, CELL] = [*(box or (0.5, 0.25, log_size, log_size)), 0, 1, 0]
    person[0, CELL, 4] = 1 / 255
    arrays = {
        "base": base,
        "person": person,
        "first": np.array([0], np.int64),
        "shape": np.array([-1, 1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["images", "first"], ["blue"], axis=1),
        helper.make_node("ReduceMean", ["blue"], ["mean"], axes=[1, 2, 3]),
        helper.make_node("Reshape", ["mean", "shape"], ["column"]),
        helper.make_node("Mul", ["column", "person"], ["sure"]),
        helper.make_node("Add", ["sure", "base"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "yolox",
        [helper.make_tensor_value_info("images", kind, [batch, 3, HEIGHT, width])],
        [helper.make_tensor_value_info("output", kind, None)],
        [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def picture(blue: int, scale: float = 1.0) -> np.ndarray:
    image = np.zeros((round(HEIGHT * scale), round(WIDTH * scale), 3), np.uint8)
    image[..., 0], image[..., 2] = 255 - blue, blue
    return image


@pytest.mark.parametrize("batch", ["batch", 1, 2])
def test_other_sizes_and_batches(tmp_path: Path, batch: int | str):
    detector = YoloxDetector(network(tmp_path / "net.onnx", batch), threshold=0.3, threads=1)
    assert detector.input_size == (WIDTH, HEIGHT)
    blues = [255, 51, 204, *[102] * 20]
    found = detector([picture(b, scale=2) for b in blues])
    assert len(found) == len(blues)
    np.testing.assert_allclose([d.scores[0] if len(d) else 0 for d in found], [1, 0, 0.8, *[0.4] * 20], atol=1e-3)
    np.testing.assert_allclose(found[0].boxes, [[2 * v for v in CELL_BOX]], atol=1e-3)


def test_boxes_in_the_grey_border_are_dropped(tmp_path: Path):
    detector = YoloxDetector(network(tmp_path / "net.onnx"), threshold=0.01, threads=1)
    full, narrow = np.zeros((64, 70, 3), np.uint8), np.zeros((64, 50, 3), np.uint8)
    full[..., 2] = narrow[..., 2] = 255
    assert [len(d) for d in detector([full, narrow])] == [1, 0]  # the box begins at x = 60


def test_images_that_cannot_be_used_are_named(tmp_path: Path):
    detector = YoloxDetector(network(tmp_path / "net.onnx"), threads=1)
    with pytest.raises(ValueError, match="image 1 must be uint8"):
        detector([picture(0), picture(0).astype(np.float32)])
    grey = detector([np.full((HEIGHT, WIDTH), 255, np.uint8)])
    assert len(grey[0]) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 128}, "it gives"),
        ({"width": 100}, "it takes images"),
        ({"batch": 1, "width": "width"}, "it takes images"),
    ],
)
def test_foreign_networks_are_refused(tmp_path: Path, changes: dict[str, Any], reason: str):
    with pytest.raises(ValueError, match=f"no YOLOX network: {reason}"):
        YoloxDetector(network(tmp_path / "net.onnx", **changes))


def test_a_decoded_export_is_refused(tmp_path: Path):
    detector = YoloxDetector(network(tmp_path / "net.onnx", log_size=300.0))
    with pytest.raises(ValueError, match="decoded already"):
        detector([picture(255)])


@pytest.mark.parametrize(
    "box",
    [
        (72, 4, 24, 24),  # what the decoding makes of the cell's box
        (72, 4, 3, 5),  # a tiny person: as logarithms these sides are not large
        (9, 4, 1, 2),
        (1, 1, 8, 30),  # in the corner, where pixels look like offsets
    ],
)
def test_a_decoded_export_is_refused_however_small_its_people_are(tmp_path: Path, box: tuple[float, float, float, float]):
    detector = YoloxDetector(network(tmp_path / "net.onnx", box=box))
    assert len(detector([picture(0)])[0]) == 0
    with pytest.raises(ValueError, match="decoded already"):
        detector([picture(255)])


@pytest.mark.parametrize("scale", [1, 1 / WIDTH])
def test_a_decoded_export_is_refused_when_it_is_opened(tmp_path: Path, scale: float):
    """In pixels, and as shares of the picture, which look like offsets."""
    path = network(tmp_path / "net.onnx")
    model = onnx.load(path)
    base = next(array for array in model.graph.initializer if array.name == "base")
    values = onnx.numpy_helper.to_array(base).copy()
    cells, strides = grid((WIDTH, HEIGHT))
    values[0, :, :2] = (cells + np.random.default_rng(0).uniform(0, 1, cells.shape)) * strides * scale
    base.CopyFrom(onnx.numpy_helper.from_array(values, "base"))
    onnx.save(model, path)
    with pytest.raises(ValueError, match="decoded already"):
        YoloxDetector(path)


@pytest.mark.parametrize("box", [(-2.5, 3.5, 2.4, 2.4), (0.4, 3.5, -1.0, 3.1)])
def test_what_a_trained_network_can_give_is_not_refused(tmp_path: Path, box: tuple[float, float, float, float]):
    assert len(YoloxDetector(network(tmp_path / "net.onnx", box=box))([picture(255)])[0]) == 1


@pytest.mark.parametrize(
    "setting", [{"threshold": -0.1}, {"threshold": 1.1}, {"nms": 2}, {"threads": 0}, {"device": "tpu"}]
)
def test_impossible_settings(tmp_path: Path, setting: dict[str, Any]):
    with pytest.raises(ValueError, match=next(iter(setting))):
        YoloxDetector(network(tmp_path / "net.onnx"), **setting)


def test_make_detector_passes_settings_on(tmp_path: Path):
    detector = make_detector(network(tmp_path / "net.onnx"), threshold=0.7, threads=1)
    assert isinstance(detector, YoloxDetector) and detector.threshold == 0.7
    assert make_detector(str(tmp_path / "net.onnx")).threshold == 0.3


# non-maximum suppression


def test_a_crowd_stays_a_crowd():
    """300 people side by side, overlapping by a third, each found five times."""
    rng = np.random.default_rng(0)
    corners = np.stack(np.meshgrid(np.arange(30) * 40.0, np.arange(10) * 160.0), axis=-1).reshape(-1, 2)
    people = np.concatenate([corners, corners + np.array([60, 160])], axis=1)
    boxes = np.repeat(people, 5, axis=0) + rng.uniform(-2, 2, (1500, 4))
    scores = rng.uniform(0.3, 1, 1500)
    keep = suppress(boxes, scores, 0.5)
    assert sorted(keep // 5) == list(range(300))
    assert set(keep) == set(scores.reshape(300, 5).argmax(axis=1) + np.arange(300) * 5)


numbers = st.integers(0, 12)
rows = st.lists(st.tuples(numbers, numbers, st.integers(1, 8), st.integers(1, 8), st.integers(0, 100)), max_size=15)


@settings(max_examples=60, deadline=None)
@given(rows, st.sampled_from([0.0, 0.31, 0.5, 1.0]))
def test_suppression_drops_what_a_better_box_covers_and_nothing_else(rows, limit):
    table = np.array(rows, np.float32).reshape(-1, 5)
    boxes, scores = xywh_to_xyxy(table[:, :4]), table[:, 4]
    keep = suppress(boxes, scores, limit)
    assert (np.diff(scores[keep]) <= 0).all()
    for i in range(len(boxes)):
        better = [k for k in keep if (scores[k], -k) > (scores[i], -i)]
        assert (i in keep) != any(iou(boxes[k], boxes[i]) > limit for k in better)
