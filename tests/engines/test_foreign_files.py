"""ONNX files with our header that are something else: refused when they are opened, by the first crop."""

import json

import numpy as np
import pytest

import gtpt.engines.onnx
from gtpt.core.errors import WeightsError
from gtpt.core.skeleton import load_skeleton
from gtpt.engines import open_engine
from gtpt.engines.seal import check_seal, seal
from gtpt.model.config import make_config

onnx = pytest.importorskip("onnx")
helper = onnx.helper
CONFIG = make_config("gtpt-t", input_size=(48, 64))
X, Y = ((17, bins) for bins in CONFIG.bins)


def write(path, nodes, crops=("n", 64, 48, 3), outputs=(X, Y), kind=onnx.TensorProto.UINT8, header=None):
    """A graph with our header; `nodes` make x and y of crops."""
    inputs = [helper.make_tensor_value_info("crops", kind, crops)]
    made = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "g", inputs, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    text = {"config": CONFIG.to_dict(), "skeleton": load_skeleton("coco17").to_dict(), "input": "uint8", "output": "simcc"}
    helper.set_model_props(model, {"gtpt": json.dumps({**text, **(header or {})})})
    onnx.save(model, path)
    return path


def constant(name, values):
    return helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(np.asarray(values)))


def answers(x=X, y=Y, value=0.0):
    """Nodes that give constants, whatever the crops."""
    return [constant(n, np.full((1, *shape), value, np.float32)) for n, shape in (("x", x), ("y", y))]


def endless():
    """A loop that counts to 2^63."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["sum", "sum"], ["more"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, None),
        ],
    )
    start = [constant("count", np.int64(2**63 - 1)), constant("true", np.array(True))]
    zero = [
        helper.make_node("Cast", ["crops"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["zero"], keepdims=0),
    ]
    loop = helper.make_node("Loop", ["count", "true", "zero"], ["x"], body=body)
    return [*start, *zero, loop, constant("y", np.zeros((1, *Y), np.float32))]


def test_a_file_that_keeps_its_promise(tmp_path):
    x, y = open_engine(write(tmp_path / "good.onnx", answers()))(np.zeros((1, 64, 48, 3), np.uint8))
    assert x.shape == (1, *X) and y.shape == (1, *Y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": answers(x=(17, 95))}, r"gives arrays of the shapes \[\(1, 17, 95\)"),
        ({"nodes": answers(y=(133, 128))}, "its header says"),
        ({"nodes": answers(value=float("nan"))}, "gives no finite numbers"),
        ({"nodes": answers(value=float("inf"))}, "gives no finite numbers"),
        ({"nodes": answers(), "crops": ("n", 256, 192, 3)}, "does not run as its header says"),
        ({"nodes": answers(), "crops": ("n", 3, 64, 48)}, "does not run as its header says"),
        ({"nodes": answers(), "crops": (10**9, 64, 48, 3)}, "takes 1000000000 crops at once"),
        ({"nodes": answers(), "kind": onnx.TensorProto.FLOAT}, "does not run as its header says"),
        ({"nodes": answers(), "header": {"calibration": {"raw": [10**400], "calibrated": [1]}}}, "calibration"),
        ({"nodes": answers(), "header": {"calibration": 5}}, "calibration"),
    ],
)
def test_lies_are_found_when_the_file_is_opened(change, message, tmp_path):
    with pytest.raises(WeightsError, match=message) as refusal:
        open_engine(write(tmp_path / "lie.onnx", **change))
    assert "lie.onnx" in str(refusal.value)


def test_a_loop_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(gtpt.engines.onnx, "PATIENCE", 0.5)
    with pytest.raises(WeightsError, match=r"endless\.onnx does not run as its header says"):
        open_engine(write(tmp_path / "endless.onnx", endless()))


def test_a_flipped_byte_is_noticed(tmp_path):
    """Where the file would still run; and no seal is no mistake."""
    path = write(tmp_path / "net.onnx", answers(value=0.25))
    check_seal(path)
    seal(path)
    assert open_engine(path) and onnx.load(path).metadata_props[-1].key == "sha256"
    changed = bytearray(path.read_bytes())
    changed[changed.index(np.float32(0.25).tobytes()) + 2] ^= 1
    path.write_bytes(changed)
    with pytest.raises(WeightsError, match=r"net\.onnx is not as it was written \(its sha256 differs\)"):
        open_engine(path)
