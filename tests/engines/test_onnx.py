"""Opening ONNX files: what is wrong is said, and a device that is not there is never replaced in silence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gtpt.engines.onnx import open_session

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def network() -> bytes:
    """y = 2 x."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    x, y = (helper.make_tensor_value_info(n, kind, ["batch"]) for n in "xy")
    two = helper.make_tensor("two", kind, [], [2.0])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "two"], ["y"])], "double", [x], [y], [two])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def test_runs_from_path_and_from_bytes(network: bytes, tmp_path: Path):
    path = tmp_path / "größe.onnx"
    path.write_bytes(network)
    for model in (network, path, str(path)):
        (y,) = open_session(model, threads=1).run(None, {"x": np.array([1, 2], np.float32)})
        assert y.tolist() == [2, 4]


def test_threads(network: bytes):
    options = open_session(network, threads=3).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"  # or the next network waits for a core
    for threads in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            open_session(network, threads=threads)


def test_unknown_device_lists_the_known_ones(network: bytes):
    with pytest.raises(ValueError, match=r"no device 'gpu'.*'cpu', 'cuda', 'coreml'"):
        open_session(network, device="gpu")


@pytest.mark.parametrize("device", ["cuda", "coreml"])
def test_missing_device_is_an_error_that_says_what_is_there(network: bytes, device: str):
    provider = {"cuda": "CUDAExecutionProvider", "coreml": "CoreMLExecutionProvider"}[device]
    if provider in ort.get_available_providers():
        pytest.skip(f"this machine has {device}")
    with pytest.raises(ValueError, match=rf"no device '{device}' here, only \['cpu'"):
        open_session(network, device=device)


def test_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no ONNX file"):
        open_session(tmp_path / "no.onnx")


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "foreign"])
def test_broken_files_say_what_was_expected(network: bytes, damage: str, tmp_path: Path):
    content = {"cut": network[:-20], "empty": b"", "text": b"<html>404</html>", "foreign": b"PK\x03\x04" * 99}[damage]
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken.onnx: expected a complete ONNX network"):
        open_session(path)
    with pytest.raises(ValueError, match="the ONNX data: expected a complete ONNX network"):
        open_session(content)


def test_onnxruntime_is_loaded_only_when_it_is_used():
    code = "import sys, gtpt.detect, gtpt.weights, gtpt.engines.onnx; print({'onnxruntime', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
