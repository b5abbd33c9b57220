"""What `gtpt VERB` does, Python does under the same verb and with the same names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

import gtpt
from gtpt.cli.app import app
from gtpt.evaluate import test as measure
from gtpt.export import export
from gtpt.job import Job, predict
from gtpt.measure import benchmark
from gtpt.model import convert
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


def test_unknown_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="treshold"):
        gtpt.predict(PHOTOS, tmp_path, treshold=0.5)
