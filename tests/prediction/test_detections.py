"""`gtpt detect`: boxes go round, through files, into measuring and predicting, and no image is done twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import gtpt
from gtpt.cli.app import app
from gtpt.core.errors import OutputError
from gtpt.core.skeleton import load_skeleton
from gtpt.data.coco import read_detections
from gtpt.prediction.detections import write_detections

PHOTOS = Path(__file__).parents[2] / "examples/photos"
BOXES = {512: [60, 0, 420, 512], 600: [100.5, 20, 480, 590]}  # by the photo's height


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gtpt.prediction.detections.AT_ONCE", 1)


class Known:
    """A detector that knows the photos of the examples; it may be stopped."""

    def __init__(self, stop_at: int | None = None):
        self.calls, self.stop_at = 0, stop_at

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.calls += len(images)
        return [np.array([[*BOXES.get(len(image), BOXES[512]), 0.75]]) for image in images]


def size_of(photo: Path) -> dict[str, int]:
    with Image.open(photo) as opened:
        return {"width": opened.width, "height": opened.height}


def truth(path: Path, names: dict[int, str], **size: int) -> Path:
    """A COCO file with a person, whose joints lie somewhere, in each image."""
    images = [{"id": i, "file_name": name, **(size or size_of(PHOTOS / name))} for i, name in names.items()]
    people = [
        {
            **{"id": i, "image_id": i, "category_id": 1, "bbox": [60, 0, 360, 400], "area": 90000, "iscrowd": 0},
            "keypoints": [v for k in range(17) for v in (100 + 10 * k, 80 + 15 * k, 2)],
        }
        for i in names
    ]
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}))
    return path


def test_boxes_go_round(tmp_path: Path) -> None:
    names = {11: "astronaut.jpg", 7: "grace_hopper.jpg"}
    annotations, out = truth(tmp_path / "truth.json", names), tmp_path / "new/boxes.json"
    photos = sorted(PHOTOS.glob("*.jpg"))
    summary = write_detections(photos, out, detector=Known(), annotations=annotations, quiet=True)
    assert (summary.sources[0].frames, summary.sources[0].people, summary.exit_code) == (2, 2, 3)
    assert [name for name, _ in summary.skipped] == [(PHOTOS / "cameraman.jpg").as_posix()]
    persons = read_detections(out, annotations, load_skeleton("coco17"))
    assert persons.image_ids.tolist() == [11, 7] and persons.scores.tolist() == [0.75, 0.75]
    np.testing.assert_allclose(persons.boxes[0], [60, 0, 360, 512])

    pytest.importorskip("faster_coco_eval")
    measure = ["test", "--checkpoint", "gtpt-t-coco17", "--annotations", str(annotations), "--images", str(PHOTOS)]
    ran = CliRunner().invoke(app, [*measure, "--boxes", str(out), "--out", str(tmp_path / "results.json"), "--json"])
    assert ran.exit_code == 0, ran.output
    results = {r["image_id"]: r for r in json.loads((tmp_path / "results.json").read_text())}
    with gtpt.open_source(PHOTOS / "astronaut.jpg") as opened:
        poses = gtpt.PoseEstimator(flip_test=True)(next(opened).image, [BOXES[512]])
    found = np.reshape(results[11]["keypoints"], (17, 3))[:, :2]
    np.testing.assert_allclose(found, poses.keypoints[0], atol=0.02)


def test_predict_reads_them(tmp_path: Path) -> None:
    """By names without annotations, and the same people as from the detector itself."""
    photos = [PHOTOS / "astronaut.jpg", PHOTOS / "cameraman.jpg"]
    write_detections(photos, tmp_path / "boxes.json", detector=Known(), quiet=True)
    ids = [row["image_id"] for row in json.loads((tmp_path / "boxes.json").read_text())]
    assert ids == ["astronaut.jpg", "cameraman.jpg"]
    options = {"draw": False, "quiet": True, "format": "csv"}
    gtpt.predict(photos, tmp_path / "a", boxes=tmp_path / "boxes.json", **options)
    gtpt.predict(photos, tmp_path / "b", detector=Known(), **options)
    assert (tmp_path / "a/photos.csv").read_bytes() == (tmp_path / "b/photos.csv").read_bytes()


def test_numbers_of_coco_and_of_frames_are_ids(tmp_path: Path) -> None:
    Image.new("RGB", (64, 512)).save(tmp_path / "000000000139.png")
    frames = [Image.new("RGB", (64, 512), (40 * i, 0, 0)) for i in range(3)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:], duration=100)
    for source, ids in (("000000000139.png", [139]), ("film.gif", [0, 1, 2])):
        write_detections(tmp_path / source, tmp_path / "out.json", detector=Known(), quiet=True)
        assert [row["image_id"] for row in json.loads((tmp_path / "out.json").read_text())] == ids


@pytest.mark.parametrize("orientation", range(2, 9))
def test_boxes_are_on_the_pixels_that_the_annotations_mean(orientation: int, tmp_path: Path) -> None:
    """A red rectangle is found on the picture as it is seen, and its box fits the pixels of the file."""
    pixels, exif = np.zeros((64, 96, 3), np.uint8), Image.Exif()
    pixels[10:30, 20:70, 0] = 255
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    annotations = truth(tmp_path / "truth.json", {5: "a.png"}, width=96, height=64)

    def red(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        spans = [[np.flatnonzero(image[..., 0].any(axis=axis)) for axis in (0, 1)] for image in images]
        return [np.array([[x[0], y[0], x[-1] + 1, y[-1] + 1]]) for x, y in spans]

    write_detections(tmp_path / "a.png", tmp_path / "out.json", detector=red, annotations=annotations, quiet=True)
    (row,) = json.loads((tmp_path / "out.json").read_text())
    assert (row["image_id"], row["bbox"]) == (5, [20, 10, 50, 20])


@pytest.mark.parametrize("spoiled", [b"", b"\0" * 20 + b"\n", b"7\n"], ids=["killed", "crashed machine", "foreign"])
def test_a_stopped_call_goes_on_and_spoiled_lines_do_not_count(spoiled: bytes, tmp_path: Path) -> None:
    photos, out = sorted(PHOTOS.glob("*.jpg")), tmp_path / "boxes.json"
    write_detections(photos, out, detector=Known(), quiet=True)
    whole = out.read_bytes()
    out.unlink()
    stopped = write_detections(photos, out, detector=Known(stop_at=2), quiet=True)
    assert stopped.exit_code == 130 and not out.exists()
    journal = tmp_path / "boxes.json.journal"
    journal.write_bytes(journal.read_bytes()[:-9] + spoiled)
    again = Known()
    assert write_detections(photos, out, detector=again, quiet=True).exit_code == 0
    assert (again.calls, out.read_bytes()) == (2, whole) and not journal.exists()


def test_a_second_call_for_the_same_file_is_refused(tmp_path: Path) -> None:
    out, errors = tmp_path / "boxes.json", []

    def calls_again(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        with pytest.raises(OutputError, match="another call writes") as error:
            write_detections(PHOTOS / "astronaut.jpg", out, detector="whole-image", quiet=True)
        errors.append(error)
        return Known()(images)

    write_detections(PHOTOS / "astronaut.jpg", out, detector=calls_again, quiet=True)
    assert errors and len(json.loads(out.read_text())) == 1


def test_what_was_stopped_counts_for_the_same_settings_and_photos_only(tmp_path: Path) -> None:
    photos, out = sorted(PHOTOS.glob("*.jpg")), tmp_path / "boxes.json"
    write_detections(photos, out, detector=Known(stop_at=2), quiet=True)
    write_detections(photos[2:], out, detector=Known(), quiet=True)
    assert [row["image_id"] for row in json.loads(out.read_text())] == [photos[2].name]
    write_detections(photos, out, detector=Known(stop_at=2), quiet=True)
    write_detections(photos, out, detector="whole-image", quiet=True)
    assert [row["score"] for row in json.loads(out.read_text())] == [1, 1, 1]


def test_what_was_stopped_does_not_count_for_annotations_that_have_changed(tmp_path: Path) -> None:
    """The ids of images come from them."""
    photos, out, listed = sorted(PHOTOS.glob("*.jpg")), tmp_path / "boxes.json", tmp_path / "truth.json"
    for first, stop_at in ((1, 2), (8, None)):
        truth(listed, {first + i: photo.name for i, photo in enumerate(photos)})
        write_detections(photos, out, detector=Known(stop_at=stop_at), annotations=listed, quiet=True)
    assert [row["image_id"] for row in json.loads(out.read_text())] == [8, 9, 10]


def test_a_photo_that_has_changed_is_done_again(tmp_path: Path) -> None:
    photos, out = [tmp_path / f"{n}.png" for n in range(3)], tmp_path / "boxes.json"
    for photo in photos:
        Image.new("RGB", (64, 512)).save(photo)
    write_detections(photos, out, detector=Known(stop_at=2), quiet=True)
    Image.new("RGB", (700, 600), (9, 90, 9)).save(photos[0])
    again = Known()
    write_detections(photos, out, detector=again, quiet=True)
    assert again.calls == 2 and json.loads(out.read_text())[0]["bbox"][2] == pytest.approx(379.5)


def test_two_photos_of_one_name_are_not_one_image(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (64, 512)).save(tmp_path / folder / "1.png")
    summary = write_detections([tmp_path / "a", tmp_path / "b"], tmp_path / "out.json", detector=Known(), quiet=True)
    assert len(json.loads((tmp_path / "out.json").read_text())) == 1
    assert "image id 1" in dict(summary.skipped)[(tmp_path / "b/1.png").as_posix()] and summary.exit_code == 3


@pytest.mark.parametrize(
    ("sources", "options", "message"),
    [
        ("astronaut.jpg", {"out": "boxes.csv"}, r"\*\.json"),
        ("astronaut.jpg", {"detector": "yolox.txt"}, "yolox.txt"),
        ("astronaut.jpg", {"detector_threshold": 0.5}, "its own threshold"),
        ("astronaut.jpg", {"annotations": "gone.json"}, "gone.json"),
        ("astronaut.jpg", {"annotations": "out.json", "out": "out.json"}, "this call reads"),
        (["film.gif", "film.gif"], {}, "one video"),
    ],
)
def test_what_cannot_work_is_said_before_it_begins(
    sources: str | list[str], options: dict, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    truth(tmp_path / "out.json", {1: "astronaut.jpg"})
    frames = [Image.new("RGB", (9, 9), (i, 0, 0)) for i in range(2)]
    frames[0].save("film.gif", save_all=True, append_images=frames[1:])
    names = [sources] if isinstance(sources, str) else sources
    before = sorted(tmp_path.iterdir())
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        write_detections(
            [PHOTOS / n if n.endswith("jpg") else n for n in names], **{"detector": Known(), "quiet": True, **options}
        )
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_finds_people_with_the_network(shared: Path, tmp_path: Path) -> None:
    """The boxes that the sample's own file has, which came from the same network."""
    sample = shared / "data/coco_sample"
    detector, out = shared / "data/detector/yolox_nano.onnx", tmp_path / "boxes.json"
    photos = sorted((sample / "images/val2017").glob("*.jpg"))[:4]
    options = ["--detector", str(detector), "--detector-threshold", "0.3", "--out", str(out)]
    ran = CliRunner().invoke(app, ["detect", *map(str, photos), *options])
    assert ran.exit_code == 0, ran.output
    known = json.loads((sample / "person_detection_results/COCO_val2017_detections_yolox_nano.json").read_text())
    ids = {int(photo.stem) for photo in photos}
    expected = [row for row in known if row["image_id"] in ids and row["score"] >= 0.3]
    found = json.loads(out.read_text())
    key = lambda row: (row["image_id"], row["score"])  # noqa: E731
    for ours, theirs in zip(sorted(found, key=key), sorted(expected, key=key), strict=True):
        assert ours["image_id"] == theirs["image_id"]
        np.testing.assert_allclose(ours["bbox"], theirs["bbox"], atol=1.5)
