"""From a request to images and boxes; everything that a stranger sends is checked here, before it costs anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from gtpt.core.errors import SourceError
from gtpt.core.geometry import MAX_COORDINATE
from gtpt.estimator import check_boxes
from gtpt.io.images import decode_image, open_header
from gtpt.serve.settings import Limits

MULTIPART = "multipart/form-data"
RAW = ("image/", "application/octet-stream")
IMAGE_FIELDS = ("image", "images")
FIELDS = (*IMAGE_FIELDS, "boxes")
MOST_TEXT = 1 << 20  # bytes of a field that is no file


@dataclass(frozen=True)
class Upload:
    """One image as it was sent.

    Attributes:
        name: of the file, for messages and results; never a path of this machine.
        data: its bytes.
        boxes: x1, y1, x2, y2 of each person, or None: the detector finds them.
    """

    name: str
    data: bytes
    boxes: list[list[float]] | None


@dataclass(frozen=True)
class Picture:
    """One image, decoded: RGB uint8 (H, W, 3), and (N, 4) boxes or None."""

    name: str
    image: np.ndarray
    boxes: np.ndarray | None


async def read_uploads(request: Request, boxes: str | None, limits: Limits) -> tuple[list[Upload], bool]:
    """The images of a request, and whether it may hold several.

    Args:
        request: with an image as its body, or multipart with fields image (once or more) and boxes.
        boxes: JSON of the query, for an image as the body.
        limits: of bytes, images and time.

    Raises:
        HTTPException: 400, 408, 413, 415 or 422, with a message that says what is allowed.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART and not kind.startswith(RAW):
        allowed = f"image/*, application/octet-stream or {MULTIPART}"
        raise HTTPException(415, f"the content type must be {allowed}, got {kind[:60]!r}")
    try:
        body = await asyncio.wait_for(_body(request, limits.max_bytes), limits.upload_s)
    except (asyncio.TimeoutError, TimeoutError):
        raise HTTPException(408, f"the upload took longer than {limits.upload_s:g} s") from None
    except ClientDisconnect:
        raise HTTPException(499, "the upload broke off") from None  # nobody reads it; the figures count it
    if kind != MULTIPART:
        (given,) = _read_boxes(boxes, 1, limits)
        return [Upload("image", body, given)], False
    return await _read_form(request, body, boxes, limits), True


async def _body(request: Request, most: int) -> bytes:
    """Never more than allowed, whatever the header promises."""
    too_large = HTTPException(413, f"the request is larger than {most:,} bytes")
    announced = request.headers.get("content-length", "0")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > most:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large
    return bytes(body)


async def _read_form(request: Request, body: bytes, boxes: str | None, limits: Limits) -> list[Upload]:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(
        request.headers, once(), max_files=limits.max_images, max_fields=len(FIELDS), max_part_size=MOST_TEXT
    )
    parser.spool_max_size = limits.max_bytes  # in memory, which the size of the body bounds: a disk may be read-only
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the multipart body cannot be read: {error.message}") from error
    except (KeyError, ValueError, UnicodeError) as error:
        raise HTTPException(400, "the multipart body cannot be read: a boundary or header is broken") from error
    try:
        files = [value for name, value in form.multi_items() if name in IMAGE_FIELDS and isinstance(value, UploadFile)]
        texts = [value for name, value in form.multi_items() if name == "boxes" and isinstance(value, str)]
        if not files:
            raise HTTPException(422, f"no image: send one or more files in the field {IMAGE_FIELDS[0]!r}")
        given = _read_boxes(texts[0] if texts else boxes, len(files), limits)
        return [
            Upload((file.filename or "image")[:200], await file.read(), own) for file, own in zip(files, given, strict=True)
        ]
    finally:
        await form.close()


def _read_boxes(text: str | None, images: int, limits: Limits) -> list[list[list[float]] | None]:
    """For each image its boxes, or None. JSON: the boxes of the one image, or a list (or null) for each of several."""
    if text is None or not text.strip():
        return [None] * images
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, "boxes must be JSON, such as [[x1, y1, x2, y2]]") from error
    each = [value] if images == 1 and not _is_nested(value) else value
    if not isinstance(each, list) or len(each) != images:
        raise HTTPException(422, f"boxes must hold a list of boxes, or null, for each of the {images} images")
    return [_check(own, limits) for own in each]


def _is_nested(value: Any) -> bool:
    """Lists of boxes of several images, rather than boxes of one."""
    return (
        isinstance(value, list)
        and len(value) == 1
        and isinstance(value[0], list)
        and any(isinstance(inner, list) for inner in value[0])
    )


def _check(boxes: Any, limits: Limits) -> list[list[float]] | None:
    if boxes is None:
        return None
    if not isinstance(boxes, list) or len(boxes) > limits.max_boxes:
        raise HTTPException(422, f"boxes of an image must be a list of at most {limits.max_boxes}")
    for box in boxes:
        numbers = isinstance(box, list) and len(box) == 4 and all(type(v) in (int, float) for v in box)
        if not numbers or not all(abs(v) <= MAX_COORDINATE for v in box):
            raise HTTPException(422, "a box must be four numbers x1, y1, x2, y2 in pixels")
    return boxes


def decode(upload: Upload, limits: Limits) -> Picture:
    """Pixels and boxes that a pose can come from; blocking.

    Raises:
        HTTPException: 413 for too many pixels, told by the header; 422 for what is no image, or for impossible boxes.
    """
    try:
        with open_header(upload.data, upload.name) as header:
            if header is not None and header.size[0] * header.size[1] > limits.max_pixels:
                size = f"{header.size[0]}x{header.size[1]}"
                raise HTTPException(413, f"{upload.name} has {size} pixels, allowed are {limits.max_pixels:,}")
            if header is None and upload.data:
                raise SourceError(f"cannot read image {upload.name}: cut off, damaged or not an image")
        image = decode_image(upload.data, upload.name)
        boxes = None if upload.boxes is None else check_boxes(upload.boxes, None, image, upload.name).boxes
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    return Picture(upload.name, image, boxes)
