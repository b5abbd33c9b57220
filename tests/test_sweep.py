"""The sweep over keep rates: its points, what it measures, and that it goes on where it was stopped."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("faster_coco_eval")

from gtpt.engines import open_engine  # noqa: E402
from gtpt.model import build, save  # noqa: E402
from gtpt.model.config import PRESETS, make_config  # noqa: E402
from gtpt.sweep import GRID, is_on_front, sweep  # noqa: E402

from .data.figures import write_set  # noqa: E402

SMALL = {"input_size": (48, 64), "coarse_layers": 4, "group_layers": 2}


def test_the_usual_points_fit_the_official_bodies() -> None:
    config = make_config("gtpt-t")
    rates = [config.choose_keep_rates(r) for r in (*PRESETS.values(), *GRID)]
    assert len(set(rates)) == len(PRESETS) + len(GRID) and config.keep_rates in rates
    cost = [sum(config.keep_counts(PRESETS[name])) for name in ("entire", "accurate", "balanced", "fast")]
    assert cost == sorted(cost, reverse=True)


def test_the_front_is_what_nothing_else_beats() -> None:
    points = [(20, 0.36), (15, 0.36), (12, 0.35), (11, 0.33), (12, 0.34), (10, 0.2), (10, 0.2)]
    rows = [{"ms": ms, "ap": ap} for ms, ap in points]
    assert [is_on_front(row, rows) for row in rows] == [False, True, True, True, False, True, True]


@pytest.mark.integration
def test_a_stopped_sweep_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("onnxslim")
    figures, weights, out = write_set(tmp_path / "set", 6), tmp_path / "net.safetensors", tmp_path / "sweep"
    torch.manual_seed(0)
    save(build("gtpt-t", keep_rates=(1, 0.7, 0.5, 0.25), **SMALL), weights)
    data = figures / "annotations.json", figures / "images"
    exported = []

    def stopping(points: Iterable[Any]) -> Iterator[Any]:
        for point in points:
            yield point
            exported.append(point)
            if len(exported) == 1:
                raise KeyboardInterrupt

    settings = {"keep_rates": ["1,.5,.5,.25", "entire"], "people": 3, "repeats": 3, "progress": stopping}
    with pytest.raises(KeyboardInterrupt):
        sweep(weights, *data, out, **settings)
    assert [row["keep_rates"] for row in json.loads((out / "sweep.json").read_text())["rows"]] == exported
    found = sweep(weights, *data, out, **settings)
    assert exported == [[1, 0.7, 0.5, 0.25], [1, 0.5, 0.5, 0.25], [1, 1, 1, 1]]  # each once
    assert sorted(row["keep_rates"] for row in found["rows"]) == sorted(exported)
    assert {row["preset"] for row in found["rows"]} == {None, "entire"} and any(row["front"] for row in found["rows"])
    assert [row["ratio"] for row in found["rows"] if row["keep_rates"] == exported[0]] == [1.0]
    for row in found["rows"]:
        assert open_engine(out / row["file"]).info.config.keep_rates == tuple(row["keep_rates"])
        assert 0 <= row["ap"] <= 1 and row["ms"] > 0
    assert min(row["gmacs"] for row in found["rows"]) > 0 and len({row["gmacs"] for row in found["rows"]}) == 3
    assert json.loads((out / "sweep.json").read_text()) == found
    with (out / "sweep.csv").open() as file:
        assert [row["keep_rates"] for row in csv.DictReader(file)] == [
            " ".join(f"{rate:g}" for rate in row["keep_rates"]) for row in found["rows"]
        ]
    again = sweep(weights, *data, out, **settings)
    assert len(exported) == 3 and {r["file"]: r["ap"] for r in again["rows"]} == {r["file"]: r["ap"] for r in found["rows"]}
    with pytest.raises(ValueError, match="other settings"):
        sweep(weights, *data, out, **{**settings, "people": 4})
    with pytest.raises(ValueError, match="must not rise"):
        sweep(weights, *data, tmp_path / "other", **{**settings, "keep_rates": ["1,.5,.6,.25"]})
