"""A deliberately broken data set: everything that is wrong with it is found, named and its effect stated."""

import json

import cv2
import numpy as np
import pytest

from gtpt import Skeleton, load_skeleton
from gtpt.data.check import check, check_data
from gtpt.data.coco import read_coco
from gtpt.data.config import DataConfig, Source

from .figures import HEIGHT, JOINTS, WIDTH, coco_file, draw_figure, figure_keypoints, write_set, zipped

BODY = load_skeleton("coco17")


def broken(folder):
    """One good person, and one of every mistake."""
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2, 3, 4, 5)] + [{"id": 4, "file_name": "4.jpg"}]
    images.append({"id": 6, "file_name": "1.jpg"})
    ok = {"image_id": 1, "keypoints": figure_keypoints()}
    people = {
        10: ok,
        11: {**ok, "image_id": 2},  # missing image
        12: {**ok, "image_id": 3},  # cut off image
        13: {**ok, "image_id": 4},  # an image of another size, listed twice
        20: {**ok, "bbox": [WIDTH + 9, 0, 50, 50]},
        23: {**ok, "bbox": [60, -400, 200, 390]},
        21: {**ok, "bbox": [-30, -30, 200, 200]},
        22: {**ok, "bbox": [0, 0, float("nan"), 50]},
        24: {**ok, "bbox": [20, 20, 90, 0]},
        30: {**ok, "keypoints": figure_keypoints()[:30]},
        31: {**ok, "keypoints": [*figure_keypoints()[:-3], float("inf"), 0, 2]},
        32: {**ok, "keypoints": figure_keypoints(JOINTS / (WIDTH, HEIGHT)), "bbox": [200, 200, 90, 90]},  # shares
        33: {**ok, "keypoints": figure_keypoints(np.vstack([[[WIDTH + 40, 30]], JOINTS[1:]]))},
        34: {**ok, "keypoints": figure_keypoints(visibility=3)},
        35: {**ok, "keypoints": figure_keypoints(visibility=np.array([-1] + [2] * 16))},
        40: {**ok, "category_id": 9},
        41: {**ok, "image_id": 77},
        50: {**ok, "iscrowd": 1},
        51: {**ok, "keypoints": [0] * 51},
        52: {**ok, "area": 0},
    }
    data = coco_file([{"id": i, **person} for i, person in people.items()] + [{**ok, "id": 10}], images)
    (folder / "images").mkdir()
    whole = cv2.imencode(".jpg", draw_figure()[..., ::-1])[1].tobytes()
    (folder / "images" / "1.jpg").write_bytes(whole)
    (folder / "images" / "3.jpg").write_bytes(whole[:900])
    (folder / "images" / "4.jpg").write_bytes(cv2.imencode(".jpg", draw_figure()[:200])[1].tobytes())
    (folder / "annotations.json").write_text(json.dumps(data))
    return Source(annotations=folder / "annotations.json", images=folder / "images")


STOPS, SKIPPED, USED = "stops training", "is skipped", "is used"
EXPECTED = {
    ("duplicate image id", 4, USED),
    ("duplicate annotation id", 10, USED),
    ("file listed twice", "1.jpg", USED),
    ("box outside", 20, SKIPPED),
    ("flat box", 24, USED),
    ("box beyond the border", 21, USED),
    ("box outside", 23, USED),
    ("wrong box", 22, STOPS),
    ("wrong keypoints", 30, STOPS),
    ("wrong keypoints", 31, STOPS),
    ("keypoint far outside", 24, USED),
    ("keypoint far outside", 32, USED),
    ("keypoints in the first pixel", 32, USED),
    ("keypoint outside the image", 33, USED),
    ("wrong visibility", 34, USED),
    ("wrong visibility", 35, USED),
    ("unknown category", 40, SKIPPED),
    ("unknown image", 41, STOPS),
    ("missing image", 2, STOPS),
    ("unreadable image", 3, STOPS),
    ("other size", 4, USED),
}


def test_every_mistake_is_found(tmp_path):
    source = broken(tmp_path)
    seen = []

    def progress(images):
        seen.extend(image.id for image in images)
        return images

    report = check([source], BODY, progress=progress)
    assert {(f.kind, f.id, f.effect) for f in report.findings} == EXPECTED
    assert sorted(seen) == [1, 2, 3, 4]  # each image that training reads, once; nobody is in image 5
    by_kind = {f.kind: f for f in report.findings[::-1]}
    assert by_kind["missing image"].file == str(tmp_path / "images" / "2.jpg")
    assert by_kind["box outside"].file == str(tmp_path / "annotations.json")
    assert "200" in by_kind["other size"].detail and f"{WIDTH}x{HEIGHT}" in by_kind["other size"].detail
    assert report.sources[0].counts == {
        "images": 7,
        "images without annotations": 2,
        "annotations": 21,
        "persons used": 12,
        "skipped: crowd": 1,
        "skipped: no area": 1,
        "skipped: no labelled keypoint": 1,
        "skipped: not a person": 1,
    }


def test_report_reads_well(tmp_path):
    report = check([broken(tmp_path)], BODY)
    text = str(report)
    assert "1 x missing image: stops training\n             2.jpg, id 2: no such file" in text
    assert "annotations.json, id 30: annotation 30 has 10 keypoints, coco17 has 17" in text
    assert "id 35: visibility from -1 to 2, expected 0, 1 or 2 (below 0 counts as not labelled)" in text
    data = json.loads(report.to_json())["sources"][0]
    assert len(data["findings"]) == len(EXPECTED) and data["counts"]["persons used"] == 12


def test_existence_only(tmp_path):
    kinds = {f.kind for f in check([broken(tmp_path)], BODY, decode=False).findings}
    assert "missing image" in kinds and not kinds & {"unreadable image", "other size"}


def test_it_counts_what_the_reader_reads(tmp_path):
    """The persons that are used are those that training gets, once the mistakes that stop it are mended."""
    source = broken(tmp_path)
    data = json.loads(source.annotations.read_text())
    data["annotations"] = [a for a in data["annotations"] if a["id"] not in (22, 30, 31, 41)]
    source.annotations.write_text(json.dumps(data))
    report = check([source], BODY, decode=False)
    assert report.sources[0].counts["persons used"] == len(read_coco(source.annotations, BODY)) == 12


@pytest.mark.parametrize("packed", [False, True])
def test_a_good_set_has_no_findings(tmp_path, packed):
    folder = write_set(tmp_path / "set", 3)
    root = zipped(folder) if packed else folder
    source = {"annotations": root / "annotations.json", "images": root / "images"}
    report = check_data(DataConfig(train=[source], val=source), "coco17")
    assert not report.findings and len(report.sources) == 2 and str(report).count("no findings") == 2
    assert report.sources[0].counts["persons used"] == 3


def test_unusable_sources_are_findings(tmp_path):
    folder = write_set(tmp_path / "set", 1)
    (tmp_path / "list.json").write_text("[]")
    data = json.loads((folder / "annotations.json").read_text())
    data["categories"][0]["keypoints"] = BODY.keypoints[::-1]
    (tmp_path / "order.json").write_text(json.dumps(data))
    sources = [
        Source(annotations=tmp_path / "order.json", images=folder / "images"),
        Source(annotations=tmp_path / "none.json", images=folder / "images"),
        Source(annotations=folder / "annotations.json", images=tmp_path / "none"),
        Source(annotations=tmp_path / "list.json", images=folder / "images"),
    ]
    report = check(sources, BODY)
    assert [(f.kind, f.effect) for f in report.findings] == [("unusable source", STOPS)] * 4
    assert "in this order" in report.findings[0].detail and "none.json" in report.findings[1].detail
    assert "not a COCO file" in report.findings[3].detail
    with pytest.raises(ValueError, match="names no data"):
        check_data(DataConfig(), "coco17")


def test_nobody_left_is_a_finding(tmp_path):
    folder = write_set(tmp_path / "set", 1)
    data = json.loads((folder / "annotations.json").read_text())
    data["annotations"][0]["area"] = 0
    (folder / "annotations.json").write_text(json.dumps(data))
    report = check([Source(annotations=folder / "annotations.json", images=folder / "images")], BODY)
    assert [f.kind for f in report.findings] == ["no usable person"]


@pytest.mark.integration
def test_the_real_sets(shared):
    """COCO itself is clean; joints that a crop archive cut away are reported, since they lie on black there."""
    data = shared / "data"
    coco = Source(
        annotations=data / "coco_sample/annotations/person_keypoints_val2017.json",
        images=data / "coco_sample/images/val2017",
    )
    whole = Source(
        annotations=data / "wholebody_sample/annotations/coco_wholebody_val_v1.0.json",
        images=data / "wholebody_sample/images/val2017",
    )
    assert not check([coco], BODY).findings
    assert not check([whole], load_skeleton("coco_wholebody133")).findings
    archive = data / "pose17_devval.zip"
    report = check([Source(annotations=archive / "annotations.json", images=archive)], BODY, decode=False)
    assert report.sources[0].counts["persons used"] == 1214
    assert {(f.kind, f.effect) for f in report.findings} == {("keypoint outside the image", USED)}
    assert len(report.findings) == 26


def test_sides_without_a_partner_are_told(tmp_path):
    """Mirrored crops would teach them wrong."""
    source = Source(annotations=write_set(tmp_path / "set", 1) / "annotations.json", images=tmp_path / "set" / "images")
    data = json.loads(source.annotations.read_text())
    names = data["categories"][0]["keypoints"]
    data["categories"][0]["keypoints"] = ["links" if name == "left_ear" else name for name in names]
    source.annotations.write_text(json.dumps(data))
    report = check([source], Skeleton.from_coco_category(data["categories"][0]))
    (finding,) = report.findings
    assert (finding.kind, finding.effect) == ("unpaired sides", "is used") and "'right_ear' look like" in finding.detail
