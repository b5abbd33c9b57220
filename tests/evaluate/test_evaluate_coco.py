"""COCO figures against pycocotools on real people, and files that must be refused."""

from __future__ import annotations

import contextlib
import copy
import json
from io import StringIO

import numpy as np
import pytest

from gtpt.core.skeleton import Skeleton, load_skeleton
from gtpt.evaluate import METRICS, Protocol, evaluate_coco

pytest.importorskip("faster_coco_eval")
BODY, WHOLEBODY = load_skeleton("coco17"), load_skeleton("coco_wholebody133")
FIELDS = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")


def flat(person):
    return [v for name in FIELDS for v in person.get(name, ())]


def make_results(truth, seed, sigmas):
    """Good, mediocre and doubled detections of every person, in crowds and of the unlabelled too, and false ones."""
    rng = np.random.default_rng(seed)
    results = []

    def add(image_id, points, score):
        scores = rng.random(len(points))
        results.append(
            {
                "image_id": image_id,
                "category_id": 1,
                "keypoints": np.column_stack([points, scores]).ravel().tolist(),
                "score": round(float(score), 1),  # many ties
            }
        )

    for person in truth["annotations"]:
        x, y, w, h = person["bbox"]
        points = np.array(flat(person)).reshape(-1, 3)
        anywhere = rng.uniform((x, y), (x + w, y + h), (len(points), 2))
        points = np.where(points[:, 2:] > 0, points[:, :2], anywhere)
        for noise in rng.choice([0.3, 1, 2, 4], size=rng.integers(0, 4)):
            shift = rng.standard_normal(points.shape) * (noise * sigmas * np.sqrt(person["area"]))[:, None]
            add(person["image_id"], points + shift, rng.random() / noise**0.5)
        if rng.random() < 0.3 or person["iscrowd"]:
            add(person["image_id"], anywhere, rng.random())
    return results


def pycocotools_figures(truth, results, sigmas, areas=None):
    cocotools = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(StringIO()):
        gt = cocotools.COCO()
        gt.dataset = copy.deepcopy(truth)
        gt.createIndex()
        dt = gt.loadRes(copy.deepcopy(results))
        for number, area in enumerate(areas or (), start=1):
            dt.anns[number]["area"] = area
        evaluator = COCOeval(gt, dt, "keypoints")
        evaluator.params.kpt_oks_sigmas = sigmas
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats


@pytest.fixture
def body_truth(shared):
    path = shared / "data/coco_sample/annotations/person_keypoints_val2017.json"
    return json.loads(path.read_text())


@pytest.fixture
def wholebody_truth(shared):
    path = shared / "data/wholebody_sample/annotations/coco_wholebody_val_v1.0.json"
    return json.loads(path.read_text())


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(3))
def test_body_figures_are_those_of_pycocotools(body_truth, seed):
    results = make_results(body_truth, seed, BODY.sigmas)
    for result in results[::5]:
        result["keypoints"][2::3] = [0] * 17  # unlike xtcocotools, pycocotools does not look at these
    assert max(np.bincount([r["image_id"] for r in results])) > 20  # COCO looks at the 20 best
    report = evaluate_coco(body_truth, results, BODY)
    expected = pycocotools_figures(body_truth, results, BODY.sigmas)
    np.testing.assert_allclose([report.figures["body"][m] for m in METRICS], expected, rtol=0, atol=1e-9)
    assert 0.2 < report.ap < 0.9
    assert (report.images, report.persons, report.detections) == (22, 42, len(results))


@pytest.mark.integration
def test_perfect_results_and_their_noise(body_truth):
    labelled = [a for a in body_truth["annotations"] if a["num_keypoints"]]
    results = [{"score": 1.0, **{k: a[k] for k in ("image_id", "category_id", "keypoints")}} for a in labelled]
    assert evaluate_coco(body_truth, results, BODY).ap == pytest.approx(1)
    for result in results[::2]:
        result["keypoints"] = [v + 1000 for v in result["keypoints"]]
    assert evaluate_coco(body_truth, results, BODY).ap < 0.6


@pytest.mark.integration
def test_only_some_images(body_truth):
    ids = [image["id"] for image in body_truth["images"]][:7]
    results = [r for r in make_results(body_truth, 5, BODY.sigmas) if r["image_id"] in ids]
    some = {
        **body_truth,
        "images": [i for i in body_truth["images"] if i["id"] in ids],
        "annotations": [a for a in body_truth["annotations"] if a["image_id"] in ids],
    }
    report = evaluate_coco(body_truth, results, BODY, image_ids=ids)
    assert report == evaluate_coco(some, results, BODY)
    assert report.images == 7


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(2))
def test_wholebody_figures_are_those_of_pycocotools_part_by_part(wholebody_truth, seed):
    results = make_results(wholebody_truth, seed, WHOLEBODY.sigmas)
    for result in results[::5]:
        result["keypoints"][91 * 3 + 2 : 112 * 3 : 3] = [0] * 21  # no left hand: dropped there
    crowd = {**wholebody_truth["annotations"][0], "id": 7, "iscrowd": 1}
    wholebody_truth["annotations"].append(crowd)
    report = evaluate_coco(wholebody_truth, results, WHOLEBODY)
    slices = {"body": (0, 17), "foot": (17, 23), "face": (23, 91), "left_hand": (91, 112), "right_hand": (112, 133)}
    for part, (start, stop) in {**slices, "whole": (0, 133)}.items():
        truth = copy.deepcopy(wholebody_truth)
        for person in truth["annotations"]:
            person["keypoints"] = flat(person)[3 * start : 3 * stop]
            person["num_keypoints"] = sum(v > 0 for v in person["keypoints"][2::3])
        found, areas = [], []
        for result in results:
            keypoints = result["keypoints"][3 * start : 3 * stop]
            if any(keypoints[2::3]):
                x, y = result["keypoints"][0:51:3], result["keypoints"][1:51:3]
                found.append({**result, "keypoints": keypoints})
                areas.append((max(x) - min(x)) * (max(y) - min(y)))
        expected = pycocotools_figures(truth, found, WHOLEBODY.sigmas[start:stop], areas)
        actual = [report.figures[part][m] for m in METRICS]
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9, err_msg=part)
    hands = report.figures["left_hand"], report.figures["right_hand"]
    assert report.figures["hand"]["AP"] == pytest.approx((hands[0]["AP"] + hands[1]["AP"]) / 2)
    assert list(report.figures) == ["body", "foot", "face", "left_hand", "right_hand", "hand", "whole"]
    assert report.ap == report.figures["whole"]["AP"]


def tiny_truth():
    """One image, one large person with all 17 joints: no medium row."""
    points = np.column_stack([np.arange(17) * 10, np.arange(17) * 20, np.full(17, 2)])
    person = {"id": 0, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 2e4, "bbox": [0, 0, 160, 320]}
    return {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(BODY.keypoints)}],
        "annotations": [{**person, "keypoints": points.ravel().tolist()}],
    }


def tiny_results():
    person = tiny_truth()["annotations"][0]
    return [{"image_id": 1, "category_id": 1, "score": 0.5, "keypoints": person["keypoints"]}]


def test_nobody_found_is_zero_and_rows_without_people_are_minus_one():
    figures = evaluate_coco(tiny_truth(), [], BODY).figures["body"]
    assert {m for m in METRICS if figures[m] == -1} == {"AP (M)", "AR (M)"}
    assert all(figures[m] == 0 for m in METRICS if "(M)" not in m)


def test_annotation_with_id_zero_can_be_found():
    assert evaluate_coco(tiny_truth(), tiny_results(), BODY).ap == pytest.approx(1)


def test_images_without_people_have_no_figures():
    figures = evaluate_coco(tiny_truth(), [], BODY, image_ids=[2]).figures["body"]
    assert set(figures.values()) == {-1}


def test_input_stays_as_it_is_and_files_do_too(tmp_path):
    truth, results = tiny_truth(), tiny_results()
    report = evaluate_coco(truth, results, BODY)
    assert (truth, results) == (tiny_truth(), tiny_results())
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert evaluate_coco(tmp_path / "truth.json", str(tmp_path / "results.json"), BODY) == report
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        evaluate_coco(truth, tmp_path / "none.json", BODY)


def change(key, value):
    def edit(truth, results):
        results[0][key] = value

    return edit


def change_truth(edit):
    return lambda truth, results: edit(truth)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("image_id", 3), r"images that are not evaluated: 3"),
        (change("category_id", 2), r"categories that do not exist: 2; the ground truth has 1"),
        (change("keypoints", [1.0] * 50), r"result 0 has 16.6667 keypoints, coco17 has 17"),
        (change("keypoints", [float("nan")] * 51), r"result 0 has keypoints that are not finite numbers"),
        (change("score", float("nan")), r"entry 0 of the results has the score nan, not a finite number"),
        (lambda truth, results: results[0].pop("score"), r"result 0 has no score"),
        (change_truth(lambda t: t.pop("annotations")), r"truth is not a COCO file.*'annotations'"),
        (change_truth(lambda t: t["images"].append(3)), r"not a COCO file: entry 2 of the images is 3"),
        (
            change_truth(lambda t: t["annotations"][0].update(keypoints=["x"] * 51)),
            r"annotation 0 has keypoints that are not finite numbers",
        ),
        (lambda truth, results: results.append("x"), r"entry 1 of the results is 'x'"),
        (change_truth(lambda t: t["annotations"].clear()), r"no person .* labelled keypoint"),
        (change_truth(lambda t: t["annotations"][0].update(keypoints=[0] * 51)), r"no person .* labelled keypoint"),
        (change_truth(lambda t: t["annotations"][0].update(keypoints=[1] * 54)), r"annotation 0 has 18 keypoints"),
        (change_truth(lambda t: t["annotations"][0].update(image_id=9)), r"annotation 0: image 9"),
        (change("keypoints", 5), r"result 0 has the keypoints 5, not a list of numbers"),
        (change("keypoints", "x" * 51), r"result 0 has the keypoints 'xxx.*, not a list of numbers"),
        (change("image_id", [1]), r"entry 0 of the results has the image_id \[1\], not a whole number"),
        (
            change_truth(lambda t: t["images"][1].update(id=[2])),
            r"ground truth: entry 1 of the images has the id \[2\], not",
        ),
        (change_truth(lambda t: t["annotations"][0].update(keypoints=5)), r"annotation 0 has the keypoints 5, not a list"),
        (change_truth(lambda t: t["annotations"][0].update(foot_kpts=5)), r"annotation 0 has the foot_kpts 5, not a list"),
        (change_truth(lambda t: t["annotations"][0].pop("bbox")), r"annotation 0 has no \['bbox'\]"),
        (change_truth(lambda t: t["annotations"][0].update(category_id=5)), r"image 1 or category 5 is not listed"),
        (change_truth(lambda t: t["annotations"][0].update(bbox=None)), r"annotation 0 has the box None, not left, top"),
        (change_truth(lambda t: t["annotations"][0].update(bbox=[1, 2, 3])), r"annotation 0 has the box \[1, 2, 3\], not"),
        (
            change_truth(lambda t: t["annotations"][0].update(area=float("nan"))),
            r"annotations has the area nan, not a finite",
        ),
        (change_truth(lambda t: t["categories"][0].update(keypoints=None)), r"'person' has the keypoints None, no list"),
        (
            change_truth(lambda t: t["categories"][0].update(keypoints="nose")),
            r"has the keypoints 'nose', no list",
        ),
        (change_truth(lambda t: t["categories"][0]["keypoints"].reverse()), r"not those of skeleton 'coco17'"),
    ],
)
def test_silently_wrong_input_is_refused(edit, message):
    truth, results = tiny_truth(), tiny_results()
    edit(truth, results)
    with pytest.raises(ValueError, match=message):
        evaluate_coco(truth, results, BODY)


def test_unknown_image_ids_and_a_results_dict_are_refused():
    with pytest.raises(ValueError, match=r"not in the ground truth: 5, 6, 7, 8, 9 and 1 more"):
        evaluate_coco(tiny_truth(), [], BODY, image_ids=range(5, 11))
    with pytest.raises(ValueError, match="one entry per person, got dict"):
        evaluate_coco(tiny_truth(), {"annotations": []}, BODY)


def test_own_skeleton_with_several_categories():
    skeleton = Skeleton.from_dict({"name": "stick", "keypoints": ["top", "bottom"]})
    person = {"image_id": 1, "area": 5000, "bbox": [0, 0, 50, 100], "iscrowd": 0}
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 3, "name": "red"}, {"id": 4, "name": "blue"}],
        "annotations": [
            {**person, "id": 1, "category_id": 3, "keypoints": [0, 0, 2, 0, 90, 2]},
            {**person, "id": 2, "category_id": 4, "keypoints": [40, 0, 2, 40, 90, 2]},
        ],
    }
    found = [{"image_id": 1, "category_id": 3, "score": 1, "keypoints": [0, 0, 1, 0, 90, 1]}]
    assert evaluate_coco(truth, found, skeleton).ap == pytest.approx(0.5)  # the mean over categories


def test_parts_by_hand():
    """One person found but for the right hand, a large one missed, a crowd, one without labels, and one invented."""
    parts = {"body": ["top", "bottom"], "left_hand": ["thumb", "tip"], "right_hand": ["palm"]}
    skeleton = Skeleton.from_dict({"name": "stick", "keypoints": ["top", "bottom", "thumb", "tip", "palm"], "parts": parts})

    def person(x, third, palm=40, **fields):
        points = np.column_stack([[x, x + 40, x, x, x + palm], [0, 40, 50, 60, 50], third]).ravel().tolist()
        return {"image_id": 1, "category_id": 1, "keypoints": points, **fields}

    labelled = [
        person(0, [2] * 5, id=1, area=2000),
        person(1000, [1, 0, 0, 0, 0], id=2, area=20000),
        person(2000, [2] * 5, id=3, area=2000, iscrowd=True),
        person(3000, [0] * 5, id=4, area=2000),
        {"id": 5, "image_id": 1, "category_id": 9, "keypoints": [0, 0, 2]},
    ]
    truth = {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": 1, "name": "person"}, {"id": 9, "name": "ball", "keypoints": ["seam"]}],
        "annotations": [{"bbox": [0, 0, 40, 60], **a} for a in labelled],
    }
    found = [
        person(5000, [1, 1, 0, 0, 0], score=0.9),
        person(0, [1, 1, 0, 1, 1], score=0.5, palm=900),
        person(2000, [1] * 5, score=0.95),
        person(0, [1] * 5, score=1, category_id=9),
    ]
    report = evaluate_coco(truth, found, skeleton)
    assert (report.images, report.persons, report.detections) == (2, 2, 3)
    half = 0.5 * 51 / 101  # precision at recalls 0, 0.01, ... 0.5
    assert report.figures["body"]["AP"] == pytest.approx(half)
    assert report.figures["body"]["AP (M)"] == pytest.approx(0.5) and report.figures["body"]["AP (L)"] == 0
    assert [report.figures[part]["AP"] for part in ("left_hand", "right_hand", "hand")] == pytest.approx([1, 0, 0.5])
    assert list(report.figures)[-1] == "whole" and report.figures["whole"]["AP .5"] == pytest.approx(half)
    labelled[0]["keypoints"][-1] = 0  # now nobody has a right hand
    assert evaluate_coco(truth, found, skeleton).figures["hand"]["AP"] == pytest.approx(1)
    assert evaluate_coco(truth, [], skeleton, image_ids=[2]).figures["hand"]["AP"] == -1


def test_report_says_protocol_and_figures():
    protocol = Protocol(network="GTPT-T", boxes="ground truth", flip_test=True, input_size=(192, 256))
    report = evaluate_coco(tiny_truth(), tiny_results(), BODY, protocol=protocol)
    text = str(report)
    assert "network: GTPT-T; boxes: ground truth; flip test: yes; input: 192x256" in text
    assert "coco17: 2 images, 1 persons, 1 detections" in text
    header, _, row = text.splitlines()[-3:]
    assert [c.strip() for c in header.strip("|").split("|")] == ["part", *METRICS]
    hundred = ["100.0"] * 10
    hundred[3] = hundred[8] = "-"
    assert [c.strip() for c in row.strip("|").split("|")] == ["body", *hundred]
    again = json.loads(json.dumps(report.to_dict()))
    assert again["figures"]["body"]["AP (M)"] == -1
    assert again["protocol"]["input_size"] == [192, 256]
    assert "protocol: not stated" in str(evaluate_coco(tiny_truth(), [], BODY))
