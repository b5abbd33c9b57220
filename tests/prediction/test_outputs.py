"""What `predict` writes: never over what it reads, never through links, and one bad entry costs nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import gtpt
from gtpt import read_image
from gtpt.cli.predict import _listed
from gtpt.io.sources import Skipped
from gtpt.prediction.outputs import OutputFolder, Summary, file_stem, fit_into, names_of_photos

BOX = [20, 10, 40, 40]  # x, y, width, height


def photo(path: Path, *, size: tuple[int, int] = (96, 64), orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.full((size[1], size[0], 3), 40, np.uint8)
    pixels[10:50, 20:60] = (220, 20, 20)
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def truth(path: Path, names: dict[int, str], size: tuple[int, int] = (96, 64), **changes: object) -> Path:
    """A COCO file with one person in each image."""
    people = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": BOX, "area": 1600, "iscrowd": 0, "keypoints": [30, 30, 2] * 17}
        for i in names
    ]
    people[-1] |= changes
    data = {
        "images": [{"id": i, "file_name": name, "width": size[0], "height": size[1]} for i, name in names.items()],
        "annotations": people,
        "categories": [{"id": 1, "name": "person"}],
    }
    path.write_text(json.dumps(data))
    return path


def run(sources: object, out: Path, **options: object) -> Summary:
    return gtpt.predict(sources, out, **{"boxes": "whole-image", "quiet": True, **options})  # type: ignore[arg-type]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- inputs ---


def same(path: Path) -> Path:
    return path


def linked(path: Path) -> Path:
    """The result's name is a link to the input, which has another name."""
    path.symlink_to(path.rename(path.with_name(f"elsewhere_{path.name}")))
    return path.resolve()


def hard(path: Path) -> Path:
    os.link(path, path.with_name(f"hard_{path.name}"))
    return path.with_name(f"hard_{path.name}")


@pytest.mark.parametrize("how", [same, linked, hard])
@pytest.mark.parametrize("kind", ["boxes", "photo", "table"])
def test_what_is_read_is_never_written_over(kind: str, how: Callable[[Path], Path], tmp_path: Path) -> None:
    photo(tmp_path / "val" / "a.png")
    options: dict[str, object] = {}
    sources: list[Path] = [tmp_path / "val"]
    if kind == "boxes":
        read = how(truth(tmp_path / "val.json", {3: "a.png"}))
        options["boxes"] = read
    elif kind == "table":
        (tmp_path / "val.csv").write_text("name,x,y,w,h\na.png,20,10,40,40\n")
        read = how(tmp_path / "val.csv")
        options |= {"boxes": read, "format": "csv"}
    else:
        read = how(photo(tmp_path / "a_pose.jpg"))
        sources.append(read)
    before = digest(read)
    summary = run(sources, tmp_path, **options)
    assert digest(read) == before and summary.sources[0].frames == 1
    names = [Path(file).name for source in summary.sources for file in source.files]
    assert names[0] == {"boxes": "val_2.json", "table": "val_2.csv"}.get(kind, names[0])
    assert kind != "photo" or "a_pose_2.jpg" in names
    assert all((tmp_path / name).is_file() for name in names)


def test_photos_of_the_output_folder_itself_are_safe(tmp_path: Path) -> None:
    for name in ("a.png", "a_pose.jpg", "b.png"):
        photo(tmp_path / name)
    before = {file: digest(file) for file in tmp_path.iterdir()}
    summary = run(tmp_path, tmp_path)
    assert {file: digest(file) for file in before} == before
    assert {"a_pose_2.jpg", "a_pose_pose.jpg", "b_pose.jpg"} <= {Path(f).name for f in summary.sources[0].files}


def test_a_folder_of_results_that_holds_the_boxes_is_left_alone(tmp_path: Path) -> None:
    photo(tmp_path / "val" / "a.png")
    (tmp_path / "val_openpose").mkdir()
    boxes = truth(tmp_path / "val_openpose" / "a_000000000000_keypoints.json", {3: "a.png"})
    before = digest(boxes)
    summary = run(tmp_path / "val", tmp_path, boxes=boxes, format="openpose")
    assert digest(boxes) == before
    assert Path(summary.sources[0].files[0]).name == "val_openpose_2"


def test_a_list_of_sources_is_left_alone(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    listing = tmp_path / "a.json"
    listing.write_text(f"{tmp_path / 'a.png'}\n")
    before = digest(listing)
    summary = run([], tmp_path, list=listing)
    assert digest(listing) == before and Path(summary.sources[0].files[0]).name == "a_2.json"


def test_a_partial_name_that_is_read_is_safe(tmp_path: Path) -> None:
    read = tmp_path / "x.json.partial"
    read.write_text("mine")
    assert OutputFolder(tmp_path, [read]).place("x.json").name == "x_2.json"


# --- links, pipes, folders ---


def test_links_of_a_results_name_are_replaced_not_followed(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    out = tmp_path / "out"
    out.mkdir()
    kept = {}
    for name in ("a.json", "a_pose.jpg", "a.json.partial", "a_pose.jpg.partial"):
        target = tmp_path / f"mine_{name}"
        target.write_text("mine")
        (out / name).symlink_to(target)
        kept[name] = target
    assert run(tmp_path / "a.png", out).exit_code == 0
    assert all(target.read_text() == "mine" for target in kept.values())
    assert (out / "a.json").is_file() and not (out / "a.json").is_symlink() and not (out / "a_pose.jpg").is_symlink()
    assert sorted(f.name for f in out.iterdir()) == [".resume", "a.json", "a_pose.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_folders_of_a_results_name_are_passed_by(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    os.makedirs(tmp_path / "out" / "a_pose.jpg")
    os.mkfifo(tmp_path / "out" / "a.json")
    summary = run(tmp_path / "a.png", tmp_path / "out")
    assert summary.exit_code == 0
    assert [Path(f).name for f in summary.sources[0].files] == ["a_2.json", "a_pose_2.jpg"]


def test_a_drawn_picture_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "a.png")
    real = os.replace
    seen = []

    def replace(source: Path, target: Path) -> None:
        if str(target).endswith("_pose.jpg"):
            seen.append((target.exists(), cv2.imread(str(source)) is not None))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    run(tmp_path / "a.png", tmp_path / "out")
    assert seen == [(False, True)]


# --- names ---


def test_long_names_get_a_short_stable_one(tmp_path: Path) -> None:
    for name in ("n" * 246 + ".png", "写" * 80 + ".png"):
        photo(tmp_path / "in" / name)
    photo(tmp_path / "in" / "z.png")
    for kind in ("coco", "openpose"):
        summary = run(tmp_path / "in", tmp_path / kind, format=kind)
        assert summary.exit_code == 0 and summary.sources[0].frames == 3
    pictures = sorted(f.name for f in (tmp_path / "coco").glob("*_pose.jpg"))
    assert len(pictures) == 3 and len(os.fsencode(max(pictures, key=len))) < 220
    assert pictures == sorted(f.name for f in (tmp_path / "openpose").glob("*_pose.jpg"))  # the same every time
    assert len(list((tmp_path / "openpose" / "in_openpose").iterdir())) == 3
    assert file_stem("n" * 200 + ".png") == "n" * 200 and file_stem("n" * 201) != file_stem("n" * 202)


def test_two_photos_of_one_name_are_two_images(tmp_path: Path) -> None:
    photos = [photo(tmp_path / folder / name) for folder in ("A", "B") for name in ("1.png", "2.png")]
    photos.append(photo(tmp_path / "A" / "3.png"))
    run(photos, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "photos.json").read_text())
    assert [e["file_name"] for e in found] == ["A/1.png", "A/2.png", "B/1.png", "B/2.png", "3.png"]
    assert len({e["image_id"] for e in found}) == 5
    assert names_of_photos(["A/1.png", "B/2.png"]) == {"A/1.png": "1.png", "B/2.png": "2.png"}
    assert names_of_photos(["A/1.png", "A/1.png"]) == {"A/1.png": "1.png"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("kind", ["coco", "jsonl", "csv", "npz", "openpose"])
def test_a_folder_of_everything_that_is_wrong_gives_what_is_right(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("a.png", "z.jpg", "n" * 246 + ".png", "take:2.png"):
        photo(folder / name)
    whole = {suffix: cv2.imencode(suffix, np.full((64, 96, 3), 90, np.uint8))[1].tobytes() for suffix in (".avif", ".jpg")}
    (folder / "half.avif").write_bytes(whole[".avif"][:-20])
    (folder / "half.jpg").write_bytes(whole[".jpg"][: len(whole[".jpg"]) * 2 // 3])
    (folder / "empty.gif").touch()
    (folder / "head.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    (folder / "folder.png").mkdir()
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.jpg")
    wrong = {f.name for f in folder.iterdir()} - {"a.png", "z.jpg", "take:2.png", "n" * 246 + ".png"}
    summary = run(folder, tmp_path / "out", format=kind)
    assert summary.exit_code == 3 and summary.sources[0].frames == 4
    assert {name for name, _ in summary.skipped} == wrong
    assert all(Path(file).exists() for file in summary.sources[0].files)
    json.dumps(summary.to_dict())


# --- given boxes ---


def test_image_ids_of_the_truth_survive(tmp_path: Path) -> None:
    for name in ("A/1.png", "B/1.png", "A/7.png"):
        photo(tmp_path / name)
    boxes = truth(tmp_path / "truth.json", {10: "A/1.png", 11: "B/1.png", 12: "A/7.png"})
    run([tmp_path / "A/1.png", tmp_path / "B/1.png", tmp_path / "A/7.png"], tmp_path / "out", boxes=boxes, draw=False)
    found = json.loads((tmp_path / "out" / "photos.json").read_text())
    assert [(e["file_name"], e["image_id"]) for e in found] == [("A/1.png", 10), ("B/1.png", 11), ("7.png", 12)]


@pytest.mark.parametrize("box", [[20, 10, 40, 0], [20, 10, 0, 40], [-3e38, -3e38, 6e38, 6e38], [20, 10, 40], None, "x"])
def test_one_bad_box_costs_nobody_else(box: object, tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        photo(tmp_path / "in" / name)
    boxes = truth(tmp_path / "truth.json", {1: "a.png", 2: "b.png", 3: "c.png"}, bbox=box)
    summary = run(tmp_path / "in", tmp_path / "out", boxes=boxes, draw=False)
    assert summary.exit_code == 3 and (summary.sources[0].frames, summary.sources[0].people) == (3, 2)
    assert [name for name, _ in summary.skipped] == [f"{boxes}, annotation 3"]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("annotated", ["stored", "upright"])
def test_boxes_on_the_stored_and_on_the_upright_picture(orientation: int, annotated: str, tmp_path: Path, caplog) -> None:
    """The red rectangle is at BOX as stored; the orientation tells where it is seen, and whether that can be known."""
    photo(tmp_path / "a.png", orientation=orientation)
    x, y, w, h = BOX
    seen = {1: [x, y, w, h], 3: [96 - x - w, 64 - y - h, w, h], 6: [64 - y - h, x, h, w], 8: [y, 96 - x - w, h, w]}[
        orientation
    ]
    size = (96, 64) if annotated == "stored" or orientation in (1, 3) else (64, 96)
    boxes = truth(tmp_path / "t.json", {1: "a.png"}, size, bbox=seen if annotated == "upright" else BOX)
    run(tmp_path / "a.png", tmp_path / "out", boxes=boxes)
    (found,) = json.loads((tmp_path / "out" / "a.json").read_text())
    if orientation == 3 and annotated == "upright":  # the same size either way: taken as COCO means it, and said
        assert "cannot be known" in caplog.text
    else:
        assert found["bbox"] == seen
    assert ("cannot be known" in caplog.text) == (orientation == 3)


# --- videos ---


def video(path: Path, sizes: list[tuple[int, int]], aspect: Fraction = Fraction(1)) -> Path:
    av = pytest.importorskip("av")
    parts = []
    for width, height in sizes:
        with av.open(str(path), "w", format="mpegts") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.sample_aspect_ratio = aspect
            for _ in range(3):
                frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 90, np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


def test_a_video_whose_size_changes_keeps_all_its_keypoints(tmp_path: Path) -> None:
    summary = run(video(tmp_path / "x.ts", [(96, 64), (128, 128)], Fraction(4, 3)), tmp_path / "out")
    assert summary.exit_code == 0 and summary.sources[0].frames == 6
    lines = (tmp_path / "out" / "x.jsonl").read_text().splitlines()[1:]
    assert [json.loads(line)["image_size"] for line in lines] == [[96, 64]] * 3 + [[128, 128]] * 3
    with gtpt.open_source(tmp_path / "out" / "x_pose.mp4") as drawn:
        assert drawn.pixel_aspect == Fraction(4, 3)
        assert [frame.image.shape[:2] for frame in drawn] == [(64, 96)] * 6


def test_a_size_that_no_encoder_bears_costs_the_drawing_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gtpt.core.errors import InputError
    from gtpt.io.video_writer import VideoWriter

    def refuse(*_: object) -> None:
        raise InputError("cannot write a video of this size")

    monkeypatch.setattr(VideoWriter, "write", refuse)
    summary = run(video(tmp_path / "x.ts", [(96, 64)]), tmp_path / "out")
    assert summary.sources[0].frames == 3 and summary.skipped == [("x_pose.mp4", "cannot write a video of this size")]
    assert len((tmp_path / "out" / "x.jsonl").read_text().splitlines()) == 4


def test_frames_of_another_shape_fit_into_the_middle() -> None:
    fitted = fit_into(np.full((100, 50, 3), 255, np.uint8), (96, 64))
    assert fitted.shape == (64, 96, 3) and fitted[:, 32:64].min() == 255
    assert fitted[:, :31].max() == fitted[:, 65:].max() == 0


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    from gtpt.io.video_writer import VideoWriter, _process

    machine = _process().partition("-")[0]
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = [tmp_path / f".x_pose.{machine}-{int(dead.stdout)}-0123abcd{end}.mp4" for end in ("", "-whole")]
    others = [
        tmp_path / f".x_pose.{machine}-{os.getppid()}-0123abcd.mp4",  # another process is writing it
        tmp_path / f".x_pose.ffffff-{int(dead.stdout)}-0123abcd.mp4",  # another machine's
        tmp_path / f".y_pose.{machine}-{int(dead.stdout)}-0123abcd.mp4",
        tmp_path / ".x_pose.mine.mp4",
    ]
    for file in (*left, *others):
        file.touch()
    with VideoWriter(tmp_path / "x_pose.mp4", (32, 32), 10) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8), 0)
    assert not any(file.exists() for file in left) and all(file.exists() for file in others)


# --- the terminal ---


def test_thousands_of_files_are_not_one_line() -> None:
    files = [f"out/{i}_pose.jpg" for i in range(2001)]
    assert _listed(files) == "out/0_pose.jpg, out/1_pose.jpg, out/2_pose.jpg, out/3_pose.jpg and 1,997 more in out"
    assert _listed(files[:4]) == ", ".join(files[:4])


def test_what_is_not_kept_of_many_skipped_files_is_counted() -> None:
    skipped = Skipped()
    for i in range(130):
        skipped.add(f"{i}.txt", "not an image file")
    summary = Summary()
    summary.add_skipped(skipped)
    assert len(summary.skipped) == 101 and summary.skipped[-1][0] == "30 more"


@pytest.mark.parametrize("encoding", ["cp1252", "iso-8859-1"])
def test_names_that_a_terminal_cannot_encode(encoding: str, tmp_path: Path) -> None:
    photo(tmp_path / "選手.png")
    code = "from gtpt.cli import main; main()"
    command = [sys.executable, "-c", code, "predict", "選手.png", "--detector", "whole-image", "--no-draw"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"\\u9078\\u624b.png: 1 poses in 1 frames" in done.stdout
    assert (tmp_path / "out" / "選手.json").is_file()


def test_a_url_of_a_photo_gives_a_photo(tmp_path: Path) -> None:
    import functools
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    photo(tmp_path / "person.png")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    summary = run(f"http://127.0.0.1:{server.server_port}/person.png", tmp_path / "out")
    server.shutdown()
    assert [Path(f).name for f in summary.sources[0].files] == ["person.json", "person_pose.jpg"]


def test_a_file_by_its_url_is_that_file(tmp_path: Path) -> None:
    path = photo(tmp_path / "two words #1?.png")
    for url in (path.as_uri(), f"file://localhost{path}", path.as_uri().replace("file", "FILE", 1)):
        summary = run(url, tmp_path / "out")
        assert [Path(f).name for f in summary.sources[0].files] == ["two words #1?.json", "two words #1?_pose.jpg"]
        assert gtpt.find(url, detector="whole-image").image_size == read_image(path).shape[1::-1]
    (tmp_path / "list.txt").write_text(path.as_uri())
    assert run([], tmp_path / "out", list=tmp_path / "list.txt").sources[0].frames == 1
