"""Pixels that are in memory, of a user or of a decoder, as RGB uint8 (H, W, 3)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.errors import SourceError

logger = logging.getLogger(__name__)

FLOATS = "has floating-point values, whose range is not known: save it with 8 or 16 bits"
CEILING = (2**31 - 1) // 3  # OpenCV addresses the bytes of a picture with 31 bits, and crashes beyond
EXIF_ORIENTATION = 0x0112
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


def is_single(images: Any) -> bool:
    """Whether this stands for one image and not for several; SourceError for what can be neither."""
    if is_pillow(images) or hasattr(images, "ndim"):
        return getattr(images, "ndim", 3) <= 3
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes)):
        return False
    raise SourceError(f"images must be an RGB uint8 array (H, W, 3) or a list of such, got {_called(images)}")


def is_pillow(image: Any) -> bool:
    """Whether this is an image of Pillow."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(image, pillow.Image)


def as_rgb(image: Any, name: str = "an image", *, bgr: bool = False) -> np.ndarray:
    """Check and normalise an image that a user has in memory.

    Args:
        image: (H, W, 3) RGB; (H, W) or (H, W, 1) grey; (H, W, 4) RGBA, whose transparency is dropped; uint8, or uint16
            over its full range (one whose brightest value fits into 8, 10, 12 or 14 bits is taken to have so many). The
            colour order cannot be checked. Or an image of Pillow, which says itself what its colours are.
        name: what the error message calls it.
        bgr: the colours of an array come in OpenCV's order, BGR or BGRA.

    Returns:
        (H, W, 3) uint8, contiguous; without a copy where it is that already.

    Raises:
        SourceError: another shape or dtype, or no pixels; says what to do.
    """
    if is_pillow(image):
        return as_rgb(_pillow_pixels(image, name), name)
    array = _as_array(image, name)
    if array.dtype in (np.dtype("<u2"), np.dtype(">u2")):
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


def _as_array(image: Any, name: str) -> np.ndarray:
    if image is None or isinstance(image, (str, bytes, Path)):
        raise SourceError(f"{name} must be an array, got {_called(image)}")
    try:
        return np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:  # such as of a tensor that is on a GPU
        raise SourceError(f"{name} must be an array, got {_called(image)}: {error}") from error


def _called(value: Any) -> str:
    """What was given instead of an image, and what to do."""
    if value is None:
        return "None, which cv2.imread gives for a file that it cannot read: gtpt.read_image says why"
    if isinstance(value, (str, Path)):
        return f"the path {str(value)!r}: read it with gtpt.read_image first, or use gtpt.find"
    if isinstance(value, bytes):
        return "bytes: gtpt.io.images.decode_image makes an array of the content of a photo"
    return f"{type(value).__name__}"


def _pillow_pixels(image: Any, name: str) -> np.ndarray:
    """RGB uint8. What is turned only when it is seen is refused: boxes may be meant for either."""
    try:
        number = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # of any kind, for damaged EXIF
        number = 1
    if number in range(2, 9):
        raise SourceError(
            f"{name} has the EXIF orientation {number}, but its pixels are not turned: give "
            f"PIL.ImageOps.exif_transpose(image), and boxes for that"
        )
    try:
        return page_to_rgb(image, name)[0]
    except OSError as error:  # Pillow reads pixels late
        raise SourceError(f"{name} cannot be read: {error}") from error


def page_to_rgb(page: Any, name: str, depth: int = 8) -> tuple[np.ndarray, int]:
    """One picture of an animation or stack, opened by Pillow, as RGB uint8; also the bits that its 16-bit values use.

    Args:
        page: a `PIL.Image.Image` at that picture.
        name: for the warning.
        depth: that of the pictures before, which hold for darker ones too: a stack must not flicker.

    Raises:
        SourceError: numbers whose range is not known.
    """
    if page.mode == "F":
        raise SourceError(f"{name} {FLOATS}")
    if not page.mode.startswith("I"):
        return np.array(page.convert("RGB")), depth
    values = np.asarray(page)
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise SourceError(f"{name} has values from {values.min()} to {values.max()}: save it with 8 or 16 bits, 0..65535")
    values = values.astype(np.uint16)
    depth = max(depth, depth_of(values))
    return np.repeat(to_8_bit(values, name, depth)[..., None], 3, axis=2), depth
