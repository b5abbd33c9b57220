"""Which patches were kept: an exported file says the same as the network itself, without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gtpt
from gtpt.core.errors import GtptError, WeightsError
from gtpt.core.skeleton import Skeleton, load_skeleton
from gtpt.engines import open_engine
from gtpt.engines.kept import kept_patches, pruning_stages, with_choices, with_named_choices
from gtpt.model.config import make_config
from gtpt.weights import resolve

PHOTO = Path(__file__).parents[2] / "examples/photos/astronaut.jpg"
BOXES = np.array([[60, 0, 420, 512], [100, 0, 300, 300]])


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return gtpt.PoseEstimator(threads=1).crops(gtpt.read_image(PHOTO), BOXES)[0]


def assert_same_sets(found: dict[str, list[np.ndarray]], expected: dict[str, list[np.ndarray]]) -> None:
    assert list(found) == list(expected)
    for stage, groups in expected.items():
        for ours, theirs in zip(found[stage], groups, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=stage)


def test_the_bundled_file_says_what_the_network_says(crops: np.ndarray) -> None:
    pytest.importorskip("torch")
    network = open_engine(resolve("gtpt-t-coco17", format="safetensors"), "torch", threads=1)
    exported = open_engine(resolve("gtpt-t-coco17", format="onnx"), threads=1)
    assert_same_sets(exported.kept(crops), network.kept(crops))  # type: ignore[attr-defined]


@pytest.mark.integration
def test_a_whole_body_of_a_fixed_batch(crops: np.ndarray, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from gtpt.export import export_onnx
    from gtpt.model import build, save

    torch.manual_seed(0)
    network = build("gtpt-t", "coco_wholebody133", keep_rates=(0.9, 0.8, 0.7, 0.6))
    save(network, tmp_path / "net.safetensors")
    export_onnx(network, tmp_path / "net.onnx", batch=2)
    three = np.concatenate([crops, crops[:1]])
    found = open_engine(tmp_path / "net.onnx", threads=1).kept(three)  # type: ignore[attr-defined]
    expected = open_engine(tmp_path / "net.safetensors", "torch", threads=1).kept(three)  # type: ignore[attr-defined]
    assert list(expected) == ["coarse0", "coarse3", "entry", "group3"]
    assert_same_sets(found, expected)


@pytest.mark.parametrize("rates", [(1, 0.7, 0.5, 0.3), (0.9, 0.9, 0.6, 0.6), (1, 1, 1, 1)])
def test_stages_are_those_of_the_network(rates: tuple[float, ...]) -> None:
    torch = pytest.importorskip("torch")
    from gtpt.model import build

    network = build("gtpt-t", "coco_wholebody133", keep_rates=rates).eval()
    with torch.no_grad():
        kept = network(torch.zeros(1, 3, 256, 192), return_kept=True).kept
    stages = pruning_stages(network.config)
    assert {stage: len(groups) for stage, groups in kept.items()} == {s: max(len(g), 1) for s, g in stages.items()}


def test_a_group_that_prunes_nothing_on_entering_is_told_too() -> None:
    """Where all patches stay only the group with fine keypoints loses some, as many as these are."""
    torch = pytest.importorskip("torch")
    from gtpt.model import build

    groups = {"hand": {"keypoints": ["a"], "parts": {"fingers": ["b", "c"]}}, "foot": {"keypoints": ["d"]}}
    network = build("gtpt-t", Skeleton.from_dict({"name": "few", "keypoints": list("abcd"), "groups": groups})).eval()
    with torch.no_grad():
        kept = network(torch.zeros(1, 3, 256, 192), "entire", return_kept=True).kept
    assert {stage: [ids.shape[1] for ids in groups] for stage, groups in kept.items()} == {"entry": [254, 256]}


def test_choices_count_within_what_is_left() -> None:
    config = make_config("gtpt-t", load_skeleton("coco17"), keep_rates=(1, 0.7, 0.7, 0.3))
    coarse = np.array([[255, 3, 9, *range(20, 196)]])
    third = [np.array([[0, 2, *range(5, 79 - 4)]]), np.array([[1, *range(3, 75)]]), np.array([[2, 1, *range(10, 80)]])]
    kept = kept_patches(config, [coarse, *third])
    assert list(kept) == ["coarse3", "group3"]  # nothing is pruned on entering
    np.testing.assert_array_equal(kept["coarse3"][0], np.sort(coarse))
    for choice, found in zip(third, kept["group3"], strict=True):
        np.testing.assert_array_equal(found[0], np.sort(coarse[0][choice[0]]))


def test_a_file_with_other_choices_is_refused() -> None:
    model, config = resolve("gtpt-t-coco17", format="onnx").read_bytes(), make_config("gtpt-t", keep_rates=(1, 1, 1, 1))
    with pytest.raises(WeightsError, match="shows 7 choices of patches, its configuration has 0"):
        with_choices(model, config)


def test_a_file_can_say_which_output_is_of_which_stage(crops: np.ndarray) -> None:
    ort = pytest.importorskip("onnxruntime")
    exported = open_engine(resolve("gtpt-t-coco17", format="onnx"), threads=1)
    config = exported.info.config
    session = ort.InferenceSession(with_named_choices(resolve("gtpt-t-coco17", format="onnx").read_bytes(), config))
    stages = json.loads(session.get_modelmeta().custom_metadata_map["kept"])
    assert {stage["name"]: tuple(stage["groups"]) for stage in stages} == pruning_stages(config)
    names = [name for stage in stages for name in stage["outputs"]]
    assert_same_sets(kept_patches(config, session.run(names, {"crops": crops})), exported.kept(crops))  # type: ignore[attr-defined]


def test_the_sheet_needs_no_torch(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["torch"] = None
import gtpt
summary = gtpt.predict(sys.argv[1], sys.argv[2], boxes="whole-image", explain=True, quiet=True)
assert summary.exit_code == 0 and not summary.skipped, summary
"""
    subprocess.run([sys.executable, "-c", code, str(PHOTO), str(tmp_path)], check=True)
    assert gtpt.read_image(tmp_path / "astronaut_0_explain_0.png").shape[0] > 1000


def test_openvino_shows_nothing() -> None:
    class Silent:
        pass

    estimator = gtpt.PoseEstimator(threads=1)
    estimator.engine = Silent()  # type: ignore[assignment]
    with pytest.raises(GtptError, match=r"Silent does not show.*onnxruntime or torch"):
        gtpt.viz.explain(estimator, np.zeros((9, 9, 3), np.uint8), None)  # type: ignore[arg-type]
