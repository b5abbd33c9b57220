"""Shared fixtures. Real data lies in a folder `shared` beside the checkout or at $GTPT_SHARED; tests skip without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    path = Path(os.environ.get("GTPT_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set GTPT_SHARED")
    return path


@pytest.fixture(scope="session")
def golden() -> Path:
    """Outputs of the authors' code, with weights and inputs that anyone can draw again; see its README."""
    return ROOT / "tests" / "golden"
