"""What goes wrong around `gtpt predict`: interrupted, out of disk, cut off, unplugged, unreadable. What is done is kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from gtpt.cli import main
from gtpt.io.formats.parquet import RESERVE as PARQUET_INDEX
from gtpt.io.video_writer import RESERVE

from ..silence import write_silence

pytestmark = pytest.mark.integration

av = pytest.importorskip("av")
PHOTO = Path(__file__).parents[2] / "examples/photos/cameraman.jpg"
WHOLE = ("--boxes", "whole-image", "--threads", "1")
COMMAND = (sys.executable, "-c", "from gtpt.cli import main; main()", "predict")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 frames of noise, 3 MB: longer than any test here wants to see to the end."""
    path = tmp_path_factory.mktemp("videos") / "ein langes Video.ts"
    write_video(path, 1000)
    return path


def write_video(path: Path, frames: int) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (10, 64, 96, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pictures[i % 10], format="rgb24")))
        container.mux(stream.encode())


def run(*arguments: object) -> int:
    """Exit code of `gtpt predict`."""
    try:
        main(["predict", *map(str, arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def lines(path: Path) -> list[dict]:
    """The frames of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][1:]


def seen(folder: Path) -> list[Path]:
    """What is in a folder, but for the hidden one from which a call is resumed."""
    return sorted(path for path in folder.iterdir() if path.name != ".resume")


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


# --- Ctrl-C ---


def listen() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def started(command: tuple) -> subprocess.Popen:
    """A process that signals reach, even where the tests run in the background of a shell, which ignores some."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: (
            [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] and None
        ),
    )


def interrupt(process: subprocess.Popen, ready: Path, size: int, number: int = signal.SIGINT) -> int:
    """Ctrl-C, or another signal, once a file has so many bytes; the exit code."""
    deadline = time.monotonic() + 60
    while not (ready.exists() and ready.stat().st_size > size):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    return process.wait(60)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for another process")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_and_its_like_finish_the_files(name: str, video: Path, tmp_path: Path) -> None:
    """SIGTERM is what systems and schedulers send, SIGHUP what a closed terminal leaves."""
    command = (*COMMAND, PHOTO, video, *WHOLE, "-o", tmp_path, "--json")
    with started(command) as process:
        code = interrupt(process, tmp_path / "ein langes Video.jsonl.partial", 20_000, getattr(signal, name))
        output, error = process.communicate()
    assert code == 130 and "Traceback" not in error
    summary = json.loads(output)
    assert summary["interrupted"] and summary["sources"][0]["people"] == 1
    frames = lines(tmp_path / "ein langes Video.jsonl")
    assert [f["frame"] for f in frames] == list(range(len(frames))) and 10 < len(frames) < 900
    assert abs(count_frames(tmp_path / "ein langes Video_pose.mp4") - len(frames)) <= 1
    assert [p.name for p in seen(tmp_path)] == sorted(
        Path(name).name for source in summary["sources"] for name in source["files"]
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for another process")
def test_ctrl_c_while_a_source_hangs(server: str, tmp_path: Path) -> None:
    command = (*COMMAND, PHOTO, f"{server}/hang.ts", *WHOLE, "-o", tmp_path)
    with started(command) as process:
        code = interrupt(process, tmp_path / "cameraman.json", 0)
        output, error = process.communicate()
    assert code == 130 and "what was done is kept" in error and "Traceback" not in error
    assert "1 poses in 1 frames" in output


# --- full disk, read-only folder ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 17 MB: 16 MB are kept for the index of a video, so one is left for its pictures."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=17m", "none", str(folder))
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root on Linux can make a small disk")
    yield folder
    subprocess.run(("umount", str(folder)), check=True)


def fill(disk: Path, left: int) -> None:
    """Leave so many bytes of a disk."""
    stat = os.statvfs(disk)
    (disk / "filling").write_bytes(bytes(stat.f_bavail * stat.f_frsize - left))


def test_full_disk_keeps_the_video_until_then(video: Path, small_disk: Path, capsys: pytest.CaptureFixture) -> None:
    fill(small_disk, RESERVE + 400_000)
    assert run(video, PHOTO, *WHOLE, "-o", small_disk, "--json") == 3
    summary = json.loads(capsys.readouterr().out)
    (skipped,) = summary["skipped"]
    assert "No space left on device" in skipped["reason"] and "ein langes Video_pose.mp4" in skipped["reason"]
    frames = len(lines(small_disk / "ein langes Video.jsonl"))
    assert 10 < frames < 900
    assert count_frames(small_disk / "ein langes Video_pose.mp4") == frames - 1
    assert (small_disk / "cameraman_pose.jpg").is_file()
    assert all(p.suffix != ".partial" and not p.name.startswith(".") for p in seen(small_disk))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "coco", "npz", "parquet", "openpose"])
def test_full_disk_keeps_the_results_until_then(
    kind: str, video: Path, small_disk: Path, capsys: pytest.CaptureFixture
) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    room = {"npz": 56_000, "parquet": PARQUET_INDEX + 60_000}.get(kind, 32_000)
    fill(small_disk, room)  # for more than a few frames, and less than all
    assert run(video, *WHOLE, "-o", small_disk, "--json", "--no-draw", "--format", kind, "--end", 3) == 3
    summary = json.loads(capsys.readouterr().out)
    (skipped,) = summary["skipped"]
    assert "No space left on device" in skipped["reason"] and "ein langes Video" in skipped["reason"]
    results = {p for p in seen(small_disk) if p.name != "filling"}
    files = [p for r in results for p in (r, *r.rglob("*")) if p.is_file()]
    assert not any(p.suffix == ".partial" for p in files)
    assert {Path(f) for s in summary["sources"] for f in s["files"]} == results
    frames = summary["sources"][0]["frames"]
    assert files and 2 < frames < 75
    if kind == "jsonl":
        assert len(lines(*files)) == frames
    elif kind == "npz":
        assert len(np.load(*files)["frames"]) == frames
    elif kind == "parquet":
        assert pytest.importorskip("pandas").read_parquet(*files)["frame"].nunique() == frames


def test_full_disk_leaves_no_half_picture(small_disk: Path, capsys: pytest.CaptureFixture) -> None:
    fill(small_disk, 20_000)
    assert run(PHOTO, *WHOLE, "-o", small_disk, "--json") == 3
    summary = json.loads(capsys.readouterr().out)
    assert "cameraman_pose.jpg: No space left on device" in summary["skipped"][0]["reason"]
    assert [p.name for p in seen(small_disk)] == ["cameraman.json", "filling"]


def test_read_only_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    command = [sys.executable, "-m", "gtpt", "predict", str(PHOTO), *WHOLE, "-o", str(tmp_path / "out")]
    if not hasattr(os, "geteuid"):
        pytest.skip("no permissions as on Unix")
    if os.geteuid() == 0:  # who may write anywhere, unless this right is taken away; what is root's own stays readable
        if shutil.which("setpriv") is None:
            pytest.skip("root may write anywhere, and there is no setpriv to take that right away")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot write to the folder" in done.stderr and "Permission denied" in done.stderr
    assert "choose another one (out)" in done.stderr


def test_a_read_only_disk_and_a_file_in_place_of_the_folder(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    subprocess.run(("mount", "-o", "remount,ro", str(small_disk)), check=True)
    (tmp_path / "file").touch()
    for out in (small_disk, small_disk / "new", tmp_path / "file"):
        assert run(PHOTO, *WHOLE, "-o", out) == 1
        error = capsys.readouterr().err
        assert str(out) in error and "(out)" in error and "Traceback" not in error


# --- streams and cameras that end ---


@pytest.fixture
def server(video: Path) -> Iterator[str]:
    """A camera in the network: /cut.ts breaks off, /freeze.ts stays silent half-way, /hang.ts from the start, /camera.mjpg
    is unplugged in the middle of a picture."""
    data = video.read_bytes()
    part = data[: len(data) // 20 // 188 * 188]
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))[1].tobytes()
    mjpeg = b"".join(
        b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg) for _ in range(30)
    )
    closed = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind = self.path.strip("/").split(".")[0]
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace;boundary=x" if kind == "camera" else "video/mp2t")
            if kind != "camera":
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write({"camera": mjpeg[: -len(jpeg) // 2], "hang": b""}.get(kind, part))
            self.wfile.flush()
            if kind in ("freeze", "hang"):
                closed.wait(30)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    closed.set()
    httpd.shutdown()
    httpd.server_close()


@pytest.mark.parametrize("name", ["cut.ts", "freeze.ts", "camera.mjpg"])
def test_a_stream_that_ends_keeps_what_came(
    name: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("gtpt.io.sources.video.STREAM_TIMEOUT", 1.0)
    url = f"{server}/{name}"
    assert run(url, PHOTO, *WHOLE, "-o", tmp_path, "--json") == 3
    summary = json.loads(capsys.readouterr().out)
    stem = name.split(".")[0]
    frames = lines(tmp_path / f"{stem}.jsonl")
    assert 20 <= len(frames) <= 60 and all(f["name"] == name for f in frames)
    assert count_frames(tmp_path / f"{stem}_pose.mp4") == len(frames)
    reason = summary["skipped"][-1]["reason"]
    assert "ended early" in reason and ("no data for 1 seconds" in reason) == (stem == "freeze")
    assert (tmp_path / "cameraman_pose.jpg").is_file()


# --- bad input ---


def test_a_folder_of_everything(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Thin, broken, empty, foreign and oddly named files: the good ones are done, the others named with a reason."""
    folder = tmp_path / "Ordner mit Leerzeichen 写真"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    good = {
        "dünn und breit.png": (10, 20_000, 3),
        "a b  c.png": (60, 50, 3),
        "ein Pixel.png": (1, 1, 3),
        "写真.png": (40, 70, 3),
    }
    for name, shape in good.items():
        (folder / name).write_bytes(cv2.imencode(".png", rng.integers(0, 256, shape, dtype=np.uint8))[1].tobytes())
    bad = {"empty.jpg": b"", "text.png": b"no picture", "notes.txt": b"hello", "cut.jpg": PHOTO.read_bytes()[:200]}
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    assert run(folder, *WHOLE, "-o", tmp_path / "out", "--json") == 3
    summary = json.loads(capsys.readouterr().out)
    assert {s["name"] for s in summary["skipped"]} == {*bad, "more"} and all(s["reason"] for s in summary["skipped"])
    (source,) = summary["sources"]
    assert source["frames"] == len(good) and all(Path(f).is_file() for f in source["files"])
    pictures = {p.name for p in (tmp_path / "out").glob("*_pose.jpg")}
    assert pictures == {f"{Path(name).stem}_pose.jpg" for name in good}


def test_sources_of_the_same_name_do_not_overwrite_each_other(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    photos = [tmp_path / name for name in ("a/x.png", "b/x.png", "b/x.jpg")]
    videos = [tmp_path / name for name in ("a/video.ts", "b/video.ts")]
    for path in (*photos, *videos):
        path.parent.mkdir(exist_ok=True)
        if path in photos:
            path.write_bytes(PHOTO.read_bytes())
        else:
            write_video(path, 3)
    for _ in range(2):  # a second call takes the same names
        assert run(*photos, *videos, *WHOLE, "-o", tmp_path / "out", "--json") == 0
        summary = json.loads(capsys.readouterr().out)
        files = [Path(f).name for s in summary["sources"] for f in s["files"]]
        assert sorted(files) == [p.name for p in seen(tmp_path / "out")] and len(files) == 8
    assert {"x_pose.jpg", "x_pose_2.jpg", "x_pose_3.jpg", "video.jsonl", "video_2.jsonl", "video_pose_2.mp4"} <= set(files)


def test_300_people_and_boxes_outside(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    height, width = cv2.imread(str(PHOTO)).shape[:2]
    corners = np.random.default_rng(0).uniform(0, (width - 60, height - 60), (300, 2)).round(1)
    rows = [f"{PHOTO.name},{x},{y},{x + 50},{y + 60}" for x, y in corners]
    rows += [f"{PHOTO.name},{width + 5},0,{width + 50},60", f"{PHOTO.name},-30,-30,40,50"]  # all of it outside, and a part
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("\n".join(["file,x1,y1,x2,y2", *rows]))
    assert run(PHOTO, "--boxes", boxes, "-o", tmp_path / "out", "--json", "--threads", 1) == 0
    assert json.loads(capsys.readouterr().out)["sources"][0]["people"] == 301
    assert len(json.loads((tmp_path / "out/cameraman.json").read_text())) == 301


def test_videos_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Zero frames, no picture, damaged, cut off before the index, text: each is named, the photo is done."""
    whole = tmp_path / "whole.mp4"
    write_video(whole, 30)
    write_silence(tmp_path / "sound.mp4")
    data = whole.read_bytes()
    write_video(tmp_path / "zero frames.mp4", 0)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.mp4").write_bytes(b"this is no video " * 100)
    videos = [tmp_path / f"{name}.mp4" for name in ("sound", "zero frames", "empty", "cut", "text", "missing")]
    assert run(*videos, PHOTO, *WHOLE, "-o", tmp_path / "out", "--json") == 3
    summary = json.loads(capsys.readouterr().out)
    reasons = {Path(s["name"]).name: s["reason"] for s in summary["skipped"]}
    assert set(reasons) == {f.name for f in videos} and "no video stream" in reasons["sound.mp4"]
    assert "no such file" in reasons["missing.mp4"] and all(name in reason for name, reason in reasons.items())
    assert [s["frames"] for s in summary["sources"]] == [1]
    assert run(*videos, *WHOLE, "-o", tmp_path / "out2") == 1
    assert "Traceback" not in capsys.readouterr().err
