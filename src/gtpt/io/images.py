"""Pixels in: from files, bytes or a user's array to RGB uint8 (H, W, 3)."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from gtpt.core.errors import SourceError


def read_image(path: str | Path) -> np.ndarray:
    """Read a photo; any path, any kind that `decode_image` knows.

    Returns:
        (H, W, 3) uint8, RGB, upright.

    Raises:
        FileNotFoundError: no such file.
        ValueError: "cannot read image ...": empty, cut off, too large or not an image.
    """
    path = Path(path)
    if path.is_dir():
        raise SourceError(f"cannot read image {path}: it is a folder")
    try:
        data = path.read_bytes()  # cv2.imread fails on non-ASCII paths on Windows
    except FileNotFoundError:
        raise FileNotFoundError(f"no such image: {path}") from None
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str = "from bytes", *, ignore_orientation: bool = False) -> np.ndarray:
    """Decode the content of an image file.

    Grey, palette, CMYK and 16-bit images are converted, transparency is dropped, EXIF rotation is applied (OpenCV does
    not apply the rotation of AVIF). A file that was cut off is an error, though OpenCV before 4.11 fills the missing
    part of a JPEG with grey. OpenCV decodes; Pillow, where installed, gets what it does not know.

    Args:
        data: the bytes of the file.
        name: what the error message calls it.
        ignore_orientation: leave pixels as stored; COCO's annotations mean those.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: empty, cut off, too large (OpenCV's limit of 2**30 pixels) or not an image.
    """
    if not data:
        raise SourceError(f"cannot read image {name}: it is empty")
    flags = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if ignore_orientation else 0)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        too_large = isinstance(error, MemoryError) or "PIXELS" in str(error) or "Insufficient memory" in str(error)
        reason = "it is too large to decode" if too_large else f"OpenCV says {str(error).strip()}"
        raise SourceError(f"cannot read image {name}: {reason}") from error
    if image is not None:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    image = _decode_with_pillow(data, upright=not ignore_orientation)
    if image is None:
        raise SourceError(f"cannot read image {name}: cut off, damaged or not an image; JPEG, PNG, WebP and TIFF work")
    return image


def _decode_with_pillow(data: bytes, *, upright: bool) -> np.ndarray | None:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        return None
    with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        with Image.open(io.BytesIO(data)) as image:
            return np.array((ImageOps.exif_transpose(image) if upright else image).convert("RGB"))
    return None


def as_rgb(image: np.ndarray, name: str = "an image", *, bgr: bool = False) -> np.ndarray:
    """Check and normalise an image that a user gives as an array.

    Args:
        image: (H, W, 3) RGB; (H, W) or (H, W, 1) grey; (H, W, 4) RGBA, whose transparency is dropped; uint8, or uint16
            over its full range. The colour order cannot be checked.
        name: what the error message calls it.
        bgr: the colours come in OpenCV's order, BGR or BGRA.

    Returns:
        (H, W, 3) uint8, contiguous; without a copy where it is that already.

    Raises:
        ValueError: another shape or dtype, or no pixels; says what to do.
    """
    array = np.asarray(image)
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
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
    array = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]
    array = array[..., ::-1] if bgr else array
    return np.ascontiguousarray(array)
