"""Photos: files one by one, or all of a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gtpt.core.errors import SourceError
from gtpt.io.images import read_image
from gtpt.io.sources.base import Frame, Kind, Selection, Skipped, Source

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .avif .bmp .dib .tif .tiff .gif .jp2 .ppm .pgm .pbm .pnm .hdr .exr .heic".split()
)
FOLDER_FPS = 30  # photos have no time; at 30 per second a folder that holds the frames of a video can be tracked


def open_folder(folder: Path, selection: Selection) -> Source:
    skipped = Skipped()
    files = []
    for path in sorted(folder.iterdir(), key=_natural_key):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            files.append(path)
        else:
            skipped.add(path.name, "a folder" if path.is_dir() else "not an image file")
    return open_images(files, selection, skipped)


def _natural_key(path: Path) -> list[tuple[int, str]]:
    """So that img2 comes before img10."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", path.name)]


def open_images(files: list[Path], selection: Selection, skipped: Skipped | None = None, kind: Kind = "folder") -> Source:
    if selection.start is not None or selection.end is not None:
        raise SourceError("start and end are times in a video; photos have none")
    if missing := [p for p in files if not p.exists()]:
        raise FileNotFoundError(f"no such file: {missing[0]}" + (f" (and {len(missing) - 1} more)" if missing[1:] else ""))
    skipped = skipped or Skipped()

    def frames() -> Iterator[Frame]:
        for index in range(0, len(files), selection.stride):
            try:
                image = read_image(files[index])
            except (ValueError, OSError) as error:
                if kind == "image":
                    raise
                skipped.add(files[index].name, str(error))
            else:
                yield Frame(image, index, index / FOLDER_FPS, files[index].name, files[index].as_posix())

    return Source(kind, frames(), skipped, frame_count=selection.count(len(files), None))
