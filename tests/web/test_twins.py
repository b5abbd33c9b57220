"""Numbers that the page's modules have in common with Python stand in both, and are the same."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import pytest

from gtpt import Smoother, estimator, pipeline
from gtpt.core import calibration, geometry, simcc
from gtpt.detect import yolox
from gtpt.io.formats.csv import FRAME_COLUMNS
from gtpt.io.formats.table import TABLE_COLUMNS
from gtpt.tracking import smoother, tracker
from gtpt.viz import canvas
from gtpt.web.folder import SITE


def constants(module: str) -> dict[str, Any]:
    """`const NAME = literal;` and `const [A, B] = [literals];` of a module of the page."""
    text = (SITE / "js" / f"{module}.js").read_text(encoding="utf-8")
    found: dict[str, Any] = {}
    for names, value in re.findall(r"^const (\w+|\[[\w, ]+\]) = (.+?);", text, re.MULTILINE):
        try:
            read = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            continue  # computed, or a function
        found |= dict(zip(re.findall(r"\w+", names), read, strict=True)) if names.startswith("[") else {names: read}
    return found


def default(function: Any, name: str) -> Any:
    return inspect.signature(function).parameters[name].default


@pytest.mark.parametrize(
    ("module", "python"),
    [
        ("geometry", {"VISIBLE": calibration.VISIBLE, "BOX_PADDING": geometry.BOX_PADDING}),
        ("distinct", {name: getattr(estimator, name) for name in ("SAME", "WITHIN")}),
        ("yolox", {**{n: getattr(yolox, n) for n in ("GREY", "PERSON", "STEPS")}, "STRIDES": list(yolox.STRIDES)}),
        ("yolox", {"NMS": default(yolox.YoloxDetector, "nms")}),
        ("tracker", {n: v for n, v in vars(tracker).items() if n.isupper() and n != "NO_ID"}),
        ("smoother", {n: getattr(smoother, n) for n in ("SPEED_CUTOFF", "CONFIDENT", "LEAST_TRUST")}),
        ("smoother", dict(zip(("MIN_CUTOFF", "BETA", "MEMORY"), Smoother.__init__.__kwdefaults__.values(), strict=True))),
        ("formats", {"COLUMNS": ",".join((*FRAME_COLUMNS, *TABLE_COLUMNS))}),
    ],
)
def test_constants_are_those_of_python(module: str, python: dict[str, Any]) -> None:
    mine = constants(module)
    assert {name: mine[name] for name in python} == python


def rgb(color: canvas.Color) -> str:
    return f"'rgb({' '.join(map(str, color))})'"


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("draw", f"left: {rgb(canvas.LEFT)}, right: {rgb(canvas.RIGHT)}, middle: {rgb(canvas.MIDDLE)}"),
        ("draw", f"const DARK = {rgb(canvas.DARK)};"),
        ("draw", f"const ACCENT = {rgb(canvas.ACCENT)};"),
        ("geometry", f"boxOfPose(person, size, margin = {default(pipeline.boxes_from_poses, 'margin')})"),
        ("app", f"threshold: {default(yolox.YoloxDetector, 'threshold')}, refine"),
        ("tracker", f"{{ memory = {default(tracker.Tracker, 'memory_s'):g}, firstId"),
        ("network", f"const IDEAL = 1 / ({simcc.SIGMA:g} * Math.sqrt(2 * Math.PI));"),
    ],
)
def test_other_numbers_are_those_of_python(module: str, text: str) -> None:
    assert text in (SITE / "js" / f"{module}.js").read_text(encoding="utf-8")
