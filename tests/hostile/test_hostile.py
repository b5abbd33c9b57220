"""Hostile files through the command line: no traceback, no hang, a message that names the file, and neighbours are done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from gtpt import PoseEstimator
from gtpt.cli import main
from gtpt.engines.seal import seal
from gtpt.weights import resolve

from . import files

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.skipif(sys.platform != "linux", reason="pipes, devices and names of any bytes as on Linux"),
]
CRASHED = -1
SECONDS, WALL = 20, 120  # of computing, and of waiting for ever
WHOLE = ("--boxes", "whole-image", "--no-draw")


class Hang(BaseException):
    """Nothing catches it."""


@contextmanager
def time_limit() -> Iterator[None]:
    def hang(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, hang), signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(WALL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        signal.signal(signal.SIGPROF, before[0])
        signal.signal(signal.SIGALRM, before[1])


@pytest.fixture(scope="module")
def estimator() -> PoseEstimator:
    return PoseEstimator(threads=1)


@pytest.fixture
def gtpt(
    estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process and folder; with its own weights, one network does for all."""
    monkeypatch.chdir(tmp_path)

    def opened(weights: object, **options: object) -> PoseEstimator:
        return estimator if str(weights) == "gtpt-t-coco17" else PoseEstimator(str(weights), threads=1)

    monkeypatch.setattr("gtpt.prediction.runner.PoseEstimator", opened)

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = 0
        with time_limit():
            try:
                main([str(argument) for argument in arguments])
            except SystemExit as stop:
                code = int(stop.code or 0)
            except (Exception, Hang) as error:
                return CRASHED, "", f"{arguments} ended with {error!r:.300}"
        out, error = capfd.readouterr()
        assert "Traceback" not in error and "weights_only" not in error, repr(error)  # names of any bytes
        assert not (tmp_path / "code-ran").exists()
        return code, out, error

    return run


def summary_of(out: str) -> dict:
    return json.loads(out.splitlines()[-1])


def listed(entries: list[tuple]) -> str:
    return "\n".join(str(entry)[:400] for entry in entries)


def good(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(files.encoded(".png"))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "openpose"])
def test_photos(kind: str, gtpt: Callable, tmp_path: Path) -> None:
    bad, odd = files.photos(tmp_path / "in")
    whole = [*odd, *(good(tmp_path / "in" / name).name for name in ("a.png", "z.png"))]
    code, out, _ = gtpt("predict", "in", "--boxes", "whole-image", "--json", "--format", kind)
    summary = summary_of(out)
    assert code == 3 and summary["sources"][0]["frames"] == len(whole)
    names = [item["name"] for item in summary["skipped"]]
    assert sorted(names) == sorted(bad) and all(item["reason"] for item in summary["skipped"])
    assert all(os.path.exists(file) for file in summary["sources"][0]["files"])
    code, out, error = gtpt("predict", *(f"in/{name}" for name in bad), *WHOLE)
    assert code == 1 and "skipped" in error


def test_photos_in_a_data_set(gtpt: Callable, tmp_path: Path) -> None:
    bad, odd = files.photos(tmp_path / "in")
    good(tmp_path / "in" / "good.png")
    names = ["good.png", *bad, *(name for name in odd if name.isprintable() and len(name) < 200)]
    images = [{**files.IMAGES[0], "id": i, "file_name": name} for i, name in enumerate(names, 1)]
    people = [{**files.PERSON, "id": i, "image_id": i} for i in range(1, len(names) + 1)]
    (tmp_path / "t.json").write_text(files.coco(images=images, annotations=people))
    (tmp_path / "e.yaml").write_text("data:\n  train: [{annotations: t.json, images: in}]\n  val: null\n")
    code, out, error = gtpt("data", "check", "--cfg", "e.yaml", "--json")
    assert code == 3, error
    findings = [finding for source in json.loads(out)["sources"] for finding in source["findings"]]
    found = {finding["file"].removeprefix("in/") for finding in findings if finding["effect"] == "stops training"}
    assert found == set(bad)


def test_films(gtpt: Callable, tmp_path: Path) -> None:
    pytest.importorskip("av")
    bad = files.films(tmp_path / "in")
    (tmp_path / "good").mkdir()
    whole = files.film(tmp_path / "good" / "film.mp4")
    code, out, _ = gtpt("predict", *bad, whole, *WHOLE, "--json")
    summary = summary_of(out)
    assert code == 3 and next(s for s in summary["sources"] if s["name"] == str(whole))["frames"] == 8
    said = "\n".join(f"{item['name']} {item['reason']}" for item in summary["skipped"])
    assert [path.name for path in bad if path.name not in said] == []
    assert "root:x" not in out


@pytest.mark.parametrize("kind", ["annotations", "tables"])
def test_boxes(kind: str, gtpt: Callable, tmp_path: Path) -> None:
    good(tmp_path / "good.png")
    silent = []
    for path in getattr(files, kind)(tmp_path / "boxes"):
        code, out, error = gtpt("predict", "good.png", "--boxes", path, "--no-draw", "-o", tmp_path / "out")
        if code in (0, CRASHED) or not (path.name in error or "good.png" in error):
            silent.append((path.name, code, out + error))
    # keypoints are not asked for, an image id may be a text, and truth values are numbers to Python and pycocotools
    harmless = {f"joints {kind}.json" for kind in ("text", "short", "nan", "long", "objects")} | {"box true values.json"}
    harmless |= {"a long size.json", "results of nothing.json", "box texts.json", "utf-16.json"}
    harmless |= {"box far.json"}  # nobody is there, which is logged
    silent = [entry for entry in silent if entry[0] not in harmless]
    assert silent == [], listed(silent)


def test_annotations_of_a_data_set(gtpt: Callable, tmp_path: Path) -> None:
    good(tmp_path / "good.png")
    silent = []
    for path in files.annotations(tmp_path / "boxes"):
        (tmp_path / "e.yaml").write_text(
            f"data:\n  train: [{{annotations: 'boxes/{path.name}', images: .}}]\n  val: null\n"
        )
        code, out, error = gtpt("data", "check", "--cfg", "e.yaml")
        said = "flat box" in out or path.name == "utf-16.json"  # which JSON allows
        if code == CRASHED or (code == 0 and not said):
            silent.append((path.name, out + error))
    assert silent == [], listed(silent)


def test_weights(gtpt: Callable, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    good(tmp_path / "good.png")
    tensors, onnx = resolve("gtpt-t-coco17", format="safetensors"), tmp_path / "whole.onnx"
    onnx.write_bytes(resolve("gtpt-t-coco17", format="onnx").read_bytes())
    seal(onnx)
    silent = []
    for path in files.weights(tmp_path / "weights", onnx, tensors):
        for command in (("predict", "good.png", *WHOLE, "-w", path), ("info", path)):
            code, out, error = gtpt(*command)
            if code in (0, CRASHED) or path.name not in error:
                silent.append((command[0], path.name, code, out[:300] + error[-300:]))
    assert silent == [], listed(silent)


def test_archives(gtpt: Callable, tmp_path: Path) -> None:
    """As images, and as the annotations of a data set."""
    silent = []
    for path in files.archives(tmp_path / "zips"):
        for images, people in ((path, "t.json"), (".", f"{path}/annotations.json")):
            (tmp_path / "t.json").write_text(files.coco())
            text = json.dumps({"data": {"train": [{"annotations": str(people), "images": str(images)}], "val": None}})
            (tmp_path / "e.yaml").write_text(text)
            code, out, error = gtpt("data", "check", "--cfg", "e.yaml")
            if code in (0, CRASHED) or path.name not in out + error:
                silent.append((path.name, people, code, out[:200] + error[-300:]))
        code, out, error = gtpt("data", "preview", path, tmp_path / "sheet.jpg")
        if code in (0, CRASHED) or path.name not in error:
            silent.append((path.name, "preview", code, error[-300:]))
    assert silent == [], listed(silent)


def test_lists_and_shards(gtpt: Callable, tmp_path: Path) -> None:
    name = good(tmp_path / "good.png").name
    noise = np.random.default_rng(0).bytes(3000)
    silent = []
    for content in (b"", b"\0" * 3000, noise, b"a\0b.png\n" + b"x" * 100_000 + b"\n", b"[" * files.DEEP):
        (tmp_path / "list.txt").write_bytes(content + b"\n")
        code, out, error = gtpt("predict", name, "--list", "list.txt", *WHOLE)
        if code not in (0, 3) or "1 poses in 1 frames" not in out or (content and code == 0):
            silent.append((content[:20], code, error[-300:]))
    code, _, error = gtpt("predict", "--list", "/dev/zero", *WHOLE)
    assert code == 1 and "/dev/zero" in error
    lines = [b"", noise, b"[" * files.DEEP, b"null", b"7", b"{}", b'{"format":"gtpt-shard","version":1,"shard":[1,1]}']
    lines += [
        b'{"format":"gtpt-shard","version":1,"shard":[1,1]}\n{"source":{}}\n{"drawn":7}\n{"end":"shard"}\n{"sha256":""}'
    ]
    for content in lines:
        (tmp_path / "shard-1-of-1").mkdir(exist_ok=True)
        (tmp_path / "shard-1-of-1" / "shard.jsonl").write_bytes(content)
        code, out, error = gtpt("merge", "shard-1-of-1", "-o", "merged")
        if code in (0, CRASHED) or "shard-1-of-1" not in error:
            silent.append((content[:20], code, error[-300:]))
    assert silent == [], listed(silent)


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Where a crash of a library would show."""
    bad, odd = files.photos(tmp_path / "in")
    command = [
        sys.executable,
        "-c",
        "from gtpt.cli import main; main()",
        "predict",
        "in",
        *WHOLE,
        "--json",
        "--threads",
        "1",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WALL)
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert len(summary_of(done.stdout)["skipped"]) == len(bad) and summary_of(done.stdout)["sources"][0]["frames"] == len(
        odd
    )


def test_settings(gtpt: Callable, tmp_path: Path) -> None:
    silent = []
    for path in files.settings(tmp_path / "yaml"):
        for command in (
            ("data", "check", "--cfg", path),
            ("data", "from-yolo", path, "--out", tmp_path / "yolo"),
            ("data", "synthesize", tmp_path / "p.zip", "--people", 1, "--skeleton", path),
        ):
            code, out, error = gtpt(*command)
            if code in (0, CRASHED) or not error.strip():
                silent.append((command[1], path.name, code, out[:300] + error[-300:]))
    assert silent == [], listed(silent)
