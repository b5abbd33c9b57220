"""A teacher's maps land where the augmented crop shows what they speak of, and mix with labels as said."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtpt import load_skeleton
from gtpt.core import simcc
from gtpt.core.errors import InputError
from gtpt.data.augment import AugmentConfig, paste
from gtpt.data.check import check_data
from gtpt.data.coco import read_coco
from gtpt.data.config import DataConfig, TrainSource
from gtpt.data.dataset import Collate, CropDataset, smooth
from gtpt.data.images import FileStore
from gtpt.data.teacher import load_teacher, splat
from gtpt.evaluate.run import evaluate_network
from gtpt.model import load
from gtpt.train.config import Experiment
from gtpt.train.run import teach, train, training_set

from .figures import few_points, write_set, write_skeleton

BODY = load_skeleton("coco17")
SIZE, SPLIT, BINS = (48, 64), 2.0, (96, 128)
EVERYTHING = AugmentConfig(half_body=0.5, scale=0.4, rotation=40, rotation_chance=1, flip=0.5, shift=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("data") / "set", 6)


def write_maps(path: Path, persons, *, score: float = 0.8, skip: int | None = None) -> Path:
    """Maps of one hot cell each, at the labelled joint: a cell is a quarter of a pixel, and the map starts at (-3, 5)."""
    rows = [i for i in range(len(persons)) if i != skip]
    heat = np.zeros((len(rows), 17, 420, 340), np.uint8)
    for n, i in enumerate(rows):
        column, row = np.round((persons.keypoints[i] - (-3, 5)) * 4).astype(int).T
        heat[n, np.arange(17), row, column] = 255
    found = np.concatenate([persons.keypoints[rows] + 1, np.full((len(rows), 17, 1), score)], axis=2)
    matrices = np.tile([[0.25, 0, -3], [0, 0.25, 5]], (len(rows), 1, 1))
    ids = np.array([persons.ids[i] for i in rows])
    np.savez(path, id=ids, heat=heat, M=matrices, keypoints=found.astype(np.float32))
    return path


def taught_set(folder, path, augment=EVERYTHING, **changes):
    persons = read_coco(folder / "annotations.json", BODY)
    stores = [FileStore(folder / "images")]
    return CropDataset(
        persons, stores, BODY, SIZE, augment, teachers=(load_teacher(path, persons, BODY),), split=SPLIT, **changes
    )


def test_maps_follow_the_augmentation(folder, tmp_path):
    """Mirrored, turned, moved and scaled, the teacher's peak stays on the joint that its cell was drawn on."""
    crops = taught_set(folder, write_maps(tmp_path / "maps.npz", read_coco(folder / "annotations.json", BODY)))
    flips = 0
    for epoch in range(4):
        for index in range(6):
            item = crops[epoch, index]
            inside = np.all((item["joints"] > 2) & (item["joints"] < np.array(SIZE) - 3), axis=1)
            flips += np.linalg.det(item["affine"][:, :2]) > 0 and item["joints"][5, 0] < item["joints"][6, 0]
            for axis, name in enumerate(("teacher_x", "teacher_y")):
                bins = np.arange(BINS[axis])
                center = (item[name] * bins).sum(axis=1) / np.maximum(item[name].sum(axis=1), 1e-9)
                np.testing.assert_allclose(center[inside], item["joints"][inside, axis] * SPLIT, atol=0.15)
                np.testing.assert_allclose(item[name].sum(axis=1)[inside], 1, rtol=1e-5)
    assert flips, "no crop was mirrored, which was to be tested"


@given(st.floats(-20, 120), st.floats(-20, 120))
def test_a_point_is_shared_between_two_bins(x, y):
    axes = splat(np.array([[[x, y]]]), np.ones((1, 1)), (96, 128), 1.0)
    for vector, place in zip(axes, (x, y), strict=True):
        expected = np.maximum(1 - np.abs(np.arange(vector.shape[1]) - place), 0)
        np.testing.assert_allclose(vector[0], expected, atol=1e-6)


def test_smoothing_makes_the_target_of_a_label():
    point = np.zeros((1, 1, 96), np.float32)
    point[..., 40] = 1
    label = simcc.encode(np.array([[20.0, 20.0]]), np.ones(1), SIZE, SPLIT, 4.0)[0]
    np.testing.assert_allclose(smooth(point, 4.0)[0], label, atol=1.5e-3)


def test_labels_and_maps_mix_by_the_teachers_score(folder, tmp_path):
    crops = taught_set(folder, write_maps(tmp_path / "maps.npz", read_coco(folder / "annotations.json", BODY)), None)
    crops.persons.visible[0, 3] = 0.8  # the teacher's alone
    crops.persons.visible[0, 4] = 0
    item = crops[0, 0]
    label = simcc.encode(item["joints"], np.ones(17), SIZE, SPLIT, 3.0)[1]
    soft = smooth(item["teacher_y"], 3.0)
    batch = Collate(SIZE, SPLIT, 3.0, teacher=0.5)([item])
    target, weight = batch["target_y"][0].numpy(), batch["weight"][0].numpy()
    np.testing.assert_allclose(target[0], 0.6 * label[0] + 0.4 * soft[0], atol=1e-6)  # 0.4 = 0.5 of a score of 0.8
    np.testing.assert_allclose(target[3], soft[3], atol=1e-6)
    np.testing.assert_allclose(weight[[0, 3, 4]], [1, 0.8, 0])
    assert "teacher_x" not in batch and set(batch) == set(Collate(SIZE, SPLIT)([plain(item)]))
    labels_alone = Collate(SIZE, SPLIT, 3.0, teacher=0.0)([item])
    np.testing.assert_allclose(labels_alone["target_y"][0, 0].numpy(), label[0], atol=1e-6)


def plain(item):
    return {key: value for key, value in item.items() if not key.startswith("teacher")}


def test_a_person_whom_the_teacher_was_not_shown_keeps_its_labels(folder, tmp_path):
    persons = read_coco(folder / "annotations.json", BODY)
    crops = taught_set(folder, write_maps(tmp_path / "maps.npz", persons, skip=2))
    taught, alone = Collate(SIZE, SPLIT, teacher=0.5)([crops[0, 2]]), Collate(SIZE, SPLIT)([plain(crops[0, 2])])
    for key in alone:
        np.testing.assert_array_equal(taught[key].numpy(), alone[key].numpy(), err_msg=key)


def test_keypoints_without_a_label_are_the_teachers(folder, tmp_path):
    persons = read_coco(folder / "annotations.json", BODY)
    path = write_maps(tmp_path / "maps.npz", persons, skip=1)
    persons.visible[0, 5:] = 0
    teacher = load_teacher(path, persons, BODY)
    teacher.scores[0, 16] = 0.1  # not sure
    taught = teach(persons, teacher)
    np.testing.assert_array_equal(taught.keypoints[0, :5], persons.keypoints[0, :5])
    np.testing.assert_allclose(taught.keypoints[0, 5:16], persons.keypoints[0, 5:16] + 1, atol=1e-4)
    assert (taught.visible[0, :5] == 1).all() and np.allclose(taught.visible[0, 5:16], 0.8) and taught.visible[0, 16] == 0
    assert (taught.visible[1] == 1).all(), "the teacher was not shown this one"
    assert persons.visible[0, 5] == 0, "the persons that were given are changed"


def test_boxes_are_enough_for_a_source_without_labels(folder, tmp_path):
    """Neither keypoints nor areas; crowds are left out as ever."""
    path = write_maps(tmp_path / "maps.npz", read_coco(folder / "annotations.json", BODY))
    data = json.loads((folder / "annotations.json").read_text())
    for annotation in data["annotations"]:
        del annotation["keypoints"], annotation["area"]
    data["annotations"][0]["keypoints"] = [1, 1, 2]  # whatever it is, nobody looks at it
    data["annotations"][3]["iscrowd"] = 1
    (tmp_path / "boxes.json").write_text(json.dumps(data))
    source = TrainSource(annotations=tmp_path / "boxes.json", images=folder / "images", teacher=path, labels=False)
    setup = {"out": tmp_path, "model": {"input_size": SIZE}, "data": {"train": [source], "augment": EVERYTHING}}
    crops = training_set(Experiment.model_validate(setup))
    assert len(crops) == 5 and np.allclose(crops.persons.visible, 0.8)
    batch = Collate(SIZE, SPLIT, teacher=0.5)([crops[0, 0]])
    assert batch["weight"].max() == pytest.approx(0.8) and batch["target_x"].sum() > 0


def test_labels_off_without_a_teacher_is_refused(folder):
    with pytest.raises(ValueError, match="needs a `teacher`"):
        TrainSource(annotations=folder / "annotations.json", images=folder, labels=False)


def test_a_teacher_of_other_people_is_refused(folder, tmp_path):
    persons = read_coco(folder / "annotations.json", BODY)
    path = write_maps(tmp_path / "maps.npz", persons)
    persons.ids[:] = [i + 1000 for i in persons.ids]
    with pytest.raises(ValueError, match="knows none of the people of this data set"):
        load_teacher(path, persons, BODY)


def test_files_that_hold_no_maps_are_refused(folder, tmp_path):
    persons = read_coco(folder / "annotations.json", BODY)
    path = write_maps(tmp_path / "maps.npz", persons)
    with pytest.raises(ValueError, match=r"heat is \(6, 17, 420, 340\), not \(6, 133, 420, 340\)"):
        load_teacher(path, persons, load_skeleton("coco_wholebody133"))
    np.savez(tmp_path / "other.npz", id=np.arange(3))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("other", "text"):
        with pytest.raises(ValueError, match=f"{name}.npz holds no teacher's maps"):
            load_teacher(tmp_path / f"{name}.npz", persons, BODY)
    fine = {"id": [1], "heat": np.zeros((1, 17, 8, 8)), "M": np.eye(2, 3)[None], "keypoints": np.zeros((1, 17, 3))}
    infinite = {name: np.where(np.arange(3) == 1, np.inf, fine[name]) for name in ("M", "keypoints")}
    for change, message in (
        ({"heat": fine["heat"][..., 0]}, r"heat is \(1, 17, 8\)"),
        ({"M": infinite["M"]}, "not finite"),
        ({"keypoints": infinite["keypoints"]}, "not finite"),
    ):
        np.savez(tmp_path / "odd.npz", **fine | change)
        with pytest.raises(ValueError, match=message):
            load_teacher(tmp_path / "odd.npz", persons, BODY)
    with pytest.raises(FileNotFoundError, match="no teacher's maps or results at"):
        load_teacher(tmp_path / "absent.npz", persons, BODY)


def test_maps_are_sharpened(folder, tmp_path):
    """Squared, two cells of 0.8 and 0.2 become 16 / 17 and 1 / 17."""
    persons = read_coco(folder / "annotations.json", BODY)
    heat = np.zeros((1, 17, 8, 8), np.uint8)
    heat[0, 0, 2, 3], heat[0, 0, 5, 6] = 255, round(255 * 0.25**0.5)
    one = persons.ids[:1].astype(int)
    np.savez(tmp_path / "m.npz", id=one, heat=heat, M=[[[1, 0, 0], [0, 1, 0]]], keypoints=np.full((1, 17, 3), 3.0))
    teacher = load_teacher(tmp_path / "m.npz", persons, BODY)
    assert {a.dtype.name for a in (teacher.points, teacher.mass, teacher.keypoints, teacher.scores)} == {"float32"}
    assert (teacher.scores == 1).all() and teacher.points.shape == (1, 17, 64, 2)
    best = teacher.mass[0, 0].argmax()
    assert teacher.mass[0, 0, best] == pytest.approx(16 / 17, abs=3e-3)
    assert tuple(teacher.points[0, 0, best]) == (3, 2) and teacher.row(one[0]) == 0 and teacher.row(10**6) is None


def test_results_of_another_network_are_a_teacher(folder, tmp_path):
    """Each goes to the person of its image whom it overlaps; people whom it missed keep their labels."""
    persons = read_coco(folder / "annotations.json", BODY)
    persons.image_ids[1] = persons.image_ids[0]  # two people in one image
    persons.boxes[1, 0] += 200
    persons.keypoints[1, :, 0] += 200
    results = []
    for i in (1, 0, 2):
        joints = np.column_stack([persons.keypoints[i] + 0.5, np.full(17, 0.7 if i else 3.0)])
        results.append({"image_id": int(persons.image_ids[i]), "keypoints": joints.ravel().tolist(), "score": 0.9})
    results[2]["keypoints"][0::3] = [x + 500 for x in results[2]["keypoints"][0::3]]  # somebody else
    (tmp_path / "results.json").write_text(json.dumps(results))
    teacher = load_teacher(tmp_path / "results.json", persons, BODY)
    assert [teacher.row(i) is None for i in persons.ids[:3]] == [False, False, True]
    for i in (0, 1):
        row = teacher.row(persons.ids[i])
        np.testing.assert_allclose(teacher.points[row, :, 0], persons.keypoints[i] + 0.5, atol=1e-4)
        np.testing.assert_allclose(teacher.scores[row], 0.7 if i else 1.0, atol=1e-6)
    (tmp_path / "coco.json").write_text("{}")
    with pytest.raises(ValueError, match="results must be a list"):
        load_teacher(tmp_path / "coco.json", persons, BODY)


@pytest.mark.parametrize(("share", "known"), [(0.52, True), (0.48, False)])
def test_a_result_is_of_the_person_whose_box_it_overlaps_by_half(folder, tmp_path, share, known):
    persons = read_coco(folder / "annotations.json", BODY).select(np.array([0]))
    low, high = persons.keypoints[0].min(axis=0), persons.keypoints[0].max(axis=0)
    persons.boxes[0] = *low, *(high - low) / (1, share)
    joints = np.column_stack([persons.keypoints[0], np.ones(17)]).ravel().tolist()
    elsewhere = [*(persons.keypoints[0] + 1000).mean(axis=0), 1] * 17
    rows = [{"image_id": int(persons.image_ids[0]), "keypoints": k} for k in (elsewhere, joints)]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    if not known:
        with pytest.raises(ValueError, match="knows none"):
            load_teacher(tmp_path / "results.json", persons, BODY)
        return
    teacher = load_teacher(tmp_path / "results.json", persons, BODY)
    np.testing.assert_allclose(teacher.keypoints[0], persons.keypoints[0], atol=1e-4)
    assert teacher.mass.tolist() == [[[1.0]] * 17] and teacher.points.dtype == np.float32


def test_a_pasted_piece_covers_some_of_the_crop():
    rng = np.random.default_rng(0)
    crop, other = np.zeros((64, 48, 3), np.uint8), np.full((30, 50, 3), 200, np.uint8)
    before, covered = crop.copy(), []
    for _ in range(50):
        out = paste(crop, other, rng)
        assert set(np.unique(out)) <= {0, 200}
        covered.append((out[..., 0] == 200).mean())
    assert 0.005 < min(covered) and max(covered) < 0.25 and np.ptp(covered) > 0.1
    np.testing.assert_array_equal(crop, before)


@pytest.mark.integration
def test_training_from_a_teacher_alone_learns(tmp_path):
    """`gtpt train` with wrong labels that are switched off: what it learns can only come from the maps."""
    folder = write_set(tmp_path / "set", 4)
    persons = read_coco(folder / "annotations.json", BODY)
    path = write_maps(tmp_path / "maps.npz", persons)
    data = json.loads((folder / "annotations.json").read_text())
    for annotation in data["annotations"]:
        annotation["keypoints"] = [3.0, 3.0, 2] * 17
    (tmp_path / "wrong.json").write_text(json.dumps(data))
    source = {"annotations": tmp_path / "wrong.json", "images": folder / "images", "teacher": path, "labels": False}
    setup = {
        "out": tmp_path / "out",
        "model": {"input_size": (48, 64)},
        "data": {"train": [source], "workers": 0, "augment": {"half_body": 0, "flip": 0, "rotation_chance": 0, "scale": 0}},
        "train": {"epochs": 60, "batch_size": 4, "passes": "pruned", "convolutions": "kaiming", "sigma": 6, "lr": 2e-3,
                  "accelerator": "cpu", "validate_every": 0, "ema": 0.9, "schedule": "cosine", "guidance": 0.002},
    }  # fmt: skip
    best = train(Experiment.model_validate(setup), progress=False)
    found = evaluate_network(load(best), folder / "annotations.json", folder / "images", flip_test=False).found
    error = np.linalg.norm(found.keypoints - persons.keypoints, axis=2).mean()
    assert error < 25, "the wrong labels are 55 px away on average"


def test_a_file_and_its_teacher_of_another_skeleton_are_matched_by_name(folder, tmp_path):
    """COCO's labels and maps for a network of 133 points, and for one of a few points in another order."""
    few = few_points("left_ankle", "hat", "nose")
    path = write_maps(tmp_path / "maps.npz", read_coco(folder / "annotations.json", BODY), score=0.8)
    source = {
        "annotations": folder / "annotations.json",
        "images": folder / "images",
        "teacher": path,
        "skeleton": "coco17",
    }
    plain_set = taught_set(folder, path, None)
    for skeleton in (load_skeleton("coco_wholebody133"), few):
        model = {"skeleton": str(write_skeleton(tmp_path / "few.yaml", skeleton)), "input_size": SIZE, "simcc_split": SPLIT}
        experiment = Experiment.model_validate({"out": tmp_path, "model": model, "data": {"train": [source]}})
        crops = replace(training_set(experiment), augment=None)
        own, whole = (np.array(i) for i in BODY.shared_with(skeleton))
        rest = np.setdiff1d(np.arange(len(skeleton)), whole)
        for index in range(len(crops)):
            expected, got = plain_set[0, index], crops[0, index]
            for key in ("joints", "teacher_x", "teacher_y", "teacher_weight"):
                labelled = expected["visible"][own] > 0
                np.testing.assert_allclose(got[key][whole][labelled], expected[key][own][labelled], atol=1e-6)
            assert len(got["visible"]) == len(skeleton) and not got["visible"][rest].any()
            assert not got["teacher_x"][rest].any() and not got["teacher_weight"][rest].any()
        assert not check_data(experiment.data, skeleton).findings


def test_a_file_of_a_skeleton_that_shares_no_keypoint_is_refused(folder, tmp_path):
    hand = load_skeleton("coco_wholebody133")
    other = few_points("hat")
    with pytest.raises(InputError, match="'coco_wholebody133' and 'few' share no keypoint"):
        hand.shared_with(other)
    source = TrainSource(annotations=folder / "annotations.json", images=folder / "images", skeleton="coco17")
    assert "share no keypoint" in str(check_data(DataConfig(train=(source,)), other))


def test_a_teacher_has_keypoints_of_its_own(folder, tmp_path):
    """Labels of one skeleton, maps of another, a network of a third: each point has what either knows of its name."""
    names = ("left_ankle", "hat", "nose")
    few = str(write_skeleton(tmp_path / "few.yaml", few_points(*names)))
    path = write_maps(tmp_path / "maps.npz", read_coco(folder / "annotations.json", BODY), score=0.8)
    data = json.loads((folder / "annotations.json").read_text())
    for person in data["annotations"]:
        person["keypoints"] = [*person["keypoints"][45:48], 5, 6, 2, 0, 0, 0]  # no label of the nose
    data["categories"][0]["keypoints"] = list(names)
    (tmp_path / "few.json").write_text(json.dumps(data))
    source = {
        "annotations": tmp_path / "few.json",
        "images": folder / "images",
        "skeleton": few,
        "teacher": path,
        "teacher_skeleton": "coco17",
    }
    model = {"skeleton": few, "input_size": SIZE, "simcc_split": SPLIT}
    experiment = Experiment.model_validate({"out": tmp_path, "model": model, "data": {"train": [source]}})
    crops, plain_set = replace(training_set(experiment), augment=None), taught_set(folder, path, None)
    for index in range(len(crops)):
        expected, got = plain_set[0, index], crops[0, index]
        np.testing.assert_allclose(got["teacher_x"][[0, 2]], expected["teacher_x"][[15, 0]], atol=1e-6)
        np.testing.assert_allclose(got["teacher_weight"], [0.8, 0, 0.8], atol=1e-6)
        np.testing.assert_allclose(got["visible"], [1 if expected["visible"][15] else 0.8, 1, 0.8], atol=1e-6)
    del source["teacher_skeleton"]
    experiment = Experiment.model_validate({"out": tmp_path, "model": model, "data": {"train": [source]}})
    with pytest.raises(ValueError, match="teacher_skeleton"):
        training_set(experiment)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"teacher": "gone.npz"}, "gone.npz"),
        ({"teacher": "maps.npz", "teacher_skeleton": "gone"}, "no skeleton 'gone'"),
        ({"teacher": "maps.npz", "teacher_skeleton": "coco_feet23"}, "23 keypoints"),
    ],
)
@pytest.mark.parametrize("labels", [True, False])
def test_the_check_says_what_training_would(folder, tmp_path, labels, teacher, message, monkeypatch):
    """Of teachers; labels that are switched off may be missing and are not looked at."""
    monkeypatch.chdir(tmp_path)
    data = json.loads((folder / "annotations.json").read_text())
    for person in data["annotations"]:
        person.update({} if labels else {"keypoints": [1, 2, 3]})
    Path("annotations.json").write_text(json.dumps(data))
    write_maps(Path("maps.npz"), read_coco(folder / "annotations.json", BODY))
    source = {"annotations": "annotations.json", "images": str(folder / "images"), "labels": labels}
    good = DataConfig(train=[source | {"teacher": "maps.npz"}])
    (report,) = check_data(good, BODY).sources
    assert not report.findings and report.counts["persons used"] == 6
    bad = DataConfig(train=[source | teacher])
    (finding,) = check_data(bad, BODY).findings
    assert (finding.kind, finding.effect) == ("unusable teacher", "stops training") and message in finding.detail
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        training_set(Experiment(out=tmp_path, data=bad))
    assert str(error.value) == finding.detail


def test_people_that_are_still_to_be_rendered_are_no_mistake(tmp_path):
    data = DataConfig(train=[{"images": tmp_path / "people.zip", "synthetic": {"people": 3}}])
    (report,) = check_data(data, BODY).sources
    assert not report.findings and report.counts == {"people to render before training": 3}
