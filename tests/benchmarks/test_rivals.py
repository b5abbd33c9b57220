"""The rivals that we time are the networks that they claim to be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from rivals import BODY, WHOLE_BODY, Rival, cost  # noqa: E402

RIVALS = BODY | {f"{name}, whole body": rival for name, rival in WHOLE_BODY.items() if rival.gmacs}


@pytest.mark.integration
@pytest.mark.parametrize("rival", RIVALS.values(), ids=RIVALS)
def test_parameters_and_cost_are_the_published_ones(rival: Rival) -> None:
    with torch.device("meta"):
        network = rival.make()
    counted = cost(network, rival.size)
    if rival.params is not None:
        assert counted.params == pytest.approx(rival.params, rel=0.03)
    assert rival.counted(counted) == pytest.approx(rival.gmacs, rel=0.03)
