"""precision="auto": the fastest of what is installed, and bfloat16 only where the file says that it costs little."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from gtpt.core.errors import InputError
from gtpt.engines import auto, open_engine
from gtpt.engines.auto import BFLOAT16_COST, MOST, fastest
from gtpt.estimator import PoseEstimator
from gtpt.weights import resolve

onnx = pytest.importorskip("onnx")
pytest.importorskip("openvino")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The bundled network, which says that bfloat16 costs next to nothing."""
    path = tmp_path / "pose.onnx"
    graph = onnx.load(resolve("gtpt-t-coco17", format="onnx"))
    (entry,) = [p for p in graph.metadata_props if p.key == "gtpt"]
    entry.value = json.dumps({**json.loads(entry.value), BFLOAT16_COST: MOST})
    (seal,) = [p for p in graph.metadata_props if p.key == "sha256"]
    graph.metadata_props.remove(seal)  # the file is changed on purpose
    onnx.save(graph, path)
    fastest.cache_clear()
    return path


class Opened:
    """Stands for an engine of a file."""

    def __init__(self, name: str, precision: str, cost: float):
        self.name, self.precision, self.batch = name, precision, None
        self.info = type("Info", (), {"metadata": {BFLOAT16_COST: cost}})


@pytest.mark.parametrize(
    ("seconds", "cost", "expected"),
    [
        ({"onnxruntime": 3, "openvino": 2, "bfloat16": 1}, MOST, ("openvino", "bfloat16")),
        ({"onnxruntime": 3, "openvino": 2, "bfloat16": 1}, MOST + 1e-6, ("openvino", "float32")),
        ({"onnxruntime": 1, "openvino": 2, "bfloat16": 3}, MOST, ("onnxruntime", "float32")),
        ({"onnxruntime": 2, "openvino": 3, "bfloat16": None}, MOST, ("onnxruntime", "float32")),  # no such instructions
    ],
)
def test_the_fastest_that_loses_little(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    seconds: dict,
    cost: float,
    expected: tuple,
) -> None:
    def opened(_path: Path, name: str, precision: str, _threads: int | None) -> Opened:
        if precision == "bfloat16" and seconds["bfloat16"] is None:
            raise InputError("no bfloat16 instructions")
        return Opened(name, precision, cost)

    monkeypatch.setattr(auto, "_opened", opened)
    monkeypatch.setattr(
        auto, "_milliseconds", lambda all_: [seconds[e.name if e.precision == "float32" else "bfloat16"] for e in all_]
    )
    caplog.set_level(logging.WARNING)  # another test may have asked for more
    fastest.cache_clear()
    assert fastest(tmp_path / "net.onnx") == fastest(tmp_path / "net.onnx") == expected
    (said,) = caplog.records  # once
    assert said.levelno == logging.WARNING and f"{expected[0]} in {expected[1]}" in said.message.split(";")[0]
    assert fastest(tmp_path / "net.onnx", "onnxruntime") == ("onnxruntime", "float32")
    assert fastest(tmp_path / "net.safetensors") == ("torch", "float32")
    assert fastest(tmp_path / "net.onnx", device="cuda") == ("onnxruntime", "float32")
    assert len(caplog.records) == 1  # where nothing was to be chosen nothing is said
    fastest.cache_clear()


@pytest.mark.integration
def test_a_file_that_does_not_say_stays_in_float32(file: Path, tmp_path: Path) -> None:
    silent = Path(shutil.copy(resolve("gtpt-t-coco17", format="onnx"), tmp_path / "silent.onnx"))
    if BFLOAT16_COST not in open_engine(silent).info.metadata:
        assert fastest(silent)[1] == "float32"
    chosen = open_engine(file, precision="auto", threads=1)
    estimator = PoseEstimator(file, precision="auto", threads=1)
    assert type(estimator.engine) is type(chosen)
    width, height = estimator.input_size
    crops = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    for a, b in zip(chosen(crops), estimator.engine(crops), strict=True):
        np.testing.assert_array_equal(a, b)
