"""What `gtpt VERB` does, Python does under the same verb and with the same names."""

from __future__ import annotations

import inspect
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import typer.main

import gtpt
from gtpt.about import about
from gtpt.batch.run import batch
from gtpt.benchmark import benchmark
from gtpt.cli.app import app
from gtpt.core.urls import without_secrets
from gtpt.data.check import check_data
from gtpt.data.synthetic import SyntheticConfig
from gtpt.detect import DEFAULT_DETECTOR, WholeImage
from gtpt.estimator import DEFAULT_WEIGHTS
from gtpt.evaluate import test as measure
from gtpt.export.onnx import export
from gtpt.io.sources import Skipped, Source
from gtpt.model import average, convert
from gtpt.prediction.detections import write_detections
from gtpt.prediction.options import Options
from gtpt.prediction.outputs import file_stem, source_name
from gtpt.prediction.progress import show_progress
from gtpt.prediction.runner import Runner, predict
from gtpt.serve.settings import Limits
from gtpt.sweep import sweep
from gtpt.train import train
from gtpt.web import write_web
from gtpt.weights import download, list_weights

PHOTOS = Path(__file__).parents[1] / "examples/photos"
ONLY_THERE = {"as_json"}  # how the command prints
# `train` and `test` read the experiment file; in Python its parts are arguments
EXPERIMENT = {"cfg", "overrides", "experiment", "expected", "data", "skeleton", "annotations", "images", "boxes"}


def names(function: Callable) -> set[str]:
    return set(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("verb", "here"),
    [
        ("predict", names(predict) - {"quiet"}),
        ("info", names(about)),
        ("detect", names(write_detections) - {"quiet"}),
        ("merge", names(gtpt.merge)),
        ("batch", names(batch) - {"progress"}),
        ("train", (names(train) - {"progress"}) | {"quiet"}),
        ("test", names(measure) - {"progress"}),
        ("convert", names(convert)),
        ("average", names(average)),
        ("export", names(export)),
        ("benchmark", names(benchmark)),
        ("sweep", names(sweep) - {"progress"}),
        ("data check", names(check_data) - {"progress"}),
        ("weights list", names(list_weights) - {"registry"}),
        ("weights download", names(download) - {"registry", "format"}),
    ],
)
def test_python_and_command_line_share_names(verb: str, here: set[str]) -> None:
    command = typer.main.get_command(app)
    for word in verb.split():
        command = command.get_command(None, word)  # type: ignore[attr-defined]
    there = {option.name for option in command.params} - ONLY_THERE
    assert here - EXPERIMENT == there - EXPERIMENT


@pytest.mark.parametrize(
    ("verb", "function"),
    [
        ("detect", write_detections),
        ("merge", gtpt.merge),
        ("batch", batch),
        ("test", measure),
        ("convert", convert),
        ("export", export),
        ("benchmark", benchmark),
        ("sweep", sweep),
        ("data check", check_data),
        ("weights download", download),
        ("data synthesize", lambda height=SyntheticConfig.model_fields["height"].default, seed=0: None),
        ("serve", Limits),
        ("serve", lambda weights=DEFAULT_WEIGHTS, detector=DEFAULT_DETECTOR: None),
        ("web", write_web),
    ],
)
def test_python_and_command_line_share_defaults(verb: str, function: Callable) -> None:
    """The command line has its own, as importing Python's would take a second for each `--help`."""
    command = typer.main.get_command(app)
    for word in verb.split():
        command = command.get_command(None, word)  # type: ignore[attr-defined]
    there = {option.name: option.default for option in command.params}
    for name, parameter in inspect.signature(function).parameters.items():
        here = parameter.default
        if name in there and here is not parameter.empty:
            given, empty = there[name], (None, (), (None,))
            same = given in empty if here in empty else plain(given) == plain(here)
            assert same or (name == "weights" and given is None), f"{name}: {given!r} there, {here!r} here"


def plain(value: object) -> object:
    """As it is compared: lists of options are tuples, and choices are texts."""
    value = tuple(value) if isinstance(value, list) else value
    return str(getattr(value, "value", value)) if isinstance(value, (str, Path)) else value


def test_predict_writes_what_the_command_writes(tmp_path: Path) -> None:
    photos = sorted(PHOTOS.glob("*.jpg"))
    summary = gtpt.predict(photos, tmp_path / "out", boxes="whole-image", quiet=True)
    assert summary.exit_code == 0 and not summary.skipped
    assert [Path(f) for f in summary.sources[0].files if Path(f).suffix == ".json"] == [tmp_path / "out/photos.json"]
    assert all(Path(file).is_file() for file in summary.sources[0].files)


def test_predict_takes_one_path_and_says_what_it_skipped(tmp_path: Path) -> None:
    summary = gtpt.predict(tmp_path / "gone.mp4", tmp_path / "out", boxes="whole-image", quiet=True)
    assert summary.exit_code == 1 and "gone.mp4" in summary.skipped[0][0]


def test_missing_sources_are_said_before_anything_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTPT_OFFLINE", "1")
    summary = gtpt.predict("gone.jpg", tmp_path, detector="yolox-s", quiet=True)
    assert summary.skipped == [("gone.jpg", "no such file, folder, camera or URL")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_score": 5}, "min_score"),
        ({"threshold": -1}, "threshold"),
        ({"detect_every": 0}, "detect_every"),
        ({"stride": 0}, "stride"),
        ({"start": 5, "end": 2}, "end must lie after start"),
        ({"detector": "yolox-s"}, "boxes take the place of the detector yolox-s"),
        ({"boxes": None, "detector": WholeImage(), "detector_threshold": 0.5}, "its own threshold and device"),
        ({"detect_every": 2}, r"detect_every.* need not follow each other: say with track \(--track\)"),
        ({"smooth": True}, r"smooth.* need not follow each other: say with track \(--track\)"),
        ({"detect_every": 2, "track": False}, "photos and folders"),
        ({"boxes": "boxes.txt"}, r"\*\.csv"),
        ({"weights": "yolox-nano"}, "for the task 'detector'"),
    ],
)
def test_impossible_settings_are_refused_before_the_work(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gtpt.predict(PHOTOS, tmp_path, **{"boxes": "whole-image", "quiet": True, **settings})


class Moving:
    """A detector of the user's own: the box goes 4 pixels to the right from frame to frame."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.calls += len(images)
        return [np.array([[4.0 * (self.calls - len(images) + i), 62, 340, 512]]) for i in range(len(images))]


def people_of(path: Path) -> list[list[dict]]:
    """Per frame the people of a JSONL file."""
    return [json.loads(line)["people"] for line in path.read_text(encoding="utf-8").splitlines()[1:]]


def test_a_function_finds_the_people_and_boxes_outside_are_dropped(tmp_path: Path) -> None:
    boxes = np.array([[0, 62, 340, 512], [-50, 0, -10, 90]])
    detector = lambda images: [(boxes, [0.5, 0.9])] * len(images)  # noqa: E731
    summary = gtpt.predict(PHOTOS / "cameraman.jpg", tmp_path, detector=detector, quiet=True)
    assert not summary.skipped and (summary.sources[0].frames, summary.sources[0].people) == (1, 1)


@pytest.mark.parametrize("smooth", [False, True])
def test_photos_that_follow_each_other_are_detected_every_nth_time(smooth: bool, tmp_path: Path) -> None:
    photos, detector = [PHOTOS / "cameraman.jpg"] * 5, Moving()
    options = {
        "detector": detector,
        "detect_every": 2,
        "track": True,
        "smooth": smooth,
        "draw": False,
        "format": "jsonl",
        "quiet": True,
    }
    gtpt.predict(photos, tmp_path, **options)
    assert detector.calls == 3  # of frames 0, 2 and 4
    assert [[p["id"] for p in people] for people in people_of(tmp_path / "photos.jsonl")] == [[1]] * 5


def test_smoothing_and_tracking_bear_a_stride(tmp_path: Path) -> None:
    """0.8 s from frame to frame is longer than smoothing remembers on its own."""
    raw, calm = (tmp_path / "raw", tmp_path / "calm")
    for out in (raw, calm):
        options = {"stride": 24, "track": True, "smooth": out == calm, "draw": False, "format": "jsonl", "quiet": True}
        gtpt.predict([PHOTOS / "cameraman.jpg"] * 49, out, detector=Moving(), **options)
    rough, smooth = (people_of(out / "photos.jsonl") for out in (raw, calm))
    assert [p["id"] for people in smooth for p in people] == [1, 1, 1]
    assert [a == b for a, b in zip(rough, smooth, strict=True)] == [True, False, False]


def test_a_detector_gets_the_device_of_the_estimator_or_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []
    monkeypatch.setattr("gtpt.prediction.runner.make_detector", lambda *_, device, **__: devices.append(device))
    for engine in (None, "torch", "openvino"):
        Runner(Options(tmp_path, engine=engine, device="cuda")).finder  # noqa: B018
        Runner(Options(tmp_path, engine=engine, device="cuda", detector_device="cpu")).finder  # noqa: B018
    assert devices == ["cuda", "cpu"] * 3


def test_a_device_that_the_detector_lacks_is_never_a_silent_cpu(tmp_path: Path) -> None:
    file = tmp_path / "detector.onnx"
    file.touch()
    with pytest.raises(ValueError, match=r"detector, which runs in onnxruntime.* no device 'gpu'.*detector_device"):
        Runner(Options(tmp_path, detector=file, engine="openvino", device="gpu")).finder  # noqa: B018
    with pytest.raises(ValueError, match=r"^no device 'gpu'"):
        Runner(Options(tmp_path, detector=file, detector_device="gpu")).finder  # noqa: B018


@pytest.mark.parametrize("frames", [1, 3])
def test_progress_says_the_speed_of_a_short_run(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import rich.progress  # noqa: F401  # before the console is exchanged
    from rich.console import Console

    now = [0.0]
    console = Console(record=True, width=120, file=io.StringIO(), get_time=lambda: now[0])
    monkeypatch.setattr("rich.console.Console", lambda **_: console)

    def results() -> Iterator[SimpleNamespace]:
        for _ in range(frames):
            now[0] += 0.5
            yield SimpleNamespace(poses=[None, None])

    source = Source("video", iter(()), Skipped(), frame_count=frames)
    assert len(list(show_progress(results(), source, False, lambda r: len(r.poses)))) == frames
    assert f"{frames}/{frames} {2 * frames} people, 2.0 frames/s" in console.export_text()


def test_a_photo_without_a_box_is_skipped_alone(tmp_path: Path) -> None:
    boxes = {"astronaut.jpg": np.array([[60, 0, 420, 512]]), "cameraman.jpg": np.zeros((0, 4))}
    summary = gtpt.predict(sorted(PHOTOS.glob("*.jpg")), tmp_path, boxes=boxes, quiet=True)
    assert summary.exit_code == 3 and summary.sources[0].frames == 2 and summary.sources[0].people == 1
    assert [Path(name).name for name, _ in summary.skipped] == ["grace_hopper.jpg"]


def test_files_of_earlier_calls_are_not_listed(tmp_path: Path) -> None:
    photo = PHOTOS / "astronaut.jpg"
    assert gtpt.predict(photo, tmp_path, boxes="whole-image", quiet=True).exit_code == 0
    again = gtpt.predict(photo, tmp_path, boxes={"another.jpg": np.zeros((0, 4))}, quiet=True)
    assert again.exit_code == 1 and [Path(f).name for f in again.sources[0].files] == ["astronaut.json"]
    assert json.loads((tmp_path / "astronaut.json").read_text()) == []


def test_a_picture_too_large_for_its_format_is_skipped_alone(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((8, 70_000, 3), np.uint8))
    sources = [PHOTOS / "astronaut.jpg", tmp_path / "wide.png"]
    summary = gtpt.predict(sources, tmp_path / "out", boxes="whole-image", quiet=True)
    assert summary.exit_code == 3 and summary.sources[0].frames == 2
    assert summary.skipped == [("wide_pose.jpg", "a picture of 70000x8 cannot be written as .jpg")]


SECRETS = {
    "rtsp://user:secret@10.0.0.5:554": "rtsp://10.0.0.5:554",
    "rtsp://a:s@secret@10.0.0.5/live": "rtsp://10.0.0.5/live",
    "rtsp://a:secret?#secret@cam/live": "rtsp://cam/live",
    "rtsp://a:secret/secret@cam:554/live": "rtsp://cam:554/live",
    "http://camera/live.m3u8?token=secret": "http://camera/live.m3u8",
    "http://camera:80/live.m3u8?to=a@b&token=secret#secret": "http://camera:80/live.m3u8",
    "http://secret@camera/a/@b/c.ts": "http://camera/a/@b/c.ts",
    "http://camera/@b/c.ts": "http://camera/@b/c.ts",
    "http://[::1]:80/@b/c.ts": "http://[::1]:80/@b/c.ts",
    "photos/a@b?.jpg": "photos/a@b?.jpg",
}


@pytest.mark.parametrize("url", SECRETS)
def test_urls_are_shown_without_secrets(url: str) -> None:
    assert without_secrets(url) == SECRETS[url]


@pytest.mark.parametrize(
    ("url", "stem"), [("rtsp://user:p@ss@10.0.0.5:554", "10.0.0.5"), ("http://camera/a:b|c.ts?token=x", "a_b_c")]
)
def test_urls_give_names_of_files(url: str, stem: str) -> None:
    assert file_stem(source_name(url)) == stem


@pytest.mark.parametrize(
    "url", ["http://u:hush@127.0.0.1:1/a.jpg?t=hush", "rtsp://u:s@hush@127.0.0.1:1/a", "http://u:hush@[oh/a.jpg"]
)
def test_nothing_of_a_call_holds_secrets(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("av")
    caplog.set_level("INFO")  # as with -v
    summary = gtpt.predict(url, tmp_path, boxes="whole-image", quiet=True)
    assert (len(summary.skipped) == 1 and "127.0.0.1" in str(summary.skipped)) or "[oh" in str(summary.skipped)
    assert "hush" not in json.dumps(summary.to_dict()) + caplog.text + str(list(tmp_path.rglob("*")))


@pytest.mark.parametrize("sources", [np.zeros((4, 5, 3), np.uint8), [np.zeros((4, 5, 3), np.uint8)], 3.5, [None]])
def test_arrays_are_no_sources(sources: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"paths, URLs or camera numbers.*gtpt\.find"):
        gtpt.predict(sources, tmp_path / "out", boxes="whole-image")
    assert not (tmp_path / "out").exists()


def test_modules_come_on_first_use() -> None:
    used = "gtpt.data, gtpt.evaluate.test, gtpt.viz.explain, gtpt.benchmark.benchmark, gtpt.model.make_config"
    code = f"import gtpt; print({used})"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="trian"):
        gtpt.trian  # noqa: B018


def test_help_imports_nothing_that_takes_long() -> None:
    """Nor do options that a command takes from `Options` differ from one use to the next."""
    code = """
import sys
from gtpt.cli import main
for arguments in (["--help"], ["data", "--help"]):
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code
assert not {"numpy", "cv2", "yaml", "onnxruntime", "torch"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    first, again = (typer.main.get_command(app).get_command(None, "predict") for _ in range(2))  # type: ignore[attr-defined]
    assert [p.opts for p in first.params] == [p.opts for p in again.params]
    assert ["--min-score"] in [p.opts for p in first.params] and ["--json"] in [p.opts for p in first.params]


def test_unknown_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="treshold"):
        gtpt.predict(PHOTOS, tmp_path, treshold=0.5)


def test_the_public_face_is_complete() -> None:
    code = "import gtpt; before = set(dir(gtpt)); assert set(gtpt.__all__) <= before; [getattr(gtpt, n) for n in before]"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"predict", "PoseEstimator", "to_coco", "model"} <= set(gtpt.__all__)
    assert inspect.isfunction(gtpt.predict)
