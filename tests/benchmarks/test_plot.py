"""The plot of both families shows the first part of a table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import plot

BODY = """
1 thread(s)

| network | AP | params M | ms, 1 person |
|---|---:|---:|---:|
| gtpt-s | 73.6 | 5.4 | 37.7 |
| gtpt-t | 71.1 | 2.4 | 19.0 |
| RTMPose-t | 68.2 | 3.3 | 9.8 |
| TransPose-R-A4 | 72.6 | 6.0 | 90.0 |

2 thread(s)

| network | AP | params M | ms, 1 person |
|---|---:|---:|---:|
| gtpt-t | 71.1 | 2.4 | 12.5 |
"""


def test_one_family_with_one_thread_fastest_first():
    assert plot.one_thread(BODY, "GTPT") == [("t", 19.0, 71.1), ("s", 37.7, 73.6)]
    assert plot.one_thread(BODY, "RTMPose") == [("t", 9.8, 68.2)]
