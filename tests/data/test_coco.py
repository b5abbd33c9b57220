"""The official choice and cleaning of persons, by its written rules."""

import json

import numpy as np
import pytest

from gtpt import load_skeleton
from gtpt.data.coco import Persons, read_coco, read_detections

from .figures import BOX, HEIGHT, JOINTS, WIDTH, coco_file, figure_keypoints, write_set, zipped

BODY = load_skeleton("coco17")
IMAGES = [{"id": 7, "file_name": "7.jpg"}, {"id": 3, "file_name": "3.jpg"}]
GOOD = {"image_id": 7, "keypoints": figure_keypoints()}


def read(*people, **changes):
    return read_coco({**coco_file(list(people), IMAGES), **changes}, BODY)


def test_a_plain_person():
    persons = read(GOOD, {**GOOD, "image_id": 3})
    assert len(persons) == 2 and persons.image_ids.tolist() == [7, 3] and persons.files.tolist() == ["7.jpg", "3.jpg"]
    np.testing.assert_array_equal(persons.keypoints[0], JOINTS)
    assert persons.visible.tolist() == [[1.0] * 17] * 2 and persons.scores.tolist() == [1, 1]
    # the official cleaning takes one pixel off: the last column is x + w - 1
    np.testing.assert_array_equal(persons.boxes[0], [BOX[0], BOX[1], BOX[2] - 1, BOX[3] - 1])


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("crowd", {"iscrowd": 1}),
        ("no area", {"area": 0}),
        ("no labelled keypoint", {"keypoints": [0] * 51}),
        ("no keypoints at all", {"keypoints": []}),
        ("another category", {"category_id": 2}),
        ("box right of the image", {"bbox": [WIDTH + 5, 10, 30, 30]}),
        ("box without extent", {"bbox": [10, 10, 1, 1]}),
    ],
)
def test_left_out(why, change):
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]
    assert len(read(GOOD, {**GOOD, **change}, categories=categories)) == 1, why


@pytest.mark.parametrize(
    ("box", "cleaned"),
    [
        ([-20, -10, 100, 100], [0, 0, 99, 99]),  # moved into the image at full size: the official way
        ([10, -50, 30, 30], [10, 0, 29, 29]),  # even if nothing of it is inside
        ([WIDTH - 50, HEIGHT - 40, 100, 100], [WIDTH - 50, HEIGHT - 40, 49, 39]),
        ([5.5, 6.25, 10, 20], [5.5, 6.25, 9, 19]),
        ([10, 10, 2, 1], [10, 10, 1, 0]),  # a line is enough
    ],
)
def test_boxes_are_cut_to_the_image(box, cleaned):
    np.testing.assert_allclose(read({**GOOD, "bbox": box}).boxes[0], cleaned)


def test_hidden_and_visible_joints_count_alike():
    visibility = np.array([0, 1, 2] * 5 + [0, 2])
    assert read({**GOOD, "keypoints": figure_keypoints(visibility=visibility)}).visible[0].tolist() == [
        float(v > 0) for v in visibility
    ]


def test_below_zero_is_not_labelled():
    visibility = np.array([-1, 0, 0.5, 2] + [1] * 13)
    persons = read({**GOOD, "keypoints": figure_keypoints(visibility=visibility)})
    assert persons.visible[0].tolist() == [0, 0, 0.5, 1] + [1] * 13


def test_any_name_of_an_only_category():
    data = coco_file([GOOD], IMAGES, category=4, name="fly")
    assert len(read_coco(data, BODY)) == 1
    data["categories"].append({"id": 5, "name": "bee"})
    assert len(read_coco(data, BODY)) == 1  # nobody is a bee
    data["annotations"].append({**data["annotations"][0], "category_id": 5})
    with pytest.raises(ValueError, match=r"no category 'person' among \['bee', 'fly'\]"):
        read_coco(data, BODY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": [1.0] * 30}, "annotation 1 has 10 keypoints, coco17 has 17"),
        ({"keypoints": [*figure_keypoints()[:-1], float("nan")]}, "annotation 1 has keypoints that are not finite"),
        ({"image_id": 99}, "annotation 1 belongs to image 99, which is not listed"),
        ({"bbox": [1, 2, 3]}, r"annotation 1 has the box \[1, 2, 3\]"),
        ({"bbox": [1, 2, float("nan"), 3]}, "annotation 1 has the box"),
        ({"keypoints": [None] * 51}, "annotation 1 has keypoints that are not finite"),
        ({"keypoints": ["x"] * 51}, "annotation 1 has keypoints that are not finite"),
        ({"area": "9"}, "annotations: entry 0 of the annotations has the area '9', not a finite number"),
        ({"image_id": [7]}, r"entry 0 of the annotations has the image_id \[7\], not a whole number"),
        ({"image_id": "8"}, "annotation 1 belongs to image 8, which is not listed"),
        ({"category_id": 1.5}, "entry 0 of the annotations has the category_id 1.5, not a whole number"),
        ({"image_id": 2**70}, "has the image_id 1180591620717411303424, not a whole number of 64 bits"),
        ({"area": float("inf")}, "has the area inf, not a finite number"),
        ({"keypoints": 5}, "annotation 1 has the keypoints 5, not a list of numbers"),
        ({"keypoints": {"nose": 1}}, "annotation 1 has .*keypoints"),
    ],
)
def test_what_cannot_be_trained_on_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        read({**GOOD, **change})


def test_keypoints_in_another_order_are_refused():
    """Numbers in the wrong order would train without a word."""
    data = coco_file([GOOD], IMAGES)
    data["categories"][0]["keypoints"] = list(BODY.keypoints)
    assert len(read_coco(data, BODY)) == 1
    data["categories"].append({"id": 2, "name": "bird", "keypoints": ["beak"]})  # nobody asks for these
    assert len(read_coco(data, BODY)) == 1
    data["categories"][0]["keypoints"].reverse()
    with pytest.raises(ValueError, match=r"category 'person' has the keypoints \['right_ankle'.*skeleton 'coco17'.*order"):
        read_coco(data, BODY)


def test_images_must_say_their_size_and_name():
    data = coco_file([GOOD], IMAGES)
    del data["images"][1]["height"]
    with pytest.raises(ValueError, match="image 3 has no height"):
        read_coco(data, BODY)
    with pytest.raises(ValueError, match="not a COCO file"):
        read_coco({"images": []}, BODY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": [None]}, "not a COCO file: entry 0 of the annotations is None"),
        ({"images": [1]}, "not a COCO file: entry 0 of the images is 1"),
        (
            {"images": [{**IMAGES[0], "width": "9", "height": 9}]},
            "entry 0 of the images has the width '9', not a finite number",
        ),
        ({"categories": [{"name": "person"}]}, "entry 0 of the categories has no id"),
        (
            {"images": [{**IMAGES[0], "id": {}}]},
            "entry 0 of the images has the id {}, not a whole number",
        ),
        (
            {"categories": [{"id": [7], "name": "person"}]},
            r"entry 0 of the categories has the id \[7\], not a whole number",
        ),
        ({"categories": {}}, "expected the lists 'images', 'annotations' and 'categories'"),
    ],
)
def test_json_that_is_almost_coco(change, message):
    with pytest.raises(ValueError, match=message):
        read(GOOD, **change)


def test_whole_body_lists_are_joined_in_output_order():
    whole = load_skeleton("coco_wholebody133")
    counts = {"foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
    points = np.arange(133 * 3, dtype=float) % 300
    points[2::3] = 1
    lists, first = {"keypoints": points[:51].tolist()}, 51
    for name, count in counts.items():
        lists[name], first = points[first : first + 3 * count].tolist(), first + 3 * count
    persons = read_coco(coco_file([{"image_id": 7, **lists}], IMAGES), whole)
    np.testing.assert_array_equal(persons.keypoints[0], points.reshape(-1, 3)[:, :2])
    # the body alone decides whether a person counts
    body_unlabelled = {"image_id": 7, **lists, "keypoints": [0.0] * 51}
    assert len(read_coco(coco_file([body_unlabelled], IMAGES), whole)) == 0
    assert len(read_coco(coco_file([{"image_id": 7, **lists}], IMAGES), BODY)) == 1  # and can be read as 17 points


def test_folder_and_zip_are_the_same(tmp_path):
    folder = write_set(tmp_path / "set", 3)
    archive = zipped(folder)
    a, b = read_coco(folder / "annotations.json", BODY), read_coco(archive / "annotations.json", BODY)
    for name in Persons.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_several_sets_keep_their_stores():
    both = Persons.concatenate([read(GOOD), read(GOOD, GOOD)])
    assert both.stores.tolist() == [0, 1, 1] and len(both.select(np.array([False, True, True]))) == 2


def test_detections(tmp_path):
    truth = coco_file([GOOD], IMAGES)
    rows = [
        {"image_id": 7, "category_id": 1, "bbox": [-5.5, 2, 30, 40], "score": 0.25},
        {"image_id": 3, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.9},
        {"image_id": 3, "category_id": 1, "bbox": [10, 10, 0, 0], "score": 0.9},
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(rows))
    persons = read_detections(path, truth, BODY)
    assert len(persons) == 1 and persons.scores.tolist() == [0.25]
    np.testing.assert_array_equal(persons.boxes, [[-5.5, 2, 30, 40]])  # as the detector gave it
    assert persons.keypoints.tolist() == [[[0, 0]] * 17] and persons.visible.tolist() == [[0] * 17]
    assert persons.areas.tolist() == persons.stores.tolist() == [0] and persons.ids.tolist() == [None]
    for wrong, message in (
        ([{**rows[0], "image_id": 5}], "detection of image 5 belongs to image 5, which is not listed"),
        ([{**rows[0], "score": float("nan")}], "has the score nan, not a finite number"),
        ([{**rows[0], "image_id": 7.5}], r"boxes\.json: entry 0 of the results has the image_id 7.5, not a whole number"),
        ([{**rows[0], "score": "high"}], "has the score 'high', not a finite number"),
        ({"boxes": rows}, "must be a list of"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=message):
            read_detections(path, truth, BODY)


@pytest.mark.integration
def test_the_real_files(shared):
    body = read_coco(shared / "data/coco_sample/annotations/person_keypoints_val2017.json", BODY)
    whole = load_skeleton("coco_wholebody133")
    wholebody = read_coco(shared / "data/wholebody_sample/annotations/coco_wholebody_val_v1.0.json", whole)
    assert len(body) == 42 and len(wholebody) == 24  # by the folder's own count: 42; 26 of which 2 without a body joint
    detections = shared / "data/coco_sample/person_detection_results/COCO_val2017_detections_yolox_nano.json"
    found = read_detections(detections, shared / "data/coco_sample/annotations/person_keypoints_val2017.json", BODY)
    assert len(found) > 42 and set(body.image_ids) <= set(found.image_ids)
    assert (found.scores <= 1).all() and (found.visible == 0).all()
