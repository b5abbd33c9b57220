"""Animations and stacks of pictures in one file: GIF, APNG, WebP, AVIF, TIFF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.errors import SourceError
from gtpt.io.arrays import page_to_rgb
from gtpt.io.images import count_pictures, open_header, read_file
from gtpt.io.sources.base import Frame, Selection, Skipped, Source
from gtpt.io.sources.photos import FOLDER_FPS

ANIMATION_SUFFIXES = frozenset(".gif .png .apng .webp .avif .avifs .tif .tiff".split())
SHOWN = 0.1  # seconds of a frame that says nothing of it, or up to 10 ms, in every browser
REDUCED, SUBFILE = 1, 254  # of TIFF: pages that are smaller copies of others, and the tag that says so


def is_animation(path: str | Path) -> bool:
    """Whether a file holds several pictures that follow each other; nothing is decoded for it."""
    path = Path(path)
    if path.suffix.lower() not in ANIMATION_SUFFIXES or not path.is_file():
        return False
    try:
        return holds_several(read_file(path), str(path))
    except (SourceError, OSError):  # whoever reads it will say so
        return False


def holds_several(data: bytes, name: str) -> bool:
    """As `is_animation`, of the content of a file."""
    with open_header(data, name) as header:
        several = header is not None and header.format != "HEIF" and count_pictures(header) > 1  # of HEIF only one is read
        return several and len(_pages(header)) > 1


def open_animation(data: bytes, name: str, selection: Selection) -> Source:
    """Every picture is a frame: of an animation at its time, of a TIFF stack, which has no times, 30 per second.

    Args:
        data: content of the file.
        name: of the file, for messages.
        selection: which frames are wanted.
    """
    with open_header(data, name) as header:
        pages = _pages(header)
    skipped = Skipped()

    def frames() -> Iterator[Frame]:
        for index, seconds, image in selection.of(_decode(data, name, pages, skipped)):
            yield Frame(image, index, seconds)

    return Source("video", frames(), skipped, frame_count=selection.count(len(pages), None))


def _pages(header: Any) -> list[int]:
    """Numbers of the pictures, without smaller copies."""
    count = count_pictures(header)
    if header.format != "TIFF":
        return list(range(count))
    pages = []
    for page in range(count):
        try:
            header.seek(page)
        except Exception:  # any kind, for damaged data: the pictures before are there
            break
        if not header.tag_v2.get(SUBFILE, 0) & REDUCED:
            pages.append(page)
    return pages


def _decode(data: bytes, name: str, pages: list[int], skipped: Skipped) -> Iterator[tuple[int, float, np.ndarray]]:
    with open_header(data, name) as opened:
        header: Any = opened
        seconds, depth = 0.0, 8
        for index, page in enumerate(pages):
            try:
                header.seek(page)
                image, depth = page_to_rgb(header, name, depth)
            except Exception as error:  # any kind, for damaged data
                skipped.add(f"frame {index}", f"cannot decode: {error}")
                if header.format != "TIFF":  # pictures of animations build on those before
                    return
                continue
            yield index, seconds, image
            seconds += _duration(header)


def _duration(header: Any) -> float:
    if header.format == "TIFF":
        return 1 / FOLDER_FPS
    seconds = float(header.info.get("duration") or 0) / 1000
    return seconds if seconds > 0.01 else SHOWN


def open_animation_file(path: Path, selection: Selection) -> Source | None:
    """The source, or None for a file with a single picture."""
    if path.suffix.lower() not in ANIMATION_SUFFIXES:
        return None
    data = read_file(path)
    return open_animation(data, str(path), selection) if holds_several(data, str(path)) else None
