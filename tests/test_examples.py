"""The scripts of examples/ run as they stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.integration
def test_custom_keypoints(tmp_path: Path) -> None:
    """One pass over its pictures; how well it learns with sixty is told in docs/skeletons.md."""
    pytest.importorskip("lightning")
    command = [sys.executable, str(ROOT / "examples/custom_keypoints.py"), "--out", str(tmp_path), "--epochs", "1"]
    environment = {**os.environ, "GTPT_OFFLINE": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "lamp: 20 images, 20 persons" in done.stdout
    assert cv2.imread(str(tmp_path / "lamps.jpg")).shape == (320, 4 * 320, 3)
    truth = json.loads((tmp_path / "val/annotations.json").read_text())
    assert len(truth["annotations"]) == 20 and truth["categories"][0]["keypoints"][0] == "foot"
