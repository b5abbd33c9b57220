"""Other networks are run as their makers meant: their arithmetic, and where their points lie."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import accuracy
import cv2
import torch
from tfjs import OPERATIONS, GraphModel

from gtpt.core.errors import InputError


def text(value: str) -> dict[str, str]:
    return {"s": b64encode(value.encode()).decode()}


def convolution(stride: int, padding: str = "SAME", fused: tuple[str, ...] = ()) -> dict:
    return {
        "strides": {"list": {"i": ["1", str(stride), str(stride), "1"]}},
        "dilations": {"list": {"i": ["1"] * 4}},
        "padding": text(padding),
        "fused_ops": {"list": {"s": [text(name)["s"] for name in fused]}},
    }


def test_an_odd_pixel_of_padding_is_on_the_right():
    x, kernel = torch.arange(16.0).reshape(1, 4, 4, 1), torch.zeros(3, 3, 1, 1)
    kernel[0, 0] = 1  # the pixel itself, where nothing is padded on the left
    y = OPERATIONS["_FusedConv2D"](convolution(2), x, kernel)
    assert y.flatten().tolist() == [0, 2, 8, 10]
    x = torch.arange(1.0, 26).reshape(1, 5, 5, 1)  # odd: a pixel on either side
    assert OPERATIONS["_FusedConv2D"](convolution(2), x, kernel).flatten().tolist() == [0, 0, 0, 0, 7, 9, 0, 17, 19]
    assert OPERATIONS["_FusedConv2D"](convolution(2, "VALID"), x, kernel).flatten().tolist() == [1, 3, 11, 13]


def test_channels_bias_and_activation():
    x = torch.tensor([1.0, 10.0]).reshape(1, 1, 1, 2)
    kernel = torch.tensor([[1.0, 2, 3], [0, 1, -1]]).reshape(1, 1, 2, 3)  # so 1, 12 and -7
    y = OPERATIONS["_FusedConv2D"](convolution(1, fused=("BiasAdd", "Relu6")), x, kernel, torch.tensor([0.5, 0, 0]))
    assert y.flatten().tolist() == [1.5, 6, 0]
    each = OPERATIONS["DepthwiseConv2dNative"](convolution(1), x, torch.tensor([2.0, 3.0]).reshape(1, 1, 2, 1))
    assert each.flatten().tolist() == [2, 30]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The input, halved, and its first pixel after the last."""
    nodes = [
        {"name": "sum", "op": "Mul", "input": ["parts:1", "half", "^parts"]},
        {"name": "parts", "op": "Unpack", "input": ["image"], "attr": {"axis": {"i": "0"}}},
        {"name": "image", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": [{"size": "2"}, {"size": "3"}]}}}},
        {"name": "half", "op": "Const"},
    ]
    weights = [{"name": "other", "shape": [3], "dtype": "int32"}]
    weights += [{"name": "half", "shape": [3], "dtype": "float32", "quantization": {"dtype": "float16"}}]
    data = {
        "signature": {"outputs": {"sum:0": {}}},
        "modelTopology": {"node": nodes},
        "weightsManifest": [{"paths": ["weights.bin"], "weights": weights}],
    }
    content = np.array([1, 2, 3], np.int32).tobytes() + np.array([0.5, 1, 2], np.float16).tobytes()
    (tmp_path / "weights.bin").write_bytes(content)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(data))
    return path


def test_a_graph(model):
    network = GraphModel(model)
    assert network.shape == [2, 3]
    (found,) = network(np.array([[1, 2, 3], [4, 5, 6]], np.float32)).values()
    assert found.tolist() == [2, 5, 12]


def test_a_graph_of_unknown_operations(model):
    model.write_text(model.read_text().replace("Unpack", "Sorcery"))
    with pytest.raises(InputError):
        GraphModel(model)


class Fixed:
    """A network that finds the same whatever it sees."""

    def __init__(self, **outputs: np.ndarray):
        self.shape, self.outputs = [1, 65, 65, 3], outputs

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        self.seen = image
        return self.outputs


BOX = np.array([20, 10, 30, 40])  # so the square is 50 wide and begins at (10, 5)


def test_movenet_gives_y_first_in_shares_of_the_square():
    found = np.tile([0.2, 0.8, 0.9], (1, 1, 17, 1))
    points, scores = accuracy.movenet_network(Fixed(out=found))(np.zeros((60, 70, 3), np.uint8), BOX)
    np.testing.assert_allclose(points, np.tile([10 + 0.8 * 50, 5 + 0.2 * 50], (17, 1)))
    np.testing.assert_allclose(scores, 0.9)


def test_posenet_adds_the_offset_of_the_best_cell():
    heat, offsets = np.full((1, 5, 5, 17), -9.0), np.zeros((1, 5, 5, 34))
    heat[0, 1, 3] = 0.0
    offsets[0, 1, 3, :17], offsets[0, 1, 3, 17:] = -3, 4  # y, x
    network = Fixed(heatmap=heat, offset_2=offsets)
    image = np.zeros((60, 70, 3), np.uint8)
    image[:30] = 255
    points, scores = accuracy.posenet_network(network)(image, BOX)
    np.testing.assert_allclose(points, np.tile([10 + (48 + 4) * 50 / 65, 5 + (16 - 3) * 50 / 65], (17, 1)))
    np.testing.assert_allclose(scores, 0.5)
    assert (network.seen.min(), network.seen.max()) == (-1, 1)


def test_figures_are_of_the_annotated_people(tmp_path):
    rng = np.random.default_rng(0)
    joints = rng.uniform(10, 50, (4, 17, 2)).round(1)
    people = [
        {
            **{"id": i + 1, "image_id": i + 1, "category_id": 1, "iscrowd": 0, "bbox": [5, 5, 50, 50], "area": 2000},
            "keypoints": np.concatenate([points, np.full((17, 1), 2)], axis=1).ravel().tolist(),
        }
        for i, points in enumerate(joints)
    ]
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((60, 70, 3), i, np.uint8))
    images = [{"id": i + 1, "file_name": f"{i}.png", "width": 70, "height": 60} for i in range(4)]
    data = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "annotations.json").write_text(json.dumps(data))
    report = accuracy.measure(lambda image, box: (joints[image[0, 0, 0]], np.ones(17)), tmp_path)
    assert (report.ap, report.persons, report.detections) == (1, 4, 4)
    half = accuracy.measure(lambda image, box: (joints[image[0, 0, 0] // 2 * 2], np.ones(17)), tmp_path)
    assert half.figures["body"]["AR"] == 0.5
