"""How numbers leave: as the shortest decimal that reads back as the same float32, so files are small and lose nothing.

A number that is not finite becomes null in JSON, an empty cell in CSV, and a missing point (0, 0, 0) in COCO and OpenPose.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np


def to_json_text(data: Any) -> str:
    """Compact JSON; a NaN in it is an error of ours, never a file that other tools refuse."""
    return json.dumps(data, allow_nan=False, separators=(",", ":"))


def plain(value: Any) -> Any:
    """Python's own number or text of a path, or of what is alone in an array or tensor, which JSON does not know."""
    if type(value) in (float, int, str):  # most are, of files with millions of numbers
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    try:
        return value.item()
    except (AttributeError, ValueError, RuntimeError):  # nothing of an array's, or several numbers
        return value


def shortest(values: np.ndarray) -> list[Any]:
    """Nested lists of floats whose text is the shortest of the float32; None where not finite."""
    numbers = values.astype(np.float32).astype("U32").astype(np.float64).astype(object)
    numbers[~np.isfinite(values)] = None
    nested: list[Any] = numbers.tolist()
    return nested


def finite_points(points: np.ndarray) -> np.ndarray:
    """(..., 3) points with (0, 0, 0) for those that have a number that is not finite."""
    return np.where(np.isfinite(points).all(axis=-1, keepdims=True), points, np.float32(0))
