"""The golden weights: numbers that anyone can draw again, in the shape of the authors' checkpoints."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="session")
def golden_rule(golden: Path) -> ModuleType:
    """make_weights.py of the golden folder, which draws weights and inputs."""
    spec = importlib.util.spec_from_file_location("make_weights", golden / "make_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def official_state(golden: Path, golden_rule: ModuleType):
    """Function: variant name -> state dict of the authors' network, both branches."""

    def make(variant: str) -> dict[str, torch.Tensor]:
        arrays = golden_rule.make_state_dict(str(golden / f"{variant}.keys.json"))
        return {key: torch.from_numpy(array) for key, array in arrays.items()}

    return make


@pytest.fixture(scope="session")
def t_coco(official_state) -> dict[str, torch.Tensor]:
    return official_state("t_coco")
