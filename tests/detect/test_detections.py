"""Detections are checked, functions become detectors, and boxes of one's own are found by name."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gtpt.core.errors import AnnotationError, InputError
from gtpt.detect import Detections, GivenBoxes, WholeImage, as_detector, load_boxes, make_detector, to_detections

IMAGE = np.zeros((100, 200, 3), np.uint8)
BOX = [10, 20, 50, 90]


# detections and functions


def test_detections_are_float32_and_can_be_empty():
    found = Detections(np.array([BOX]), np.array([0.5]))
    assert found.boxes.dtype == found.scores.dtype == np.float32 and len(found) == 1
    for empty in (Detections.empty(), Detections([], []), found[[]], found[found.scores > 0.9]):
        assert empty.boxes.shape == (0, 4) and empty.scores.shape == (0,)


@pytest.mark.parametrize(
    ("boxes", "scores", "reason"),
    [
        ([BOX], [0.5, 0.5], r"scores must have shape \(1,\)"),
        ([BOX[:3]], [0.5], r"boxes must have shape \(N, 4\)"),
        (BOX, [0.5], r"boxes must have shape \(N, 4\)"),
        ([BOX, [0, 0, np.nan, 5]], [1, 1], "box 1 must be"),
        ([BOX, [0, 0, np.inf, 5]], [1, 1], "box 1 must be"),
        ([[50, 20, 10, 90]], [1], "box 0 must be .* width, height"),
        ([[50, 20, 10, 20]], [1], "box 0 must be"),
        ([BOX], [1.5], r"score 0 must be in \[0, 1\]"),
        ([BOX], [np.nan], "score 0"),
    ],
)
def test_impossible_detections(boxes, scores, reason):
    with pytest.raises(ValueError, match=reason):
        Detections(boxes, scores)


def test_what_rounding_does_and_boxes_without_extent(caplog):
    found = Detections([BOX, BOX, BOX], [1.0000001, 1.000005, -1e-7])
    assert found.scores.tolist() == [1, 1, 0]
    boxes = [BOX, [10, 20, 50, 20], [10, 20, 10, 90], [-3e38, -3e38, 3e38, 3e38], BOX]
    found = Detections(boxes, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert found.boxes.tolist() == [BOX, BOX] and np.allclose(found.scores, [0.1, 0.5])
    assert "3 of 5 boxes are left out" in caplog.text
    assert len(Detections([[10, 20, 50, 20]], [1])) == 0


def test_whole_image():
    tall = np.zeros((30, 10, 3), np.uint8)
    wide, narrow = make_detector("whole-image")([IMAGE, tall])
    assert wide.boxes.tolist() == [[0, 0, 200, 100]] and narrow.boxes.tolist() == [[0, 0, 10, 30]]
    assert wide.scores.tolist() == [1] and WholeImage()([]) == []


def test_any_function_is_a_detector():
    detector = as_detector(lambda images: [([BOX], [0.5]), np.zeros((0, 4)), Detections.empty(), np.array([BOX, BOX])])
    found = detector([IMAGE] * 4, ["a", "b", "c", "d"])
    assert [len(d) for d in found] == [1, 0, 0, 2]
    assert found[0].scores.tolist() == [0.5] and found[3].scores.tolist() == [1, 1]
    assert as_detector(detector) is detector


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ([], "gave 0 results for 1 images"),
        ([([BOX], [2])], "detector, image 0: score 0"),
        ([([[5, 5, 1, 1]], [1])], "detector, image 0: box 0"),
        ([None], "detector, image 0"),
        ([([BOX], None)], "detector, image 0"),
        (None, "gave NoneType"),
        ([[[0.1, 0.2, 0.8, 1]]], r"box \[0\.1.* shares of the picture"),
    ],
)
def test_functions_that_give_nonsense(result, reason):
    with pytest.raises(ValueError, match=reason):
        as_detector(lambda images: result)([IMAGE])


def test_a_detector_of_pixels_may_find_somebody_in_the_first_one():
    results = [[BOX], [[0, 0, 1, 1], BOX], [[0, 0, 1, 1]]]
    detector = as_detector(lambda images: [results.pop(0) for _ in images])
    assert [detector(IMAGE).boxes.tolist() for _ in range(3)] == [[BOX], [BOX], []]


@pytest.mark.parametrize("name", ["person", "Person", "PERSON"])
def test_people_of_supervision_are_known_by_their_class(name):
    found = SimpleNamespace(xyxy=np.array([BOX, BOX]), confidence=None, data={"class_name": np.array([name, "dog"])})
    assert len(to_detections(found, "boxes")) == 1


@pytest.mark.parametrize("boxes", [{"boxes": [BOX]}, "boxes.csv", [BOX, [1, 2]], object()])
def test_what_are_no_boxes_is_said_by_its_type(boxes):
    with pytest.raises(
        InputError, match=r"image 0: boxes must be an \(N, 4\) array.*, got (dict|'boxes\.csv'|\[\[|object)"
    ):
        to_detections(boxes, "image 0")


def test_what_is_no_function():
    with pytest.raises(ValueError, match="callable"):
        as_detector("yolox-nano")


# boxes of one's own


def test_boxes_by_name_and_by_number():
    named = GivenBoxes({"a.jpg": np.array([BOX]), "sub/b.jpg": ([BOX, BOX], [0.2, 0.9]), "c.jpg": np.zeros((0, 4))})
    found = named([IMAGE] * 4, ["a.jpg", "photos/b.jpg", "c.jpg", r"sub\b.jpg"])
    assert [len(d) for d in found] == [1, 2, 0, 2]
    assert [len(d) for d in GivenBoxes({"b.jpg": ([BOX, BOX], [0.2, 0.9])}, threshold=0.5)([IMAGE], ["b.jpg"])] == [1]
    numbered = GivenBoxes({139: np.array([BOX]), "7": np.array([BOX])})
    assert [len(d) for d in numbered([IMAGE] * 4, ["000000000139.jpg", "7", "x/7.png", "8.jpg"])] == [1, 1, 1, 0]


def test_equal_file_names_are_told_apart_by_their_folders():
    named = GivenBoxes({"a/1.jpg": np.array([BOX]), "b/1.jpg": np.array([BOX, BOX])})
    found = named([IMAGE] * 3, ["/data/set/a/1.jpg", "b/1.jpg", "set\\b\\1.jpg"])
    assert [len(d) for d in found] == [1, 2, 2]


def test_names_that_match_nothing():
    with pytest.raises(ValueError, match=r"no boxes are given for 'z.jpg'; they are for 1 images such as \['a.jpg'\]"):
        GivenBoxes({"a.jpg": np.array([BOX])})([IMAGE], ["z.jpg"])
    with pytest.raises(ValueError, match="called by numbers"):
        GivenBoxes({139: np.array([BOX])})([IMAGE], ["z.jpg"])
    with pytest.raises(ValueError, match="ambiguous"):
        GivenBoxes({"x/a.jpg": np.array([BOX]), "y/a.jpg": np.array([BOX])})([IMAGE], ["a.jpg"])
    for names in (None, ["a.jpg", "b.jpg"]):
        with pytest.raises(ValueError, match="need as many names"):
            GivenBoxes({"a.jpg": np.array([BOX])})([IMAGE], names)


def test_wrong_boxes_name_their_image():
    with pytest.raises(ValueError, match=r"boxes of 'a.jpg': box 0 must be"):
        GivenBoxes({"a.jpg": [[50, 50, 10, 10]]})


# files


def test_csv(tmp_path: Path):
    path = tmp_path / "boxes.csv"
    corners = "name,x1,y1,x2,y2,score\na.jpg,10,20,50,90,0.5\na.jpg,0,0,5,5,\nb.jpg,,,,,\n"
    sizes = "\ufefffile;x;y;w;h;note\na.jpg;10;20;40;70;tall\na.jpg;0;0;5;5;\nb.jpg;;;;;nobody\n"
    for text, score in ((corners, 0.5), (sizes, 1)):
        path.write_text(text, encoding="utf-8")
        first, second = load_boxes(path)([IMAGE, IMAGE], ["a.jpg", "b.jpg"])
        assert first.boxes.tolist() == [BOX, [0, 0, 5, 5]] and first.scores.tolist() == [score, 1]
        assert len(second) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,x1,y1,x2,y2\na.jpg,5,5,1,9\n", "line 2: the box .* inverted"),
        ("name,x1,y1,x2,y2\na.jpg,1,2,nan,4\n", "line 2: .* not finite"),
        ("name,x1,y1,x2,y2\na.jpg,1,2,three,4\n", "line 2: a box must be four numbers"),
        ("name,x1,y1,x2,y2\na.jpg,1,2,,4\n", "line 2: a box must be four numbers"),
        ("name,x,y,w,h\na.jpg,1,2,-3,4\n", "line 2: the box .* inverted"),
        ("name,x,y,w,h\na.jpg,1,2\n", "line 2: a box must be four numbers"),
        ("name,x,y,w,h,score\na.jpg,1,2,3,4,7\n", r"line 2: a score must be in \[0, 1\]"),
        ("name,x,y,w,h\n,1,2,3,4\n", "line 2: the name of the image is missing"),
        ("name,left,top\na.jpg,1,2\n", "needs a column name"),
        ("", "needs a column name"),
    ],
)
def test_wrong_csv_names_the_line(tmp_path: Path, text: str, reason: str):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"boxes\.csv.*{reason}"):
        load_boxes(path)


def test_entries_of_a_file_stand_alone(tmp_path: Path):
    lines = ["a.jpg,1,2,3,4,1.0000001", "a.jpg,5,5,1,9,1", "b.jpg,1,2,1,9,1", "b.jpg,-3e38,-3e38,3e38,3e38,1", ",1,2,3,4,1"]
    (tmp_path / "boxes.csv").write_text("\n".join(["name,x1,y1,x2,y2,score", *lines, "a.jpg,1,2,3,4,7", "c.jpg,1,2,x,4,1"]))
    found = load_boxes(tmp_path / "boxes.csv")
    assert found.find("a.jpg").boxes.tolist() == [[1, 2, 3, 4]] and found.find("a.jpg").scores.tolist() == [1]
    assert len(found.find("b.jpg")) == len(found.find("c.jpg")) == 0
    places = [where.removeprefix(f"{tmp_path / 'boxes.csv'}, ") for where, _ in found.skipped]
    assert places == [f"line {n}" for n in (3, 4, 5, 6, 7, 8)]
    reasons = [reason for _, reason in found.skipped]
    assert all("inverted, empty, not finite or beyond every picture" in reason for reason in reasons[:3])
    assert "the name of the image is missing" in reasons[3] and "[0, 1]" in reasons[4] and "four numbers" in reasons[5]


def test_shares_of_the_picture_are_no_pixels(tmp_path: Path):
    (tmp_path / "boxes.csv").write_text("name,x,y,w,h\na.jpg,0.1,0.2,0.5,0.5\nb.jpg,0,0,1,2\n")
    assert [where[-6:] for where, reason in load_boxes(tmp_path / "boxes.csv").skipped if "shares" in reason] == ["line 2"]
    with pytest.raises(AnnotationError, match=r"boxes of 'a\.jpg'.*shares of the picture"):
        GivenBoxes({"a.jpg": [BOX, [0.1, 0.2, 0.6, 0.7]]})


def test_entries_of_a_coco_file_that_belong_nowhere(tmp_path: Path):
    images = [{"id": id_, "file_name": name} for id_, name in ((1, "a.jpg"), (1, "a.jpg"), (2, "b.jpg"), (2, "c.jpg"))]
    rows = [(1, 1, 1), (2, 2, 1), (3, 1, 7)]  # id, image, category
    annotations = [{"id": i, "image_id": image, "category_id": c, "bbox": [1, 2, 30, 40]} for i, image, c in rows]
    data = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "boxes.json").write_text(json.dumps(data))
    found = load_boxes(tmp_path / "boxes.json")
    assert len(found.find("a.jpg")) == 1
    reasons = ["the id 2 is that of several files", "image 2 is several files", "category 7 is not listed"]
    assert [reason for _, reason in found.skipped] == reasons
    with pytest.raises(AnnotationError, match="no boxes are given"):
        found.find("b.jpg")


def test_names_of_macos_and_windows_are_found(tmp_path: Path):
    for listed, asked in (("Zo\u00e9.jpg", "in/Zoe\u0301.jpg"), ("Zoe\u0301.jpg", "Zo\u00e9.jpg"), ("a\\b.jpg", "a/b.jpg")):
        assert len(GivenBoxes({listed: np.array([BOX])}).find(asked)) == 1


def annotations(**changes: object) -> dict[str, object]:
    person = {"id": 5, "image_id": 3, "category_id": 1, "bbox": [10, 20, 40, 70], **changes}
    return {
        "images": [{"id": 3, "file_name": "a.jpg"}, {"id": 4, "file_name": "b.jpg"}],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
        "annotations": [
            person,
            {**person, "id": 6, "bbox": [0, 0, 9, 9], "iscrowd": 1},
            {**person, "id": 7, "category_id": 2, "bbox": [0, 0, 8, 8]},
        ],
    }


def test_coco_annotations(tmp_path: Path):
    path = tmp_path / "person.json"
    path.write_text(json.dumps(annotations()))
    first, second = make_detector(path)([IMAGE, IMAGE], ["a.jpg", "val/b.jpg"])
    assert first.boxes.tolist() == [BOX] and len(second) == 0
    with pytest.raises(ValueError, match=r"c\.jpg"):
        load_boxes(path)([IMAGE], ["c.jpg"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (annotations(bbox=[1, 2, 0, 4]), "annotation 5: the box .* empty"),
        (annotations(bbox=None), "annotation 5: a box must be four numbers"),
        (annotations(image_id=9), "annotation 5: image 9 is not listed"),
        ({"a.jpg": [BOX]}, "not a COCO file"),
        ([{"image_id": 1, "bbox": [1, 2, 3, float("nan")], "score": 1}], "result 0: .* not finite"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 55}], "result 0: a score must be"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 2}], "none of the 1 results is a person"),
        ([{"file": "a.jpg"}], "result 0 has no bbox, image_id"),
        ([{"image_id": [1], "bbox": [1, 2, 3, 4]}], "entry 0 of the results has the image_id"),
        ({**annotations(), "images": [{"id": 3}]}, "image 3 has no file_name"),
    ],
)
def test_wrong_json_names_the_entry(tmp_path: Path, data: object, reason: str):
    path = tmp_path / "person.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=reason):
        load_boxes(path)


@pytest.mark.integration
def test_coco_results_of_a_real_detector(shared: Path):
    path = shared / "data" / "coco_sample" / "person_detection_results" / "COCO_val2017_detections_yolox_nano.json"
    rows = [r for r in json.loads(path.read_text()) if r["image_id"] == 18519]
    large = np.zeros((640, 515, 3), np.uint8)
    found, nobody = load_boxes(path)([large, large], ["000000018519.jpg", "000000000001.jpg"])
    np.testing.assert_allclose(found.boxes[:, :2], [r["bbox"][:2] for r in rows], rtol=1e-6)
    np.testing.assert_allclose(found.scores, [r["score"] for r in rows], rtol=1e-6)
    assert len(nobody) == 0
    assert len(make_detector(path, threshold=0.5)([large], ["18519.jpg"])[0]) == sum(r["score"] >= 0.5 for r in rows)


# by name


def test_without_network_the_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GTPT_CACHE", str(tmp_path))
    monkeypatch.setenv("GTPT_OFFLINE", "1")
    with pytest.raises(FileNotFoundError) as raised:
        make_detector("yolox-nano")
    for way in ("GTPT_OFFLINE", "by its path", "detector whole-image", "boxes of your own"):
        assert way in str(raised.value)


def test_unknown_detectors(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"(?s)no weights 'yolo'.*yolox-nano.*whole-image"):
        make_detector("yolo")
    with pytest.raises(FileNotFoundError, match="no file with boxes"):
        make_detector(tmp_path / "no.csv")
    with pytest.raises(ValueError, match=r"\*\.json and from \*\.csv"):
        load_boxes(tmp_path / "boxes.txt")


def test_known_boxes_are_copies() -> None:
    table = np.float32([[1, 2, 30, 40]])
    given = GivenBoxes({"a.jpg": table})
    table += 100
    assert given.find("a.jpg").boxes.tolist() == [[1, 2, 30, 40]]


def test_boxes_of_one_image_are_not_those_of_another_with_its_name() -> None:
    boxes = {"A/1.jpg": [[1, 2, 3, 4]], "C/2.jpg": [], "3.jpg": []}
    given = GivenBoxes(boxes)
    assert len(given.find("elsewhere/1.jpg")) == 1  # as long as nobody says what there is
    given.meant_for(["in/A/1.jpg", "in/B/1.jpg", "in/D/2.jpg", "in/A/3.jpg", "in/B/3.jpg", "./in/A/1.jpg"])
    assert len(given.find("in/A/1.jpg")) == len(given.find("./in/A/1.jpg")) == 1
    assert len(given.find("in/D/2.jpg")) == 0  # the only one of that name: the folder is another root
    for name in ("in/B/1.jpg", "in/A/3.jpg", "in/B/3.jpg"):
        with pytest.raises(AnnotationError, match="another image of that name"):
            given.find(name)


def test_a_photo_that_a_coco_file_lists_twice_is_the_first_of_both(tmp_path: Path) -> None:
    images = [
        {"id": i, "file_name": name, "width": 9, "height": 9} for i, name in ((7, "a.png"), (8, "b.png"), (9, "a.png"))
    ]
    people = [{"id": i, "image_id": i, "category_id": 1, "bbox": [i, 1, 5, 5]} for i in (7, 9)]
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}))
    given = load_boxes(path)
    assert given.image_id("a.png") == 7 and given.find("a.png").boxes[:, 0].tolist() == [7, 9]
    assert given.skipped == [(f"{path}, image 9", "its file is that of image 7, whose id the results get")]
