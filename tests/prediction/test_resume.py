"""`--resume`: after a kill at any moment all files are those of a whole call, and no network runs twice."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import gtpt
from gtpt.core.errors import InputError
from gtpt.engines.onnx import OnnxEngine
from gtpt.prediction.journal import Journal, journal_path
from gtpt.prediction.outputs import Summary

pytestmark = pytest.mark.integration

PHOTO = Path(__file__).parents[2] / "examples/photos/cameraman.jpg"
BOXES = {i: [[4, 4, 60, 90], [40 + i, 2, 100 + i, 92]] for i in range(60)}  # of the frames of a film


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 photos of 120x96."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    folder.mkdir()
    picture = cv2.resize(cv2.imread(str(PHOTO)), (120, 96))
    for i in range(20):
        (folder / f"{i}.png").write_bytes(cv2.imencode(".png", np.roll(picture, 3 * i, axis=1))[1].tobytes())
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames of 120x96, 10 in a second."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    picture = cv2.cvtColor(cv2.resize(cv2.imread(str(PHOTO)), (120, 96)), cv2.COLOR_BGR2RGB)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 120, 96, "yuv420p"
        for i in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(picture, 3 * i, axis=1), format="rgb24")))
        container.mux(stream.encode())
    return path


class Crops:
    """How many people the network was shown."""

    def __init__(self) -> None:
        self.count = 0


@pytest.fixture(autouse=True)
def crops(monkeypatch: pytest.MonkeyPatch) -> Crops:
    """In place of the network, which takes long, one person in the middle of every crop, moved by its brightness."""
    seen = Crops()

    def run(self: OnnxEngine, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        seen.count += len(batch)
        places = np.random.default_rng(0).uniform(0.3, 0.7, (2, 1, self.info.config.num_keypoints, 1))
        shift = batch.mean(axis=(1, 2, 3))[:, None, None] / 8
        axes = zip(places, self.info.config.bins, strict=True)
        return tuple(-np.abs(np.arange(bins) - place * bins - shift).astype(np.float32) for place, bins in axes)

    monkeypatch.setattr(OnnxEngine, "_run", run)
    return seen


def run(source: object, out: Path, **options: Any) -> Summary:
    return gtpt.predict(source, out, **{"boxes": "whole-image", "quiet": True, "threads": 1, **options})  # type: ignore[arg-type]


def files(out: Path) -> dict[str, bytes]:
    """Everything in a folder that is seen, with its content."""
    found = sorted(path for path in out.rglob("*") if path.is_file() and ".resume" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}


def break_off(source: object, out: Path, after: int, **options: Any) -> None:
    """As a kill in the middle, as far as files tell: nothing is finished."""
    real, count = Journal.keep, iter(range(1000))

    def keep(self: Journal, *arguments: Any) -> None:
        if next(count) == after:
            raise SystemExit
        real(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "keep", keep)
        with pytest.raises(SystemExit):
            run(source, out, **options)


KINDS = ["coco", "jsonl", "csv", "npz", "parquet", "openpose"]


@pytest.mark.parametrize("kind", KINDS)
def test_photos_go_on_to_the_same_files(kind: str, photos: Path, tmp_path: Path, crops: Crops) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    whole = run(photos, tmp_path / "whole", format=kind)
    crops.count = 0
    break_off(photos, tmp_path / "out", 2, format=kind)
    summary = run(photos, tmp_path / "out", format=kind, resume=True)
    assert (
        crops.count == 2 * 20 + 2 * 4
    )  # eight photos at a time, each with the whole image and the box in it; one lot twice
    (source,), (before,) = summary.sources, whole.sources
    assert (source.resumed, source.frames, source.people) == (16, 20, before.people)
    assert [Path(f).name for f in source.files] == [Path(f).name for f in before.files]
    assert files(tmp_path / "out") == files(tmp_path / "whole")


OPTIONS = {
    "jsonl": {},
    "csv": {"format": "csv", "draw": False},
    "calm": {"smooth": True, "format": "npz"},
    "every third": {"detect_every": 3, "min_score": 0.01},
    "part": {"start": 0.3, "stride": 2},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_films_go_on_to_the_same_files(kind: str, film: Path, tmp_path: Path, crops: Crops) -> None:
    options = {"boxes": BOXES, **OPTIONS[kind]}
    run(film, tmp_path / "whole", **options)
    alone, crops.count = crops.count, 0
    break_off(film, tmp_path / "out", 1 if "detect_every" not in options else 7, **options)
    run(film, tmp_path / "out", **options, resume=True)
    assert crops.count - alone in (2 * 8, 2)  # the frames that were seen, but not noted
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    crops.count = 0
    summary = run(film, tmp_path / "out", **options, resume=True)
    assert crops.count == 0 and summary.sources[0].resumed == summary.sources[0].frames
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def started(*arguments: object, log: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", "from gtpt.cli import main; main()", "predict", *map(str, arguments)]
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=file)


def kill(process: subprocess.Popen, ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(60)


def noted(out: Path) -> int:
    """Lines of the journals."""
    return sum(path.read_bytes().count(b"\n") for path in (out / ".resume").glob("*"))


@pytest.mark.integration
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("kind", ["photos", "film"])
def test_killed_and_killed_again(kind: str, photos: Path, film: Path, tmp_path: Path) -> None:
    source = photos if kind == "photos" else film
    options = ("--boxes", "whole-image", "--threads", 1, "--batch-size", 1)
    log = tmp_path / "log"
    assert started(source, *options, "-o", tmp_path / "whole", log=log).wait(300) == 0, log.read_text()
    out = tmp_path / "out"
    kill(started(source, *options, "-o", out, log=log), lambda: noted(out) > 1, log)
    before = noted(out)
    kill(started(source, *options, "-o", out, "--resume", log=log), lambda: noted(out) > before, log)
    assert started(source, *options, "-o", out, "--resume", "--json", log=log).wait(300) == 0, log.read_text()
    assert json.loads(log.read_text().splitlines()[-1])["sources"][0]["resumed"] >= 8
    assert files(out) == files(tmp_path / "whole")


def test_half_a_line_and_rubbish_do_not_count(photos: Path, tmp_path: Path, crops: Crops) -> None:
    run(photos, tmp_path / "whole")
    (journal,) = (tmp_path / "whole" / ".resume").iterdir()
    lines = [line for line in journal.read_bytes().splitlines(keepends=True) if b'"frames"' in line or b"made_of" in line]
    for rest in (lines[3][:-1], lines[3][:500], b"\0" * 4096, b'{"frames":[{}]}\n', b"[]\n", b'{"done":{"x":1}}\n'):
        shutil.copytree(tmp_path / "whole", tmp_path / "out", dirs_exist_ok=True)
        (tmp_path / "out" / ".resume" / journal.name).write_bytes(b"".join(lines[:3]) + rest)
        crops.count = 0
        summary = run(photos, tmp_path / "out", resume=True)
        assert summary.sources[0].resumed == 16 and crops.count == 8
        assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_folder_that_has_grown_and_a_photo_that_has_changed(photos: Path, tmp_path: Path, crops: Crops) -> None:
    mine = tmp_path / "photos"
    shutil.copytree(photos, mine)
    run(mine, tmp_path / "out")
    shutil.copy(PHOTO, mine / "3b.jpg")
    picture = cv2.imread(str(mine / "7.png"))
    (mine / "7.png").write_bytes(cv2.imencode(".png", picture[:, ::-1])[1].tobytes())
    (tmp_path / "out" / "5_pose.jpg").unlink()
    crops.count = 0
    summary = run(mine, tmp_path / "out", resume=True)
    assert crops.count == 4 and (summary.sources[0].frames, summary.sources[0].resumed) == (21, 19)
    run(mine, tmp_path / "whole")
    assert files(tmp_path / "out").keys() == files(tmp_path / "whole").keys()
    assert files(tmp_path / "out")["5_pose.jpg"] == files(tmp_path / "whole")["5_pose.jpg"]
    ours, theirs = (json.loads(files(tmp_path / o)["photos.json"]) for o in ("out", "whole"))
    for a, b in zip(ours, theirs, strict=True):
        assert (a["image_id"], a["file_name"]) == (b["image_id"], b["file_name"])
        np.testing.assert_allclose(a["keypoints"], b["keypoints"], atol=0.01)


def test_photos_that_are_done_are_not_even_read(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(photos, tmp_path / "out")
    before = files(tmp_path / "out")

    def read(path: Path) -> bytes:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr("gtpt.io.sources.photos.read_file", read)
    assert run(photos, tmp_path / "out", resume=True).exit_code == 0
    assert files(tmp_path / "out") == before


def test_what_was_skipped_is_said_again(photos: Path, tmp_path: Path) -> None:
    mine = tmp_path / "photos"
    shutil.copytree(photos, mine)
    (mine / "10b.png").write_bytes(b"no picture")
    frames = [np.full((32, 32, 3), shade, np.uint8) for shade in (0, 200)]
    from PIL import Image

    Image.fromarray(frames[0]).save(mine / "2b.gif", save_all=True, append_images=[Image.fromarray(frames[1])])
    first = run(mine, tmp_path / "out")
    again = run(mine, tmp_path / "out", resume=True)
    assert first.exit_code == again.exit_code == 3 and len(first.skipped) == 2
    assert again.skipped == first.skipped and again.sources[0].resumed == 21


def test_another_film_of_that_name_or_files_that_are_gone(film: Path, tmp_path: Path, crops: Crops) -> None:
    mine = tmp_path / "film.mp4"
    shutil.copy(film, mine)
    run(mine, tmp_path / "out", draw=False)
    for change in (lambda: os.utime(mine, ns=(1, 1)), (tmp_path / "out" / "film.jsonl").unlink):
        before, crops.count = files(tmp_path / "out"), 0
        change()
        assert run(mine, tmp_path / "out", draw=False, resume=True).sources[0].resumed == 0
        assert crops.count == 40 and files(tmp_path / "out") == before


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("threshold", {"threshold": 0.5}),
    ("format", {"format": "csv"}),
    ("boxes", {"boxes": {f"{i}.png": [[1, 2, 90, 80]] for i in range(20)}}),
    ("flip_test", {"flip_test": True}),
]


@pytest.mark.parametrize(("name", "options"), CHANGES)
def test_other_options_are_refused(name: str, options: dict, photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out")
    before = files(tmp_path)
    with pytest.raises(InputError, match=f"made with {name}"):
        run(photos, tmp_path / "out", **options, resume=True)
    assert files(tmp_path) == before
    assert run(photos, tmp_path / "out", **options).exit_code == 0  # anew


def test_other_weights_and_boxes_of_the_same_name_are_refused(photos: Path, tmp_path: Path) -> None:
    from gtpt.weights import resolve

    weights, boxes = tmp_path / "mine.onnx", tmp_path / "boxes.csv"
    shutil.copy(resolve("gtpt-t-coco17", format="onnx"), weights)
    boxes.write_text("name,x1,y1,x2,y2\n" + "".join(f"{i}.png,1,2,90,80\n" for i in range(20)))
    options = {"weights": weights, "boxes": boxes, "draw": False}
    run(photos, tmp_path / "out", **options)
    assert run(photos, tmp_path / "out", **options, resume=True).sources[0].resumed == 20
    boxes.write_text(boxes.read_text().replace("90", "91"))
    with pytest.raises(InputError, match="made with boxes"):
        run(photos, tmp_path / "out", **options, resume=True)
    boxes.write_text(boxes.read_text().replace("91", "90"))
    from gtpt.engines.seal import seal

    seal(weights)
    with pytest.raises(InputError, match="made with weights"):
        run(photos, tmp_path / "out", **options, resume=True)


@pytest.mark.skipif(sys.platform == "win32", reason="locks of another kind")
def test_a_second_call_on_the_same_source_is_refused(photos: Path, tmp_path: Path) -> None:
    errors = []

    def detector(images: list[np.ndarray]) -> list[np.ndarray]:
        if not errors:
            errors.append("")
            errors[0] = run(photos, tmp_path / "out").skipped[0][1]
        return [np.array([[1.0, 2, 90, 80]]) for _ in images]

    first = gtpt.predict(photos, tmp_path / "out", detector=detector, quiet=True)
    assert "another call writes the results of the same source" in errors[0]
    assert first.exit_code == 0 and len(json.loads((tmp_path / "out" / "photos.json").read_text())) == 20


def test_a_link_in_place_of_the_journal_is_not_followed(photos: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    path = journal_path(tmp_path / "out", str(photos))
    path.parent.mkdir(parents=True)
    path.symlink_to(mine)
    summary = run(photos, tmp_path / "out")
    assert summary.exit_code == 1 and path.name in summary.skipped[0][1] and mine.read_text() == "mine"


def test_nothing_is_left_of_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no film")
    assert run(tmp_path / "film.mp4", tmp_path / "out").exit_code == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_no_room_for_the_journal_costs_no_results(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disk(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() > 3000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    with monkeypatch.context() as patch:
        patch.setattr("gtpt.prediction.journal.open", lambda path, *_, **__: Disk(path, "w+"), raising=False)
        summary = run(photos, tmp_path / "out")
    assert summary.exit_code == 0 and summary.sources[0].frames == 20
    assert "nothing after this can be resumed: No space left" in caplog.text
    again = run(photos, tmp_path / "out", resume=True)
    assert again.exit_code == 0 and again.sources[0].resumed == 8


def test_shards_go_on(photos: Path, film: Path, tmp_path: Path, crops: Crops) -> None:
    sources, count = [photos, film], {"shard": "1/2"}
    for number in (1, 2):
        run(sources, tmp_path / "whole", shard=f"{number}/2")
    break_off(sources, tmp_path / "out", 1, **count)
    crops.count = 0
    summary = run(sources, tmp_path / "out", **count, resume=True)
    assert crops.count == 2 * 2 and summary.sources[0].resumed == 8  # eight of ten
    film_share = run(sources, tmp_path / "out", shard="2/2")
    crops.count = 0
    again = run(sources, tmp_path / "out", shard="2/2", resume=True)
    assert crops.count == 0 and [s.resumed for s in again.sources] == [s.frames for s in film_share.sources]
    assert files(tmp_path / "out") == files(tmp_path / "whole")
