"""`gtpt web`: its options reach the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gtpt.cli import main
from gtpt.weights.registry import BUNDLED


def test_options_reach_the_folder(small_runtime: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes((BUNDLED / "gtpt_t_coco17.onnx").read_bytes())
    site = tmp_path / "site"
    with pytest.raises(SystemExit) as done:
        main(["web", str(site), "--weights", str(own), "--detector", "none", "--runtime", str(small_runtime)])
    assert done.value.code == 0
    assert f"{site}: own.onnx, no detector" in capsys.readouterr().out
    assert json.loads((site / "site.json").read_text())["pose"] == {"file": "models/pose/own.onnx", "name": "own.onnx"}
