"""The scripts of examples/ run as they stand."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT / "examples/photos"


def run(script: str, *arguments: str | Path) -> str:
    """What an example prints."""
    command = [sys.executable, str(ROOT / "examples" / script), *map(str, arguments)]
    environment = {**os.environ, "GTPT_OFFLINE": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Somebody goes from left to right before a grey wall."""
    person = cv2.cvtColor(cv2.imread(str(PHOTOS / "astronaut.jpg")), cv2.COLOR_BGR2RGB)[:, 60:420]
    frames = []
    for step in range(4):
        scene = np.full((512, 900, 3), 128, np.uint8)
        scene[:, 180 * step : 180 * step + 360] = person if step else 128
        frames.append(Image.fromarray(scene))
    frames[0].save(tmp_path / "film.webp", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    return tmp_path / "film.webp"


def test_film_to_csv(film: Path, tmp_path: Path) -> None:
    run("film_to_csv.py", film, tmp_path / "people.csv", "--detector", "whole-image")
    rows = list(csv.DictReader((tmp_path / "people.csv").open()))
    assert {row["frame"] for row in rows} == {"0", "1", "2", "3"} and {row["id"] for row in rows} == {"1"}
    assert all(0 <= float(row["left_wrist_score"]) <= 1 and row["nose_x"] for row in rows)


def test_own_detector(film: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    run("own_detector.py", film, "--out", tmp_path / "out")
    people = [json.loads(line)["people"] for line in (tmp_path / "out/film.jsonl").read_text().splitlines()[1:]]
    assert not people[0] and people[1]
    x1, y1, x2, y2 = people[1][0]["box"]
    assert abs(x1 - 180) < 40 and abs(x2 - 540) < 40 and y2 - y1 > 400


def test_controlnet(tmp_path: Path) -> None:
    run("controlnet.py", PHOTOS / "astronaut.jpg", "--out", tmp_path, "--detector", "whole-image")
    picture = cv2.imread(str(tmp_path / "astronaut_pose.png"))
    assert picture.shape == (512, 512, 3) and 0 < (picture > 0).any(axis=2).mean() < 0.2
    (found,) = tmp_path.glob("**/*.json")
    assert len(json.loads(found.read_text())["people"]) == 1


def test_the_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells one after the other; the pictures show themselves as PNG."""
    pytest.importorskip("pandas")
    monkeypatch.chdir(ROOT / "examples")
    cells = json.loads((ROOT / "examples/notebook.ipynb").read_text())["cells"]
    names: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert len(names["table"]) == 17 and names["sheet"]._repr_png_()[:4] == b"\x89PNG"


@pytest.mark.integration
def test_custom_keypoints(tmp_path: Path) -> None:
    """One pass over its pictures; how well it learns with sixty is told in docs/skeletons.md."""
    pytest.importorskip("lightning")
    printed = run("custom_keypoints.py", "--out", tmp_path, "--epochs", "1")
    assert "lamp: 20 images, 20 persons" in printed
    assert cv2.imread(str(tmp_path / "lamps.jpg")).shape == (320, 4 * 320, 3)
    truth = json.loads((tmp_path / "val/annotations.json").read_text())
    assert len(truth["annotations"]) == 20 and truth["categories"][0]["keypoints"][0] == "foot"
