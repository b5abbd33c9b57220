"""What all sources share: frames, which of them are wanted, and what could not be used."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gtpt.core.errors import InputError
from gtpt.core.geometry import ORIENTATIONS

logger = logging.getLogger(__name__)

Kind = Literal["image", "folder", "video", "stream", "camera"]
PathLike = str | Path

SQUARE = Fraction(1)  # nearly every pixel


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        image: (H, W, 3) uint8, RGB, contiguous, upright (EXIF and display rotation are applied); 0x0 pixels if whoever
            opened the source knew the photo.
        index: number of the frame in the source, from 0; a stride or a start leaves gaps, it does not renumber.
        time: seconds since the beginning of the source, strictly increasing.
        name: file name of a photo, else "frame".
        path: of a photo, with its folder as it was given; else empty.
        orientation: EXIF's number of a photo, which tells how its file stores it; 1 is as `image`.
    """

    image: np.ndarray
    index: int
    time: float
    name: str = "frame"
    path: str = ""
    orientation: int = 1

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height that the file of a photo stores; `image` has them exchanged if it was turned by 90 degrees."""
        height, width = self.image.shape[:2]
        return (height, width) if ORIENTATIONS[self.orientation][0] else (width, height)

    @property
    def key(self) -> str:
        """What boxes of your own call it: a photo's path, the number of a video's frame."""
        return self.path or (str(self.index) if self.name == "frame" else self.name)


@dataclass
class Skipped:
    """What could not be used: how many in all, and name and reason of the first ones."""

    count: int = 0
    items: list[tuple[str, str]] = field(default_factory=list)
    kept: int = 100

    def add(self, name: str, reason: str) -> None:
        self.count += 1
        if len(self.items) < self.kept:
            self.items.append((name, reason))
            logger.warning("skipped %s: %s", name, reason)


@dataclass(frozen=True)
class Selection:
    """Which frames the user asked for; `photos` tells which of those that remain of several photos."""

    stride: int
    start: float | None
    end: float | None
    photos: slice | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.stride, int) or self.stride < 1:
            raise InputError(f"stride must be a whole number of at least 1 (every n-th frame), got {self.stride!r}")
        for name, value in (("start", self.start), ("end", self.end)):
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"{name} must be seconds from the beginning, 0 or more, got {value!r}")
        if self.end is not None and self.end <= (self.start or 0):
            raise InputError(f"end must lie after start, got start={self.start or 0} and end={self.end}")

    def of(self, frames: Iterator[tuple[int, float, Any]]) -> Iterator[tuple[int, float, Any]]:
        """The (index, time, picture) inside start <= time < end, every stride-th of them; stops at the end."""
        inside = 0
        for frame in frames:
            if self.end is not None and frame[1] >= self.end:
                return
            if self.start is None or frame[1] >= self.start:
                if inside % self.stride == 0:
                    yield frame
                inside += 1

    def of_photos(self, count: int) -> range:
        """The numbers of those wanted of so many photos."""
        return range(0, count, self.stride)[self.photos or slice(None)]

    def count(self, frames: int, fps: float | None) -> int:
        """About how many of so many frames are selected."""
        if fps:
            last = min(frames, math.ceil(self.end * fps)) if self.end is not None else frames
            frames = max(last - math.ceil((self.start or 0) * fps), 0)
        return math.ceil(frames / self.stride)


class Source:
    """Frames of one source, once, like an open file: iterate it, and close it or use it in a `with` block.

    Attributes:
        kind: "image", "folder" (also a list of files), "video", "stream" or "camera".
        fps: average frames per second of the source, before any stride; None for photos and where it is unknown.
        frame_count: about how many frames will come, after stride, start and end; None where it is unknown.
        skipped: broken frames and unreadable files so far, and why a stream or camera ended, or a video before its end.
        pixel_aspect: width of a pixel by its height, as the frames are meant to be shown; 1 for nearly everything.
        audio: the file whose sound belongs to the frames, if any: that of a video.
        photos: the files of a folder or list, also those that are not wanted.
    """

    def __init__(
        self,
        kind: Kind,
        frames: Iterator[Frame],
        skipped: Skipped,
        *,
        fps: float | None = None,
        frame_count: int | None = None,
        pixel_aspect: Fraction = SQUARE,
        audio: str | None = None,
        photos: Sequence[Path] = (),
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.kind = kind
        self.fps = fps
        self.frame_count = frame_count
        self.pixel_aspect = pixel_aspect
        self.audio = audio
        self.photos = photos
        self.skipped = skipped
        self._frames = frames
        self._close = close

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file, connection or camera; no frames come afterwards."""
        self._frames = iter(())
        self._close()
