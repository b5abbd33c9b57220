"""Photos: files one by one, or all of a folder, or from the web."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from gtpt.core.errors import SourceError
from gtpt.io.images import StoredImage, decode_stored, is_heif, read_file
from gtpt.io.sources.base import Frame, Kind, Selection, Skipped, Source

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .webp .avif .avifs .bmp .dib .tif .tiff .gif .jp2 .ppm .pgm .pbm .pnm .hdr .exr "
    ".heic .heif .hif".split()
)
START = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|RIFF....WEBP", re.DOTALL)  # of JPEG, PNG and WebP
MOTION_JPEG = (".mjpeg", ".mjpg")  # videos that begin like a photo
UNREAD = np.zeros((0, 0, 3), np.uint8)
FOLDER_FPS = 30  # photos have no time; at 30 per second a folder that holds the frames of a video can be tracked


def is_photo(path: Path) -> bool:
    """Whether a file is one by its name or, as those of uploads have none, by its first bytes."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    with open(path, "rb") as file:
        start = file.read(64)
    return path.suffix.lower() not in MOTION_JPEG and (START.match(start) is not None or is_heif(start))


def open_folder(folder: Path, selection: Selection, known: Container[str] = ()) -> Source:
    skipped = Skipped()
    files = []
    for path in sorted(folder.iterdir(), key=_natural_key):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            files.append(path)
        else:
            skipped.add(path.name, "a folder" if path.is_dir() else "not an image file")
    return open_images(files, selection, skipped, known=known)


def _natural_key(path: Path) -> list[tuple[int, str]]:
    """So that img2 comes before img10."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", path.name)]


def open_images(
    files: list[Path],
    selection: Selection,
    skipped: Skipped | None = None,
    kind: Kind = "folder",
    *,
    known: Container[str] = (),
) -> Source:
    _refuse_times(selection)
    if missing := [p for p in files if not p.exists()]:
        raise FileNotFoundError(f"no such file: {missing[0]}" + (f" (and {len(missing) - 1} more)" if missing[1:] else ""))
    skipped, wanted = skipped or Skipped(), selection.of_photos(len(files))

    def frames() -> Iterator[Frame]:
        for index in wanted:
            path = files[index]
            if path.as_posix() in known:
                yield Frame(UNREAD, index, index / FOLDER_FPS, path.name, path.as_posix())
                continue
            try:
                stored = decode_stored(read_file(path), str(path))
            except (SourceError, OSError) as error:
                if kind == "image":
                    raise
                skipped.add(path.name, str(error))
            else:
                _say_what_is_left(stored, path.name, skipped)
                yield Frame(stored.upright, index, index / FOLDER_FPS, path.name, path.as_posix(), stored.orientation)

    return Source(kind, frames(), skipped, frame_count=len(wanted), photos=files)


def open_photo(data: bytes, name: str, selection: Selection) -> Source:
    """A photo that is in memory already; `name` is what it would be called in a folder."""
    _refuse_times(selection)
    stored = decode_stored(data, name)
    frame = Frame(stored.upright, 0, 0.0, PurePosixPath(name).name, orientation=stored.orientation)
    return Source("image", iter([frame]), Skipped(), frame_count=1)


def _refuse_times(selection: Selection) -> None:
    if selection.start is not None or selection.end is not None:
        raise SourceError("start and end are times in a video; photos have none")


def _say_what_is_left(stored: StoredImage, name: str, skipped: Skipped) -> None:
    if stored.pictures > 1:
        reason = f"{stored.pictures - 1} of its {stored.pictures} pictures: among photos only the first one counts"
        alone = Path(name).suffix.lower() not in (".heic", ".heif", ".hif")
        skipped.add(name, f"{reason}; {'give the file by itself for' if alone else 'export'} all of them")
