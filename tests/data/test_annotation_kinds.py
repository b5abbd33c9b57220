"""Files as tools and people write them: check, training, evaluation and boxes give the same answer, pycocotools' if any."""

import contextlib
import copy
import io
import json
import unicodedata
import zipfile

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtpt import load_skeleton
from gtpt.core.errors import AnnotationError, GtptError
from gtpt.data.annotations import Annotations, read_results
from gtpt.data.check import check
from gtpt.data.coco import read_coco, read_detections
from gtpt.data.config import Source
from gtpt.data.images import FileStore
from gtpt.detect.given import load_boxes
from gtpt.evaluate import evaluate_coco

from .figures import BOX, HEIGHT, WIDTH, coco_file, figure_keypoints, zipped

BODY = load_skeleton("coco17")


def plain():
    """Two people in two images."""
    people = [{"image_id": i, "keypoints": figure_keypoints(), "num_keypoints": 17} for i in (1, 2)]
    return coco_file(people, [{"id": i, "file_name": f"a{i}.jpg"} for i in (1, 2)])


def results(file):
    """Perfect ones."""
    people = [a for a in file["annotations"] if any(a.get("keypoints") or ())]
    return [{**{k: p[k] for k in ("image_id", "category_id", "keypoints")}, "score": 1.0} for p in people]


def root_category(file):
    """Roboflow puts a category above the real ones, with the same keypoints or none, which nobody belongs to."""
    file["categories"][0] |= {"name": "athlete", "supercategory": "athletes"}
    file["categories"].insert(0, {"id": 0, "name": "athletes", "supercategory": "none"})


def root_category_person(file):
    file["categories"][0] |= {"name": "athlete"}
    file["categories"].insert(0, {"id": 0, "name": "person", "keypoints": file["categories"][0]["keypoints"]})


def capital_person(file):
    file["categories"] = [{"id": 5, "name": "Dog", "keypoints": ["tail"]}, {**file["categories"][0], "name": "Person"}]


def ball(file):
    file["categories"].append({"id": 2, "name": "ball"})
    file["annotations"].append(
        {"id": 3, "image_id": 1, "category_id": 2, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}
    )


def ball_and_athlete(file):
    ball(file)
    file["categories"][0]["name"] = "athlete"


def people_without_keypoints(file):
    for number, more in enumerate(({}, {"keypoints": []}, {"keypoints": None}, {"keypoints": [0] * 51}), start=10):
        usual = {"image_id": 1, "category_id": 1, "bbox": [220, 20, 90, 300], "area": 9000.0, "iscrowd": 0}
        file["annotations"].append({"id": number, **usual, **more, "num_keypoints": 0})


def no_area(file):
    del file["annotations"][0]["area"]


def null_area(file):
    file["annotations"][0] |= {"area": None, "iscrowd": None}


def float_ids(file):
    for entry in file["annotations"]:
        entry |= {"image_id": float(entry["image_id"]), "category_id": 1.0, "id": float(entry["id"])}


def float_image_ids(file):
    for entry in file["images"]:
        entry["id"] = float(entry["id"])


def text_category_ids(file):
    for entry in file["annotations"]:
        entry["category_id"] = "1"


def text_categories(file):
    file["categories"][0]["id"] = "1"


def text_image_ids(file):
    for entry in file["annotations"]:
        entry["image_id"] = str(entry["image_id"])


def float_texts(file):
    for entry in file["annotations"]:
        entry |= {"image_id": f"{entry['image_id']}.0", "category_id": "1.0"}


def named_ids(file):
    for entry in file["images"]:
        entry["id"] = f"img-{entry['id']}"
    for entry in file["annotations"]:
        entry |= {"image_id": f"img-{entry['image_id']}", "category_id": "human"}
    file["categories"][0]["id"] = "human"


KINDS = [
    lambda _: None,
    root_category,
    root_category_person,
    capital_person,
    ball,
    ball_and_athlete,
    people_without_keypoints,
    no_area,
    null_area,
    float_ids,
    float_image_ids,
    text_category_ids,
    text_categories,
    text_image_ids,
    float_texts,
    named_ids,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_all_readers_agree(kind, tmp_path):
    """Two persons, perfect results with AP 1, a box in each image; the boxes of people without keypoints count too."""
    file = plain()
    kind(file)
    (tmp_path / "file.json").write_text(json.dumps(file))
    (tmp_path / "images").mkdir()
    for name in ("a1.jpg", "a2.jpg"):
        cv2.imwrite(str(tmp_path / "images" / name), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    source = Source(annotations=tmp_path / "file.json", images=tmp_path / "images")
    report = check([source], BODY)
    assert report.sources[0].counts["persons used"] == 2
    assert {f.kind for f in report.findings} == ({"no area"} if kind in (no_area, null_area) else set())
    persons = read_coco(source.annotations, BODY)
    assert len(persons) == 2 and persons.files.tolist() == ["a1.jpg", "a2.jpg"] and (persons.areas > 0).all()
    assert evaluate_coco(source.annotations, results(file), BODY).ap == 1
    boxes = load_boxes(source.annotations)
    more = 4 if kind is people_without_keypoints else 0
    assert [len(boxes.find(name)) for name in ("a1.jpg", "a2.jpg")] == [1 + more, 1]
    detections = [{"image_id": i["id"], "bbox": BOX, "score": 0.9} for i in file["images"]]
    (tmp_path / "detections.json").write_text(json.dumps(detections))
    assert read_detections(tmp_path / "detections.json", source.annotations, BODY).files.tolist() == ["a1.jpg", "a2.jpg"]


@pytest.mark.parametrize(
    "kind", [root_category, root_category_person, people_without_keypoints, float_ids, named_ids], ids=lambda k: k.__name__
)
def test_figures_are_those_of_pycocotools(kind, tmp_path):
    """Where it has any, on results that are not perfect: one person is missed, one is found where nobody has labels."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    file = plain()
    kind(file)
    found = results(file)
    moved = (np.array(found[1]["keypoints"]).reshape(-1, 3) + np.array([300, 20, 0])).ravel().tolist()
    found = [found[0], {**found[1], "keypoints": moved, "score": 0.9}, {**found[0], "keypoints": moved, "score": 0.7}]
    for entry in file["annotations"]:  # which pycocotools wants to be there
        entry["keypoints"] = entry.get("keypoints") or [0] * 51
    (tmp_path / "file.json").write_text(json.dumps(file))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(tmp_path / "file.json"))
        theirs = cocoeval.COCOeval(truth, truth.loadRes(copy.deepcopy(found)), "keypoints")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    ours = evaluate_coco(file, found, BODY)
    assert list(next(iter(ours.figures.values())).values()) == pytest.approx(theirs.stats.tolist(), abs=1e-9)


def test_two_kinds_of_people_are_no_guess():
    file = plain()
    file["categories"] = [{"id": 1, "name": "player"}, {"id": 2, "name": "referee"}]
    file["annotations"][1]["category_id"] = 2
    with pytest.raises(AnnotationError, match=r"no category 'person' among \['player', 'referee'\], and several have"):
        Annotations(file, "x").person_category()


def test_ids_that_are_no_ids(tmp_path):
    for wrong in (1.5, [1], {}, 10**30, True, None):
        file = plain()
        file["images"][0]["id"] = wrong
        for read in (lambda f: read_coco(f, BODY), lambda f: evaluate_coco(f, [], BODY)):
            with pytest.raises(AnnotationError, match=r"entry 0 of the images has the id .*, not a whole number"):
                read(file)
    file = plain()
    file["images"][0]["id"] = "one"
    with pytest.raises(AnnotationError, match="some ids of images are numbers and some are texts"):
        read_coco(file, BODY)


NAMES = {  # what the file says, and what lies there
    "backslashes": ("images\\été\\a.jpg", "images/été/a.jpg"),
    "composed": (unicodedata.normalize("NFC", "Zoé/Müller.jpg"), unicodedata.normalize("NFD", "Zoé/Müller.jpg")),
    "decomposed": (unicodedata.normalize("NFD", "Zoé/Müller.jpg"), unicodedata.normalize("NFC", "Zoé/Müller.jpg")),
    "both": (unicodedata.normalize("NFD", "Zoé\\Müller.jpg"), unicodedata.normalize("NFC", "Zoé/Müller.jpg")),
    "a real backslash": ("a\\b.jpg", "a\\b.jpg"),
    "dot": ("./a.jpg", "a.jpg"),
}


@pytest.mark.parametrize(("said", "real"), NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("packed", [False, True])
def test_names_of_other_systems(said, real, packed, tmp_path):
    path = tmp_path / "set" / real
    path.parent.mkdir(parents=True)
    path.write_bytes(b"picture")
    if packed and said.startswith("./"):
        pytest.skip("a member of a zip has no ./")
    store = FileStore(zipped(tmp_path / "set") if packed else tmp_path / "set")
    assert store.exists(said) and store.read_bytes(said) == b"picture"
    assert not store.exists("other.jpg")
    with pytest.raises(FileNotFoundError, match=r"other\.jpg"):
        store.read_bytes("other.jpg")


@pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "..\\secret.jpg", "/etc/passwd", "C:\\secret.jpg"])
def test_names_do_not_leave_their_folder(name, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "set" / "a").mkdir(parents=True)
    for call in (FileStore(tmp_path / "set").exists, FileStore(tmp_path / "set").read_bytes):
        with pytest.raises(AnnotationError, match=r"lies outside of .*set: names of images are relative to their folder"):
            call(name)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from(
        [10**400, -(10**400), 2**63, 1e308, float("inf"), float("nan"), "", "1", "nan", "é", [], {}, [1, 2, 3, 4]]
    ),
    st.lists(st.floats() | st.just(10**400), max_size=5),
    st.lists(st.floats(-1e3, 1e3), min_size=51, max_size=51),
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_a_file_holds_the_error_is_ours(data):
    """Values of any kind anywhere; read, refused with our error, and never anything else."""
    file = plain()
    for _ in range(data.draw(st.integers(1, 3))):
        entry = data.draw(st.sampled_from([*file["images"], *file["annotations"], *file["categories"]]))
        entry[data.draw(st.sampled_from([*entry, "foot_kpts"]))] = data.draw(VALUES)
    found = results(plain())
    found[0][data.draw(st.sampled_from([*found[0], "bbox"]))] = data.draw(VALUES)
    calls = (
        lambda: read_coco(file, BODY),
        lambda: evaluate_coco(file, results(plain()), BODY),
        lambda: evaluate_coco(plain(), found, BODY),
        lambda: [r.joints(BODY, "") is r.box("") for r in read_results(found, ("bbox",))],
    )
    for call in calls:
        with contextlib.suppress(GtptError):
            call()


TABLES = {
    "a quote that never closes": ('name,x1,y1,x2,y2\n"a.jpg,1,2,3,4\nb.jpg,1,2,3,4\n', "is not a CSV table, near line"),
    "a quote in the header": ('name,"x1,y1,x2,y2\na.jpg,1,2,3,4\n', "is not a CSV table, near line"),
    "a column twice": ("name,x1,y1,x2,y2,x1\na.jpg,1,2,3,4,5\n", r"has the columns \['x1'\] twice"),
    "a number without end": (
        f"name,x1,y1,x2,y2\na.jpg,1,2,3,{'9' * 5000}\n",
        "inverted, empty or not finite|allowed|beyond",
    ),
    "a field without end": (f"name,x1,y1,x2,y2\n{'a' * 200_000},1,2,3,4\n", "is not a CSV table, near line"),
}


@pytest.mark.parametrize(("text", "message"), TABLES.values(), ids=TABLES)
def test_tables_that_cannot_be_meant(text, message, tmp_path):
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(AnnotationError, match=message):
        load_boxes(tmp_path / "boxes.csv")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"images": ' + "9" * 5000, '{"images": [}'])
def test_json_that_nobody_can_read(text, tmp_path):
    (tmp_path / "file.json").write_text(text)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("file.json", text)
    for path in (tmp_path / "file.json", tmp_path / "set.zip" / "file.json"):
        for read in (lambda p: read_coco(p, BODY), lambda p: evaluate_coco(p, [], BODY)):
            with pytest.raises(AnnotationError, match=r"file\.json is not JSON"):
                read(path)
    with pytest.raises(AnnotationError, match=r"file\.json is not JSON"):
        load_boxes(tmp_path / "file.json")
