"""Shared fixtures. Real data lies in a folder `shared` beside the checkout or at $GTPT_SHARED; tests skip without it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Captured names of any bytes would end the process that sends them to the one which reports."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


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


@pytest.fixture
def small_runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder like onnxruntime-web's with a few bytes in each file, and their digests in place of the real ones."""
    from gtpt.web import runtime

    folder = tmp_path / "runtime"
    folder.mkdir()
    digests = {}
    for name in runtime.FILES:
        content = f"// {name}".encode()
        (folder / name).write_bytes(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(runtime, "FILES", digests)
    return folder
