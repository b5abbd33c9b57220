"""Feet move with the ankle, and only those that can be trusted become labels."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import blazepose
import label_feet
from blazepose import LEFT_ANKLE, LEFT_HEEL, LEFT_TOE, RIGHT_ANKLE, RIGHT_HEEL, RIGHT_TOE, Pose, refined

from gtpt import load_skeleton
from gtpt.core.errors import InputError
from gtpt.data.coco import read_coco

BOX, SIZE = (10, 0, 40, 100), (100, 120)  # so an ankle may be 6 pixels off


@pytest.fixture
def found() -> np.ndarray:
    """A person who stands and looks to the right of the picture."""
    points = np.zeros((33, 2))
    points[[LEFT_ANKLE, LEFT_TOE, LEFT_HEEL]] = (20, 90), (30, 97), (15, 96)
    points[[RIGHT_ANKLE, RIGHT_TOE, RIGHT_HEEL]] = (40, 90), (50, 98), (35, 95)
    return points


def body(left: tuple[float, ...], right: tuple[float, ...]) -> np.ndarray:
    points = np.zeros((17, 3))
    points[15:] = left, right
    return points


def test_toes_and_heels_move_with_the_ankle(found):
    feet = label_feet.feet_of(found, body((22, 91, 2), (39, 86, 1)), BOX, SIZE)
    expected = [(32, 98, 2), (0, 0, 0), (17, 97, 2), (49, 94, 2), (0, 0, 0), (34, 91, 2)]
    np.testing.assert_allclose(feet, expected)


@pytest.mark.parametrize("ankle", [(26, 90, 2), (20, 84, 2), (20, 90, 0)], ids=["aside", "above", "no label"])
def test_a_leg_without_a_sure_ankle_has_none(found, ankle):
    feet = label_feet.feet_of(found, body(ankle, (45.9, 90, 2)), BOX, SIZE)
    assert feet[:, 2].tolist() == [0, 0, 0, 2, 0, 2]
    assert not feet[:3].any()


def test_nothing_outside_the_picture(found):
    feet = label_feet.feet_of(found, body((20, 90, 2), (40, 90, 2)), BOX, (100, 97))
    assert feet[:, 2].tolist() == [0, 0, 2, 0, 0, 2]
    feet = label_feet.feet_of(found, body((20, 90, 2), (40, 90, 2)), BOX, (50, 120))
    assert feet[:, 2].tolist() == [2, 0, 2, 0, 0, 2]


def test_heat_refines_a_point_where_there_is_some():
    heat = np.zeros((64, 64, 3))
    heat[20, 30, 0], heat[21, 30, 0], heat[20, 34, 0] = 0.75, 0.25, 1  # the last is out of the window
    heat[20, 30, 1] = 0.49
    points = np.array([(122.5, 83.0), (122.5, 83.0), (-3.0, 300.0)])
    np.testing.assert_allclose(refined(points, heat), [(120, 81), (122.5, 83.0), (-3.0, 300.0)])


def test_a_file_of_feet(crops, found, monkeypatch):
    calls = []

    class Found:
        def __init__(self, *_):
            pass

        def __call__(self, image, box):
            if len(calls) == 2:
                raise KeyboardInterrupt
            calls.append(image.shape)
            return Pose(found, np.ones(33), np.ones(33))

    monkeypatch.setattr(label_feet, "BlazePose", Found)
    monkeypatch.setattr(label_feet, "EVERY", 1)
    out = crops / "feet.json"
    with pytest.raises(KeyboardInterrupt):
        label_feet.main(crops / "people.json", crops, Path("heavy.tflite"), out)
    assert not out.exists()
    calls[1:] = []  # the rest of the people: one has no ankle and needs no network
    label_feet.main(crops / "people.json", crops, Path("heavy.tflite"), out)
    assert [path.name for path in crops.glob("feet*")] == ["feet.json"]
    people = read_coco(out, load_skeleton("coco_feet23"))
    assert people.visible[:, 17:].sum(axis=1).tolist() == [2, 2, 0, 2]
    np.testing.assert_allclose(people.keypoints[0, [17, 19]], [(32, 98), (17, 97)])
    assert [person["num_keypoints"] for person in json.loads(out.read_text())["annotations"]] == [3, 3, 1, 3]
    assert len(calls) == 2


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((120, 100, 3), np.uint8))
    nose = [50, 10, 2] + [0] * 48
    ankle = [0] * 45 + [22, 91, 2] + [0] * 3
    common = {"image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": list(BOX), "area": 3000, "num_keypoints": 1}
    people = [{**common, "id": i, "keypoints": nose if i == 2 else ankle} for i in range(4)]
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 120}],
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": list(load_skeleton("coco17").keypoints)}],
    }
    (tmp_path / "people.json").write_text(json.dumps(data))
    return tmp_path


def test_no_network_is_an_error_of_the_user(tmp_path):
    with pytest.raises(InputError):
        blazepose.BlazePose(tmp_path / "none.tflite")
