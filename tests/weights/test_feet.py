"""The weights that find toes and heels: real feet where their card says, and every point of OpenPose's BODY_25."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from gtpt import PoseEstimator, load_skeleton, read_image
from gtpt.weights import model_card

ROOT = Path(__file__).parents[2]
NAME = "gtpt-t-feet23"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTPT_OFFLINE", "1")


def test_it_fills_all_of_body_25() -> None:
    from gtpt.io.formats import to_openpose

    poses = PoseEstimator(NAME)(read_image(ROOT / "examples/photos/cameraman.jpg"), np.array([[120, 40, 400, 500]]))
    (person,) = to_openpose(poses)["people"]
    scores = np.reshape(person["pose_keypoints_2d"], (25, 3))[:, 2]
    assert poses.skeleton == load_skeleton("coco_feet23") and (scores > 0).all()


@pytest.mark.integration
def test_feet_and_body_are_found_as_the_card_says(shared: Path) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from feet import shares

    card, sample = model_card(NAME), shared / "data/wholebody_sample"
    found = shares(
        PoseEstimator(NAME, flip_test=True),
        sample / "annotations/coco_wholebody_val_v1.0.json",
        sample / "images/val2017",
    )
    for part, (share, count) in found.items():
        stated = re.search(rf"\| {part} \| {count} \| ([\d.]+) \|", card)
        assert stated and abs(100 * share - float(stated[1])) < 2, part
    assert found["feet"][0] > 0.7
