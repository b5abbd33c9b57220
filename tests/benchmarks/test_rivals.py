"""The rivals that we time are the networks that they claim to be."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("torch")

RIVALS = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "rivals.py"))


@pytest.mark.integration
@pytest.mark.parametrize("table", ["BODY", "WHOLE_BODY"])
def test_parameters_and_cost_are_the_published_ones(table: str) -> None:
    for name, rival in RIVALS[table].items():
        params, gmacs = RIVALS["cost"](rival.make())
        if rival.params is not None:
            assert params == pytest.approx(rival.params, rel=0.02), name
        if name.startswith("SimpleBaseline"):  # their paper counts 3.5 more for the head that all three share
            assert gmacs + 3.5 == pytest.approx(rival.gmacs, rel=0.035), name
        else:  # some published counts leave the products of attention out; that of HRNet is 7 % less than ours for both
            assert 0.98 < gmacs / rival.gmacs < (1.02 if "RTM" in name else 1.15), name
