"""The profile's arithmetic, on operators whose multiplications are known."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")


def event(name: str, operator: str, first: list[int], out: list[int]) -> dict[str, Any]:
    shapes = {"input_type_shape": [{"float": first}], "output_type_shape": [{"float": out}]}
    return {"name": f"{name}_kernel_time", "dur": 1000, "args": {"op_name": operator, **shapes}}


def test_multiplications_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    totals = runpy.run_path(str(folder / "profile_engine.py"))["totals"]
    events = [
        event("a", "FusedMatMul", [1, 2, 3, 5], [1, 2, 3, 7]),
        event("b", "Conv", [1, 4, 8, 8], [1, 6, 4, 4]),
        event("c", "Attention", [1, 9, 4], [1, 9, 4]),
        event("d", "Add", [3], [3]),
    ]
    seconds, macs = totals(events, {"b": 4 * 3 * 3})
    assert dict(seconds) == {kind: 1e-3 for kind in ("matrix products", "convolutions", "attention", "rest")}
    assert dict(macs) == {"matrix products": 2 * 3 * 7 * 5, "convolutions": 6 * 4 * 4 * 36}
