"""Pixels that are in memory, of a user or of a decoder, as RGB uint8 (H, W, 3)."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from gtpt.core.errors import SourceError

logger = logging.getLogger(__name__)

CEILING = (2**31 - 1) // 3  # OpenCV addresses the bytes of a picture with 31 bits, and crashes beyond
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners put into 16
_warned: set[int] = set()


def depth_of(values: np.ndarray) -> int:
    """How many bits 16-bit values use, of those that are usual: the brightest one tells."""
    highest = int(values.max(initial=0))
    return next(depth for depth in DEPTHS if highest < 1 << depth)


def to_8_bit(values: np.ndarray, name: str, depth: int | None = None) -> np.ndarray:
    """uint8 of uint16 values that use `depth` bits, by default those that the brightest one needs, with a warning."""
    depth = depth_of(values) if depth is None else depth
    if depth < 16 and values.any():
        level = logging.INFO if depth in _warned else logging.WARNING
        _warned.add(depth)
        logger.log(level, "%s: 16-bit values of at most %d are taken for %d bits", name, values.max(), depth)
    return (values >> (depth - 8)).astype(np.uint8)


def as_rgb(image: np.ndarray, name: str = "an image", *, bgr: bool = False) -> np.ndarray:
    """Check and normalise an image that a user gives as an array.

    Args:
        image: (H, W, 3) RGB; (H, W) or (H, W, 1) grey; (H, W, 4) RGBA, whose transparency is dropped; uint8, or uint16
            over its full range (one whose brightest value fits into 8, 10, 12 or 14 bits is taken to have so many). The
            colour order cannot be checked.
        name: what the error message calls it.
        bgr: the colours come in OpenCV's order, BGR or BGRA.

    Returns:
        (H, W, 3) uint8, contiguous; without a copy where it is that already.

    Raises:
        SourceError: another shape or dtype, or no pixels; says what to do.
    """
    array = np.asarray(image)
    if array.dtype == np.uint16:
        array = to_8_bit(array, name)
    if array.dtype != np.uint8:
        hint = "; multiply an image in 0..1 by 255 and convert it" if array.dtype.kind == "f" else ""
        raise SourceError(f"{name} must be uint8 in 0..255 (or uint16), got dtype {array.dtype}{hint}")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        hint = "; transpose (1, 2, 0) brings the channels last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise SourceError(f"{name} must have shape (H, W, 3), (H, W, 4) or (H, W), got {np.shape(image)}{hint}")
    if array.size == 0:
        raise SourceError(f"{name} must have pixels, got shape {np.shape(image)}")
    if array.shape[0] * array.shape[1] > CEILING:
        raise SourceError(f"{name} must have at most {CEILING:,} pixels, got shape {np.shape(image)}: give a part of it")
    array = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]
    array = array[..., ::-1] if bgr else array
    return np.ascontiguousarray(array)


def page_to_rgb(page: Any, name: str, depth: int = 8) -> tuple[np.ndarray, int]:
    """One picture of an animation or stack, opened by Pillow, as RGB uint8; also the bits that its 16-bit values use.

    Args:
        page: a `PIL.Image.Image` at that picture.
        name: for the warning.
        depth: that of the pictures before, which hold for darker ones too: a stack must not flicker.
    """
    if not page.mode.startswith("I;16"):
        return np.array(page.convert("RGB")), depth
    values = np.asarray(page).astype(np.uint16)
    depth = max(depth, depth_of(values))
    return np.repeat(to_8_bit(values, name, depth)[..., None], 3, axis=2), depth
