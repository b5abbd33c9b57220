"""A network is measured on people of whom only some of its keypoints are labelled, in an order of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from gtpt.cli import main
from gtpt.core.errors import InputError
from gtpt.engines import open_engine
from gtpt.evaluate.run import evaluate_network
from gtpt.weights import resolve

from ..data.figures import few_points, write_set, write_skeleton

pytest.importorskip("faster_coco_eval")
NAMES = ("left_ankle", "nose", "right_wrist", "left_hip")
PLACES = [15, 0, 10, 11]  # of them in coco17


@pytest.fixture
def engine():
    return open_engine(resolve("gtpt-t-coco17", format="onnx"), threads=1)


def labelled_as_found(folder: Path, engine) -> np.ndarray:
    """Exchange the labels of a set for four keypoints where the network finds them; returns all that it finds."""
    path = folder / "annotations.json"
    found = evaluate_network(engine, path, folder / "images").found.keypoints
    data = json.loads(path.read_text())
    for person, points in zip(data["annotations"], found, strict=True):
        person["keypoints"] = np.insert(points[PLACES], 2, 2, axis=1).ravel().tolist()
    data["categories"][0]["keypoints"] = list(NAMES)
    path.write_text(json.dumps(data))
    return found


def test_some_of_the_keypoints_are_measured_by_name(engine, tmp_path: Path) -> None:
    folder, out = write_set(tmp_path / "set", 5), tmp_path / "results.json"
    everything = labelled_as_found(folder, engine)
    report, persons, found = evaluate_network(
        engine, folder / "annotations.json", folder / "images", skeleton=few_points(*NAMES), out=out
    )
    assert report.ap == 1 and report.skeleton == "few" and "coco17" in report.protocol.network
    np.testing.assert_array_equal(found.keypoints, everything[:, PLACES])
    np.testing.assert_allclose(persons.keypoints, found.keypoints, atol=1e-4)
    assert [len(result["keypoints"]) for result in json.loads(out.read_text())] == [12] * 5


def test_keypoints_that_the_network_lacks_are_named(engine, tmp_path: Path) -> None:
    folder, names = write_set(tmp_path / "set", 1), ("hat", "nose", "tail")
    data = json.loads((folder / "annotations.json").read_text())
    data["annotations"][0]["keypoints"] = [5, 6, 2] * 3
    data["categories"][0]["keypoints"] = list(names)
    (folder / "annotations.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="'few' has hat, tail, which a network of 'coco17' does not find"):
        evaluate_network(
            engine,
            folder / "annotations.json",
            folder / "images",
            skeleton=few_points(*names),
            out=tmp_path / "results.json",
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]  # no empty results


def test_the_command_takes_the_skeleton_of_the_annotations(engine, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """By an option, or as the experiment says it, whose own does not hold for other annotations."""
    folder, path = write_set(tmp_path / "set", 3), write_skeleton(tmp_path / "few.yaml", few_points(*NAMES))
    labelled_as_found(folder, engine)
    data = ["--annotations", str(folder / "annotations.json"), "--images", str(folder / "images")]
    command = ["test", "--checkpoint", "gtpt-t-coco17", "--json"]
    cfg = tmp_path / "some.yaml"
    source = {"annotations": f"{folder}/annotations.json", "images": f"{folder}/images", "skeleton": str(path)}
    cfg.write_text(yaml.safe_dump({"out": str(tmp_path / "run"), "model": {"name": "gtpt-t"}, "data": {"val": source}}))
    for more in ([*data, "--skeleton", str(path)], ["--cfg", str(cfg)]):
        with pytest.raises(SystemExit, match="0"):
            main([*command, *more])
        report = json.loads(capsys.readouterr().out)
        assert report["skeleton"] == "few" and report["figures"]["body"]["AP"] == 1
    with pytest.raises(SystemExit, match="1"):
        main([*command, "--cfg", str(cfg), *data])
    assert "'left_ankle'" in capsys.readouterr().err
