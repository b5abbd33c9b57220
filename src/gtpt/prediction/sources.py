"""What a call is given to work on: one or several sources, and what can be said of them before they are opened.

Names may be anything: `os.path` says of those that cannot be, such as too long ones, that there is no such file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gtpt.core.errors import InputError, SourceError
from gtpt.core.urls import without_file_scheme
from gtpt.io.sources import IMAGE_SUFFIXES, Frame, Source, is_animation

Sources = str | Path | int | Sequence[str | Path]
GONE = "no such file, folder, camera or URL"


def as_names(sources: Sources) -> list[str]:
    """One or several sources as texts; InputError for what is none, such as an array."""
    names = [sources] if isinstance(sources, (str, Path, int)) else sources
    for name in names if isinstance(names, (list, tuple)) else [names]:
        if not isinstance(name, (str, Path, int)) or isinstance(name, bool):
            raise InputError(
                f"sources are paths, URLs or camera numbers, got {type(name).__name__}: people in arrays are found by "
                f"gtpt.find, and frames by frames by gtpt.Pipeline"
            )
    return [without_file_scheme(str(name)) for name in names]


def grouped(sources: Sequence[str]) -> Iterator[str | list[str]]:
    """All photos given one by one form a single source; the rest comes one at a time."""
    photos = [s for s in sources if Path(s).suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(s) and not is_animation(s)]
    if photos:
        yield photos
    known = set(photos)
    yield from (s for s in sources if s not in known)


def are_photos(source: str | list[str]) -> bool:
    """Photos given one by one, or a folder of them."""
    return isinstance(source, list) or os.path.isdir(source)


def is_there(source: str) -> bool:
    """A stream or a camera may be; a file or folder is or is not."""
    return "://" in source or source.isdecimal() or os.path.exists(source)


def frames_of(opened: Source) -> Iterator[Frame]:
    """The frames of a source; what goes wrong in its file or device is a SourceError."""
    while True:
        with of_the_source():
            frame = next(opened, None)
        if frame is None:
            return
        yield frame


@contextmanager
def of_the_source() -> Iterator[None]:
    """An OSError here comes from the source's file or device, not from anybody else's code."""
    try:
        yield
    except OSError as error:
        raise SourceError(str(error)) from error
