"""A YOLO-pose data set becomes what our reader and trainer take, with the same people in the same places."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from gtpt import load_skeleton
from gtpt.cli import main
from gtpt.core.errors import AnnotationError
from gtpt.data.coco import read_coco
from gtpt.data.yolo import from_yolo, label_path
from gtpt.train.config import load_experiment
from gtpt.train.run import training_set

NAMES = ["tip", "left_end", "right_end"]


def write_yolo(root: Path, *, values: int = 3, **changes: object) -> Path:
    """Two images of 200x100 with two objects and one, in the usual folders."""
    rows = {
        "a": ["0 0.5 0.5 0.5 0.8 0.5 0.1 2 0.3 0.9 1 0 0 0", "0 0.25 0.5 0.2 0.4 0.2 0.3 2 0.3 0.6 2 0.2 0.6 2"],
        "b": ["1 0.5 0.5 1 1 0.5 0.5 2 0.5 0.5 2 0.5 0.5 2", "0 0.75 0.5 0.5 1 0.9 0.1 2 0.6 0.9 2 0.7 0.8 2"],
        "c": [],
    }
    for name, lines in rows.items():
        split = "val" if name == "b" else "train"
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / f"images/{split}/{name}.png"), np.full((100, 200, 3), 90, np.uint8))
        if lines:
            kept = [
                " ".join(t for i, t in enumerate(line.split()) if values == 3 or i < 5 or (i - 5) % 3 != 2)
                for line in lines
            ]
            (root / f"labels/{split}/{name}.txt").write_text("\n".join(kept) + "\n\n")
    data = {
        "path": "/no/such/machine",
        "train": "images/train",
        "val": "images/val",
        "kpt_shape": [3, values],
        "flip_idx": [0, 2, 1],
        "names": {0: "bird", 1: "cage"},
        "kpt_names": {0: NAMES},
        **changes,
    }
    (root / "data.yaml").write_text(yaml.safe_dump(data))
    return root / "data.yaml"


@pytest.mark.parametrize("values", [2, 3])
def test_people_and_places_survive(tmp_path, values):
    done = from_yolo(write_yolo(tmp_path / "set", values=values), tmp_path / "out", object_class="bird")
    skeleton = load_skeleton(done.skeleton)
    assert skeleton.keypoints == tuple(NAMES) and skeleton.flip_pairs == ((1, 2),)
    persons = read_coco(done.splits["train"][0], skeleton)
    np.testing.assert_allclose(persons.boxes, [[50, 10, 99, 79], [30, 30, 39, 39]])  # clipped as the official reader does
    np.testing.assert_allclose(persons.keypoints[0], [[100, 10], [60, 90], [0, 0]])
    np.testing.assert_array_equal(persons.visible, [[1, 1, 0], [1, 1, 1]])
    assert done.splits["train"][1:] == (2, 2), "the image without a label file has nobody"
    other = read_coco(done.splits["val"][0], skeleton)
    np.testing.assert_allclose(other.keypoints, [[[180, 10], [120, 90], [140, 80]]])
    annotation = json.loads(done.splits["train"][0].read_text())["annotations"][0]
    assert annotation["num_keypoints"] == 2 and annotation["area"] == pytest.approx(0.53 * 100 * 80)


def test_its_experiment_can_be_trained(tmp_path, monkeypatch, capsys):
    """The command says how to go on, and what it wrote is a valid experiment whose images are found."""
    monkeypatch.chdir(tmp_path)
    write_yolo(Path("set"), names=["bird"], val=None)
    (Path("set/labels/train/a.txt")).write_text("0 0.5 0.5 0.5 0.8 0.5 0.1 2 0.3 0.9 2 0.4 0.4 2\n")
    with pytest.raises(SystemExit, match="0"):
        main(["data", "from-yolo", "set/data.yaml", "--out", "birds"])
    assert "gtpt train --cfg birds/experiment.yaml" in capsys.readouterr().out.replace("\\", "/")
    experiment = load_experiment("birds/experiment.yaml")
    item = training_set(experiment)[0, 0]
    assert item["crop"].shape == (256, 192, 3) and item["crop"].max() > 80 and experiment.data.val is None


def test_unnamed_keypoints_are_numbered(tmp_path):
    path = write_yolo(tmp_path / "set", kpt_names=None, flip_idx=None)
    skeleton = load_skeleton(from_yolo(path, tmp_path / "out", object_class=0).skeleton)
    assert skeleton.keypoints == ("keypoint_0", "keypoint_1", "keypoint_2") and not skeleton.flip_pairs


def test_lists_of_images(tmp_path):
    path = write_yolo(tmp_path / "set", train="train.txt", val=None)
    (tmp_path / "set/train.txt").write_text("./images/val/b.png\nimages/train/a.png\n")
    assert from_yolo(path, tmp_path / "out", object_class="bird").splits["train"][1:] == (2, 3)


@pytest.mark.parametrize("train", ["images\\train", "../images/train", "..\\images\\train", "train.txt"])
def test_places_as_windows_and_roboflow_write_them(tmp_path, train):
    path = write_yolo(tmp_path / "set", train=train)
    (tmp_path / "set/train.txt").write_text(".\\images\\train\\a.png\nimages/train/c.png\n")
    assert from_yolo(path, tmp_path / "out", object_class="bird").splits["train"][1:] == (2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kpt_shape": None}, "kpt_shape must be"),
        ({"kpt_shape": [3, 4]}, "kpt_shape must be"),
        ({"kpt_shape": [4, 3], "flip_idx": None, "kpt_names": None}, r"a.txt, line 1 has 14 numbers.*: 17"),
        ({"flip_idx": [0, 1, 1]}, "flip_idx must name each"),
        ({"flip_idx": [1, 2, 0]}, "flip_idx must name each"),
        ({"flip_idx": ["1", "0", "2"]}, "flip_idx must name each"),
        ({"kpt_names": {0: ["a"]}}, "kpt_names has 1 names"),
        ({"train": "images"}, None),
        ({"train": "nowhere"}, "names 'nowhere'"),
        ({"train": None}, "names no training images"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changes, message):
    path = write_yolo(tmp_path / "set", **changes)
    if message is None:
        from_yolo(path, tmp_path / "out", object_class="bird")
        return
    with pytest.raises((AnnotationError, FileNotFoundError), match=message):
        from_yolo(path, tmp_path / "out", object_class="bird")


def test_a_class_must_be_chosen_among_several(tmp_path):
    with pytest.raises(AnnotationError, match=r"classes \{0: 'bird', 1: 'cage'\}"):
        from_yolo(write_yolo(tmp_path / "set"), tmp_path / "out")


@pytest.mark.parametrize(
    "line",
    [
        "0 0.5 0.5 x 1 0 0 2 0 0 2 0 0 2",
        "0 50 50 20 30 0 0 2 0 0 2 0 0 2",
        "0 0.5 0.5 0.1 nan 0 0 2 0 0 2 0 0 2",
        "0 0.5 0.5 0.1 0.1 100 50 2 0 0 2 0 0 2",  # keypoints in pixels
        "0 0.5 0.5 0.1 0.1 0 0 nan 0 0 2 0 0 2",
        "7 0.5 0.5 0.1 0.1 0 0 2 0 0 2 0 0 2",  # no such class
    ],
)
def test_bad_lines_are_named(tmp_path, line):
    path = write_yolo(tmp_path / "set")
    (tmp_path / "set/labels/train/a.txt").write_text(line)
    with pytest.raises(AnnotationError, match=r"a.txt, line 1"):
        from_yolo(path, tmp_path / "out", object_class="bird")


def test_labels_lie_beside_the_last_images_folder():
    assert label_path(Path("x/images/y/images/z/p.jpeg")) == Path("x/images/y/labels/z/p.txt")
    assert label_path(Path("flat/p.jpg")) == Path("flat/p.txt")
