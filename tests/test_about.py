"""What `gtpt info` says of each kind of file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import gtpt
from gtpt.about import about
from gtpt.cli.app import app
from gtpt.weights import resolve

NETWORK = {"network": "gtpt-t", "skeleton": "coco17", "keypoints": 17, "keep_rates": [1.0, 0.7, 0.3, 0.1]}
SKELETON = (
    "name: lamp\nkeypoints: [base, left_end, right_end]\ngroups: {foot: {keypoints: [base]}, top: {keypoints: ['*_end']}}\n"
)


def holds(found: dict, expected: dict) -> None:
    assert {key: found[key] for key in expected} == expected


def test_a_registered_name_and_its_export(tmp_path: Path) -> None:
    size = gtpt.PoseEstimator().input_size
    bundled = resolve("gtpt-t-coco17", format="onnx")
    found = about("gtpt-t-coco17")
    holds(found, {**NETWORK, "kind": "exported network", "input_size": list(size), "batch": "any", "licence": "Apache-2.0"})
    assert set(found["files"]) == {"onnx", "safetensors"} and found["files"]["onnx"]["status"] == "bundled"
    copy = shutil.copy(bundled, tmp_path / "mine.onnx")
    holds(about(copy), {**NETWORK, "calibrated": True, "file": str(copy), "bytes": bundled.stat().st_size})
    ran = CliRunner().invoke(app, ["info", str(copy), "--json"])
    assert json.loads(ran.output) == about(copy)
    (tmp_path / "damaged.onnx").write_bytes(bundled.read_bytes()[:-5000])
    with pytest.raises(gtpt.GtptError, match=r"damaged\.onnx"):
        about(tmp_path / "damaged.onnx")


def test_what_is_not_here_is_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GTPT_CACHE", str(tmp_path))
    holds(about("yolox-s"), {"kind": "registered weights", "task": "detector"})
    assert about("yolox-s")["files"]["onnx"]["status"] == "remote" and not list(tmp_path.iterdir())


def test_skeletons(tmp_path: Path) -> None:
    (tmp_path / "lamp.yaml").write_text(SKELETON)
    holds(
        about(tmp_path / "lamp.yaml"),
        {
            "kind": "skeleton",
            "names": ["base", "left_end", "right_end"],
            "groups": {"foot": ["base"], "top": ["left_end", "right_end"]},
            "mirrored": [["left_end", "right_end"]],
        },
    )
    assert about("coco_wholebody133")["parts"] == {
        "face": 68,
        "left_hand": 21,
        "right_hand": 21,
        "left_foot": 3,
        "right_foot": 3,
    }


def test_checkpoints(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    ours = about(resolve("gtpt-t-coco17", format="safetensors"))
    holds(ours, {**NETWORK, "kind": "weights to train on", "calibrated": True})
    torch.save(gtpt.model.to_official_state(gtpt.model.build("gtpt-t")), tmp_path / "theirs.pth")
    theirs = about(tmp_path / "theirs.pth")
    holds(theirs, {**NETWORK, "kind": "checkpoint of the authors' code", "calibrated": False, "input_size": [192, 256]})
    assert f"{theirs['parameters'] / 1e6:.4f}" == "2.4056" and f"{theirs['macs'] / 1e9:.3f}" == "0.727"

    state = {"net.weight": torch.zeros(3, 4), "ema.weight": torch.zeros(3, 4)}
    content = {"epoch": 2, "global_step": 70, "state_dict": state, "skeleton": {"keypoints": ("nose", "tail")}}
    torch.save(content, tmp_path / "last.ckpt")
    holds(about(tmp_path / "last.ckpt"), {"epoch": 2, "step": 70, "names": ["nose", "tail"], "numbers": 12})
    torch.save(state, tmp_path / "last.ckpt")
    with pytest.raises(gtpt.GtptError, match="no checkpoint of a training run"):
        about(tmp_path / "last.ckpt")


def test_files_of_others(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in "ab"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["a"], ["b"])], "neg", tensors[:1], tensors[1:])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9), tmp_path / "a.onnx"
    )
    holds(
        about(tmp_path / "a.onnx"), {"kind": "ONNX network that gtpt did not write", "arrays": {"a": [1, 3], "b": [1, 3]}}
    )
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(gtpt.GtptError, match=r"a\.npy.*\.onnx, \.safetensors"):
        about(tmp_path / "a.npy")
    with pytest.raises(FileNotFoundError, match="gtpt-t-coco17"):
        about("gone")
