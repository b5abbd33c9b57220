"""Bytes to pixels: every image becomes RGB uint8 (H, W, 3)."""

from __future__ import annotations

import cv2
import numpy as np


def decode_image(data: bytes, name: str, *, ignore_orientation: bool = False) -> np.ndarray:
    """Decode an image file's bytes.

    Args:
        data: JPEG, PNG, WebP, AVIF, TIFF, BMP: grey, palette, alpha, 16-bit and CMYK included.
        name: for the error message.
        ignore_orientation: leave pixels as stored (COCO's annotations mean those) instead of applying EXIF rotation.

    Returns:
        RGB uint8 (H, W, 3).

    Raises:
        ValueError: not an image, or cut short.
    """
    flags = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if ignore_orientation else 0)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:
        raise ValueError(f"cannot read image {name}: {error.err}") from error
    if image is None:
        raise ValueError(f"cannot read image {name}: {'the file is empty' if not data else 'unknown or damaged format'}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
