"""What `gtpt VERB` does, Python does under the same verb and with the same names."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer.main

import gtpt
from gtpt.cli.app import app
from gtpt.evaluate import test as measure
from gtpt.export import export
from gtpt.job import Job, _stem, predict
from gtpt.measure import benchmark
from gtpt.model import convert
from gtpt.sources import without_password
from gtpt.train import train

PHOTOS = Path(__file__).parents[1] / "examples/photos"
ONLY_THERE = {"as_json"}  # how the command prints
# `train` and `test` read the experiment file; in Python its parts are arguments
EXPERIMENT = {"cfg", "overrides", "experiment", "annotations", "images", "boxes"}


def names(function: Callable) -> set[str]:
    return set(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("verb", "here"),
    [
        ("predict", (names(predict) | {f.name for f in fields(Job) if f.init}) - {"settings", "quiet"}),
        ("train", (names(train) - {"progress"}) | {"quiet"}),
        ("test", names(measure) - {"progress"}),
        ("convert", names(convert)),
        ("export", names(export)),
        ("benchmark", names(benchmark)),
    ],
)
def test_python_and_command_line_share_names(verb: str, here: set[str]) -> None:
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    there = {option.name for option in command.params} - ONLY_THERE
    assert here - EXPERIMENT == there - EXPERIMENT


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
        ({"detector": "yolox-s"}, "takes the place of --detector"),
        ({"boxes": "boxes.txt"}, r"\*\.csv"),
        ({"weights": "yolox-nano"}, "for the task 'detector'"),
    ],
)
def test_impossible_settings_are_refused_before_the_work(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gtpt.predict(PHOTOS, tmp_path, **{"boxes": "whole-image", "quiet": True, **settings})


def test_a_photo_without_a_box_is_skipped_alone(tmp_path: Path) -> None:
    boxes = {"astronaut.jpg": np.array([[60, 0, 420, 512]]), "cameraman.jpg": np.zeros((0, 4))}
    summary = gtpt.predict(sorted(PHOTOS.glob("*.jpg")), tmp_path, boxes=boxes, quiet=True)
    assert summary.exit_code == 3 and summary.sources[0].frames == 2 and summary.sources[0].people == 1
    assert [Path(name).name for name, _ in summary.skipped] == ["grace_hopper.jpg"]


def test_files_of_earlier_calls_are_not_listed(tmp_path: Path) -> None:
    photo = PHOTOS / "astronaut.jpg"
    assert gtpt.predict(photo, tmp_path, boxes="whole-image", quiet=True).exit_code == 0
    again = gtpt.predict(photo, tmp_path, boxes={"another.jpg": np.zeros((0, 4))}, quiet=True)
    assert again.exit_code == 1 and [Path(f).name for f in again.sources[0].files] in ([], ["astronaut.json"])
    assert json.loads((tmp_path / "astronaut.json").read_text()) == [] or again.sources[0].files == []


def test_a_picture_too_large_for_its_format_is_skipped_alone(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((8, 70_000, 3), np.uint8))
    sources = [PHOTOS / "astronaut.jpg", tmp_path / "wide.png"]
    summary = gtpt.predict(sources, tmp_path / "out", boxes="whole-image", quiet=True)
    assert summary.exit_code == 3 and summary.sources[0].frames == 2
    assert summary.skipped == [("wide_pose.jpg", "a picture of 70000x8 is larger than .jpg can be")]


@pytest.mark.parametrize(
    ("url", "stem"),
    [
        ("rtsp://user:secret@10.0.0.5:554", "10.0.0.5"),
        ("http://camera/live.m3u8?token=secret", "live"),
        ("http://camera/a:b|c.ts", "a_b_c"),
    ],
)
def test_urls_give_files_without_secrets(url: str, stem: str) -> None:
    assert _stem(url) == stem
    assert "secret" not in without_password(url).split("?")[0]


def test_modules_come_on_first_use() -> None:
    code = "import gtpt; print(gtpt.model.make_config, gtpt.evaluate.test, gtpt.measure.benchmark, gtpt.explain.explain)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="trian"):
        gtpt.trian  # noqa: B018


def test_unknown_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="treshold"):
        gtpt.predict(PHOTOS, tmp_path, treshold=0.5)
