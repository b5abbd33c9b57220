import doctest
import json
import subprocess
import sys
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtpt import Poses, Skeleton, load_skeleton
from gtpt.data.annotations import Result
from gtpt.io.formats import to_coco, to_csv, to_openpose, to_pandas, to_supervision
from gtpt.io.formats.coco import WHOLEBODY_LISTS

from ...sample import assert_same, make_poses

HORSE = Skeleton.from_dict(
    {"name": "horse", "keypoints": ["left_eye", "right_eye", "tail"], "edges": [["left_eye", "tail"]]}
)


def strict_json(text):
    """As strict as a browser: NaN and Infinity are errors."""

    def fail(constant):
        raise AssertionError(f"{constant} in JSON")

    return json.loads(text, parse_constant=fail)


@pytest.mark.parametrize("skeleton", ["coco17", "coco_wholebody133", HORSE], ids=str)
@pytest.mark.parametrize("people", [0, 1, 3])
def test_json_reads_back_exactly(skeleton, people):
    poses = make_poses(people, skeleton)
    assert_same(Poses.from_dict(strict_json(poses.to_json())), poses)


unknown = st.just(float("nan"))
numbers = st.floats(width=32, allow_infinity=False) | unknown
shares = st.floats(0, 1, width=32) | unknown


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float32, (2, 3, 2), elements=numbers), hnp.arrays(np.float32, (2, 3), elements=shares))
def test_every_float_survives_json(keypoints, scores):
    poses = make_poses(2, HORSE).with_(keypoints=keypoints, keypoint_scores=scores)
    assert_same(Poses.from_dict(strict_json(poses.to_json())), poses)


def test_floats_are_short_in_json():
    poses = make_poses(1).with_(scores=[0.1], keypoints=np.full((1, 17, 2), 123.4), keypoint_scores=np.full((1, 17), 0.7))
    assert '"id":null,' in poses.to_json() and '"score":0.1,' in poses.to_json() and "[123.4,123.4,0.7]," in poses.to_json()
    assert (
        to_coco(poses, 1)[0]["keypoints"]
        == to_openpose(poses)["people"][0]["pose_keypoints_2d"][:51]
        == [123.4, 123.4, 0.7] * 17
    )
    assert ",123.4,123.4,0.7," in to_csv(poses)


def test_a_changed_builtin_skeleton_travels_in_full():
    data = load_skeleton("coco17").to_dict()
    data["keypoints"]["nose"] = 0.5
    poses = make_poses(1, Skeleton.from_dict(data))
    assert poses.to_dict()["skeleton"]["keypoints"]["nose"] == 0.5
    assert make_poses(1).to_dict()["skeleton"] == "coco17"
    assert Poses.from_dict(poses.to_dict()).skeleton.sigmas[0] == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("people"), r"missing keys \['people'\]"),
        (lambda d: d["people"][1].pop("box"), r"person 1 misses the keys \['box'\]"),
        (lambda d: d["people"][0]["keypoints"].pop(), "'keypoints' of the people"),
        (lambda d: d["people"][0].update(score="high"), "'score' of the people must be numbers"),
        (lambda d: [p["box"].append(1) for p in d["people"]], r"'box' of the people must have shape \(3, 4\)"),
        (lambda d: d.update(people=None), "people must be a list of objects, got None"),
        (lambda d: d.update(people=[5]), r"people must be a list of objects, got \[5\]"),
        (lambda d: d.update(skeleton="coco18"), "coco18"),
        (lambda d: d.update(image_size=5), r"Poses\.image_size must be .*got 5"),
        (lambda d: d["people"][2].update(id=1.7), r"Poses\.ids must be .*got 1\.7"),
        (lambda d: d["people"][1].update(score=7), r"Poses\.scores\[1\] is 7"),
    ],
)
def test_bad_dictionaries_are_named(change, message):
    data = make_poses().to_dict()
    change(data)
    with pytest.raises(ValueError, match=message):
        Poses.from_dict(data)


def test_coco_entries():
    poses = make_poses(2, ids=[-1, 7])
    first, second = to_coco(poses, 18519)
    x1, y1, x2, y2 = poses.boxes[1]
    assert second["image_id"] == 18519 and second["category_id"] == 1 and second["track_id"] == 7
    assert "track_id" not in first
    np.testing.assert_allclose(second["bbox"], [x1, y1, x2 - x1, y2 - y1], rtol=1e-6)
    np.testing.assert_array_equal(np.float32(second["keypoints"]).reshape(17, 3), poses.to_numpy()[1])
    assert np.float32(second["score"]) == poses.scores[1]


def test_coco_keeps_the_parts_of_wholebody_apart():
    poses = make_poses(2, "coco_wholebody133")
    entry = to_coco(poses, 1)[1]
    read = {key: np.float32(entry[key]).reshape(-1, 3) for key in WHOLEBODY_LISTS}
    assert [len(part) for part in read.values()] == [17, 6, 68, 21, 21]
    np.testing.assert_array_equal(np.concatenate(list(read.values())), poses.to_numpy()[1])
    for key, name in (("keypoints", "nose"), ("foot_kpts", "left_big_toe"), ("righthand_kpts", "right_hand_wrist")):
        np.testing.assert_array_equal(read[key][0], poses.to_numpy()[1, poses.skeleton.index(name)])
    np.testing.assert_array_equal(
        np.float32(Result.model_validate(entry).joints(poses.skeleton, "results")), poses.to_numpy()[1]
    )


def test_coco_has_one_list_for_any_other_skeleton():
    data = load_skeleton("coco_wholebody133").to_dict()
    data["keypoints"]["navel"] = 0.1
    data["groups"]["legs"]["keypoints"].append("navel")
    for skeleton in (Skeleton.from_dict(data), HORSE):
        (entry,) = to_coco(make_poses(1, skeleton), 1)
        assert len(entry["keypoints"]) == 3 * len(skeleton) and "foot_kpts" not in entry


def test_coco_has_numbers_only():
    poses = make_poses(1)
    poses.keypoints[0, 3] = np.nan
    poses.scores[0] = np.nan
    (entry,) = strict_json(json.dumps(to_coco(poses, 1)))
    assert entry["keypoints"][9:12] == [0, 0, 0] and entry["score"] == 0


def points(person, key="pose_keypoints_2d"):
    return np.float32(person[key]).reshape(-1, 3)


# OpenPose's documentation, "Pose Output Format (BODY_25)"
BODY_25 = {0: "nose", 2: "right_shoulder", 4: "right_wrist", 7: "left_wrist", 9: "right_hip", 11: "right_ankle"}
BODY_25 |= {12: "left_hip", 14: "left_ankle", 15: "right_eye", 16: "left_eye", 17: "right_ear", 18: "left_ear"}
FEET = {19: "left_big_toe", 20: "left_small_toe", 21: "left_heel", 22: "right_big_toe", 24: "right_heel"}


def test_openpose_body_25():
    poses = make_poses(2)
    frame = strict_json(json.dumps(to_openpose(poses)))
    named = dict(zip(poses.skeleton.keypoints, poses.to_numpy()[1], strict=True))
    body = points(frame["people"][1])
    assert frame["version"] == 1.3 and body.shape == (25, 3)
    for index, name in BODY_25.items():
        np.testing.assert_array_equal(body[index], named[name], err_msg=name)
    for index, (a, b) in {1: ("left_shoulder", "right_shoulder"), 8: ("left_hip", "right_hip")}.items():
        np.testing.assert_allclose(body[index, :2], (named[a][:2] + named[b][:2]) / 2, rtol=1e-6)
        assert body[index, 2] == min(named[a][2], named[b][2])
    assert not body[19:].any()  # 17 keypoints have no feet
    person = frame["people"][1]
    assert person["face_keypoints_2d"] == person["hand_left_keypoints_2d"] == person["hand_right_keypoints_2d"] == []
    assert [p["person_id"] for p in frame["people"]] == [[-1], [0]]


def test_openpose_whole_body():
    poses = make_poses(1, "coco_wholebody133")
    (person,) = to_openpose(poses)["people"]
    named = dict(zip(poses.skeleton.keypoints, poses.to_numpy()[0], strict=True))
    body, face = points(person), points(person, "face_keypoints_2d")
    for index, name in FEET.items():
        np.testing.assert_array_equal(body[index], named[name], err_msg=name)
    assert face.shape == (70, 3)
    np.testing.assert_array_equal(face[67], named["face_67"])
    np.testing.assert_array_equal(face[68:], [named["right_eye"], named["left_eye"]])
    for side in ("left", "right"):
        hand = points(person, f"hand_{side}_keypoints_2d")
        assert hand.shape == (21, 3)
        for index, name in {0: "wrist", 4: "thumb_4", 5: "index_1", 20: "pinky_4"}.items():
            np.testing.assert_array_equal(hand[index], named[f"{side}_hand_{name}"], err_msg=name)


def test_openpose_missing_points_are_zero():
    poses = make_poses(1)
    poses.keypoints[0, poses.skeleton.index("left_shoulder")] = np.nan
    body = points(to_openpose(poses)["people"][0])
    assert not body[5].any()
    assert not body[1].any()  # no neck either


def test_openpose_for_controlnet():
    poses = make_poses(1, "coco_wholebody133")
    frame = to_openpose(poses, controlnet=True)
    body = points(frame["people"][0])
    assert (frame["canvas_width"], frame["canvas_height"]) == (640, 480)
    assert body.shape == (18, 3)
    right_hip = poses.skeleton.index("right_hip")
    poses.keypoint_scores[0, right_hip] = 0.3
    np.testing.assert_array_equal(
        points(to_openpose(poses, controlnet=True)["people"][0])[8], [*poses.keypoints[0, right_hip], 1]
    )
    for key in ("pose_keypoints_2d", "face_keypoints_2d", "hand_left_keypoints_2d"):
        values = points(frame["people"][0], key)
        assert set(values[:, 2]) == {0, 1}  # ControlNet drops every point whose score is not 1
        assert not values[values[:, 2] == 0].any()


def test_openpose_needs_the_names():
    with pytest.raises(ValueError, match=r"'horse' has no left_ankle, left_ear.*CSV"):
        to_openpose(make_poses(1, HORSE))
    assert to_openpose(make_poses(0))["people"] == []


def test_openpose_takes_the_neck_of_the_skeleton():
    data = load_skeleton("coco17").to_dict()
    data["keypoints"]["neck"] = 0.08
    data["groups"]["head"]["keypoints"].append("neck")
    poses = make_poses(1, Skeleton.from_dict(data))
    np.testing.assert_array_equal(points(to_openpose(poses)["people"][0])[1], poses.to_numpy()[0, 17])


def test_csv_reads_back_with_pandas(tmp_path):
    poses = make_poses(2, "coco_wholebody133")
    poses.keypoints[0, 4] = np.nan
    path = tmp_path / "poses.csv"
    path.write_text(to_csv(poses))
    read = pd.read_csv(path)
    expected = to_pandas(poses)
    assert list(read) == list(expected)
    assert len(read) == 2 * 133
    for column in read:
        np.testing.assert_array_equal(read[column].to_numpy().astype(expected[column].to_numpy().dtype), expected[column])
    row = expected[(expected["person"] == 1) & (expected["joint"] == "left_wrist")].iloc[0]
    assert row["x"] == poses.keypoints[1, poses.skeleton.index("left_wrist"), 0]
    assert row["id"] == 0 and row["y2"] == poses.boxes[1, 3]


def test_tables_of_nobody_have_their_columns():
    poses = make_poses(0)
    assert to_csv(poses).splitlines() == [",".join(to_pandas(poses).columns)]
    assert poses.to_numpy().shape == (0, 17, 3)


def test_supervision_reads_and_draws_it():
    import supervision as sv

    poses = make_poses(2, ids=[4, 9])
    poses.keypoints[0, 0] = np.nan
    keypoints, detections = to_supervision(poses)
    np.testing.assert_array_equal(keypoints.xy[1], poses.keypoints[1])
    np.testing.assert_array_equal(keypoints.xy[0, 0], [0, 0])
    np.testing.assert_array_equal(keypoints.keypoint_confidence, poses.keypoint_scores)
    np.testing.assert_array_equal(detections.xyxy, poses.boxes)
    np.testing.assert_array_equal(detections.confidence, poses.scores)
    assert detections.tracker_id.tolist() == keypoints.data["tracker_id"].tolist() == [4, 9]
    black = np.zeros((480, 640, 3), dtype=np.uint8)
    assert sv.VertexAnnotator().annotate(black.copy(), keypoints).any()
    assert sv.BoxAnnotator().annotate(black.copy(), detections).any()
    assert to_supervision(make_poses(2))[1].tracker_id is None  # not everybody has an id
    assert [len(x) for x in to_supervision(make_poses(0))] == [0, 0]


def test_notebook_table():
    html = make_poses(2, Skeleton.from_dict({"name": "<b>", "keypoints": ["a"]})).with_(keypoint_scores=[[0.3], [0.29]])
    text = html._repr_html_()
    assert text.count("<tr>") == 3 and "1 of 1" in text and "0 of 1" in text
    assert "<tr><td>0</td><td></td>" in text and "<tr><td>1</td><td>0</td>" in text  # the first has no id
    assert "<b>" not in text


def test_importing_gtpt_loads_nothing_heavy():
    heavy = "{'torch', 'onnxruntime', 'pandas', 'pyarrow', 'supervision'}"
    code = f"import sys, gtpt, gtpt.io.formats, gtpt.viz.poses; print({heavy} & set(sys.modules) or 'none')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "none"


def test_the_examples_in_the_documentation(tmp_path, monkeypatch):
    page = Path(__file__).parents[3] / "docs" / "formats.md"
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, attempted = doctest.testfile(str(page), module_relative=False, optionflags=flags, encoding="utf-8")
    assert attempted > 20 and not failed


class Tensor:
    """A number as PyTorch keeps it: several of them have no `item`."""

    def __init__(self, *numbers):
        self.numbers = numbers

    def item(self):
        if len(self.numbers) > 1:
            raise RuntimeError("several")
        return self.numbers[0]


@pytest.mark.parametrize("image_id", [np.int64(3), np.uint8(3), 3, np.array([3]), Tensor(3)])
def test_ids_of_numpy_become_json(image_id):
    (entry,) = json.loads(json.dumps(to_coco(make_poses(1), image_id, np.int32(1))))
    assert (entry["image_id"], entry["category_id"]) == (3, 1)
    for name in (np.str_("three"), Path("three")):
        assert json.loads(json.dumps(to_coco(make_poses(1), name)))[0]["image_id"] == "three"


@pytest.mark.parametrize("image_id", [None, [3], np.array([3, 4]), Tensor(3, 4), {}])
def test_ids_that_are_none_are_refused(image_id):
    with pytest.raises(ValueError, match="image_id must be a number or a text, got"):
        to_coco(make_poses(1), image_id)


def test_poses_know_the_commonest_forms() -> None:
    poses = make_poses(2)
    assert poses.to_coco(np.int64(3)) == to_coco(poses, 3) and json.dumps(poses.to_coco(np.int64(3)))
