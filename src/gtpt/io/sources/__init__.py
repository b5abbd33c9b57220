"""Pictures in: photos, folders, videos, streams and cameras, all as one stream of `Frame`s in constant memory."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Sequence
from itertools import chain
from pathlib import Path

from gtpt.core.errors import SourceError
from gtpt.core.urls import without_file_scheme, without_secrets
from gtpt.io.sources.animation import holds_several, is_animation, open_animation, open_animation_file
from gtpt.io.sources.base import Frame, Kind, PathLike, Selection, Skipped, Source
from gtpt.io.sources.camera import open_camera
from gtpt.io.sources.photos import IMAGE_SUFFIXES, is_photo, open_folder, open_images, open_photo
from gtpt.io.sources.video import open_video
from gtpt.io.sources.web import fetch_photo

__all__ = [
    "IMAGE_SUFFIXES",
    "Frame",
    "Kind",
    "Selection",
    "Skipped",
    "Source",
    "is_animation",
    "open_source",
]


def open_source(
    source: PathLike | int | Sequence[PathLike],
    *,
    stride: int = 1,
    start: float | None = None,
    end: float | None = None,
    photos: slice | None = None,
    known: Container[str] = (),
) -> Source:
    """Open anything that has pictures and read its first frame, so that errors come before any work starts.

    Args:
        source: an image file; a folder of images (in natural order, not recursive, other files are skipped and counted)
            or a list of image files; a video file, or an animation or stack of pictures (GIF, APNG, WebP, AVIF, TIFF),
            which is a video too; a URL of a photo, video or stream (rtsp, http, ...); a camera number, as int or "0".
        stride: take every n-th frame.
        start, end: seconds from the beginning: frames with start <= time < end. Not for photos.
        photos: of a folder or list, after the stride: read only these. There may be none, or none that is readable: then no
            frames come, and `frame_count` is 0.
        known: paths of photos, as they were given, that need not be read: their frames come with an image of 0x0 pixels.

    A video's frames before `start` are not decoded, but the file is read up to there, so that `Frame.index` is right also
    for a variable frame rate. A broken frame or file is skipped and counted, and the rest goes on; a single photo
    that cannot be read is an error. A slow reader of a live stream sees it late, it does not lose frames.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: bad stride, start or end; not an image or video; no video in it; not a single readable frame;
            a stream or camera that cannot be opened.
        ImportError: a video or stream without the `video` extra.
    """
    selection = Selection(stride, start, end, photos)
    opened = _open(source, selection, known)
    try:
        first = next(opened, None)
    except BaseException:
        opened.close()
        raise
    if first is None and opened.photos and photos is not None:
        opened.frame_count = 0
        return opened
    if first is None:
        opened.close()
        bounds = "" if start is None and end is None else f" between start={start} and end={end} seconds"
        reasons = "".join(f"; {name}: {reason}" for name, reason in opened.skipped.items[:3])
        raise SourceError(f"no frames in {_shown(source)}{bounds}{reasons}")
    opened._frames = chain([first], opened._frames)
    return opened


def _open(source: PathLike | int | Sequence[PathLike], selection: Selection, known: Container[str]) -> Source:
    if isinstance(source, int) and not isinstance(source, bool):
        return open_camera(source, selection)
    if isinstance(source, Sequence) and not isinstance(source, str):
        return open_images([Path(p) for p in source], selection, known=known)
    if not isinstance(source, (str, Path)):
        raise SourceError(f"a source is a path, a list of paths, a URL or a camera number, got {type(source).__name__}")
    text = without_file_scheme(str(source))
    path = Path(text)
    if re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE):
        return _open_url(text, selection)
    if os.path.isdir(path):
        return open_folder(path, selection, known)
    if not os.path.exists(path):  # nor can it be, if its name is too long
        if text.isascii() and text.isdigit():
            return open_camera(int(text), selection)
        raise FileNotFoundError(f"no such file or folder: {text:.300}")
    if not path.is_file():
        raise SourceError(f"cannot open {text}: it is a pipe or device; save what it gives to a file, or give a URL")
    if is_photo(path):
        return open_animation_file(path, selection) or open_images([path], selection, kind="image")
    return open_video(text, selection, "video")


def _open_url(url: str, selection: Selection) -> Source:
    photo = fetch_photo(url)
    if photo is None:
        return open_video(url, selection, "stream")
    return open_animation(*photo, selection) if holds_several(*photo) else open_photo(*photo, selection)


def _shown(source: object) -> str:
    return f"the list of {len(source)} files" if isinstance(source, (list, tuple)) else without_secrets(str(source))
