"""Pictures in: photos, folders, films, streams and cameras, all as one stream of `Frame`s in constant memory."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from gtpt._extras import require
from gtpt.images import read_image

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .avif .bmp .dib .tif .tiff .gif .jp2 .ppm .pgm .pbm .pnm .hdr .exr .heic".split()
)
FOLDER_FPS = 30  # photos have no time; at 30 per second a folder that holds the frames of a film can be tracked
STREAM_TIMEOUT = 10.0  # seconds without data after which a stream counts as ended
MAX_BAD_READS = 100  # in a row, after which the rest of a film counts as unreadable

Kind = Literal["image", "folder", "video", "stream", "camera"]
PathLike = str | Path


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        image: (H, W, 3) uint8, RGB, contiguous, upright (EXIF and display rotation are applied).
        index: number of the frame in the source, from 0; a stride or a start leaves gaps, it does not renumber.
        time: seconds since the beginning of the source, strictly increasing.
        name: file name of a photo, else "frame".
        path: of a photo, with its folder as it was given; else empty.
    """

    image: np.ndarray
    index: int
    time: float
    name: str = "frame"
    path: str = ""

    @property
    def key(self) -> str:
        """What boxes of your own call it: a photo's path, the number of a film's frame."""
        return self.path or (str(self.index) if self.name == "frame" else self.name)


@dataclass
class Skipped:
    """What could not be used: how many in all, and name and reason of the first 100."""

    count: int = 0
    items: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, reason: str) -> None:
        self.count += 1
        if len(self.items) < 100:
            self.items.append((name, reason))
            logger.warning("skipped %s: %s", name, reason)


@dataclass(frozen=True)
class Selection:
    """Which frames the user asked for."""

    stride: int
    start: float | None
    end: float | None

    def __post_init__(self) -> None:
        if not isinstance(self.stride, int) or self.stride < 1:
            raise ValueError(f"stride must be a whole number of at least 1 (every n-th frame), got {self.stride!r}")
        for name, value in (("start", self.start), ("end", self.end)):
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} must be seconds from the beginning, 0 or more, got {value!r}")
        if self.end is not None and self.end <= (self.start or 0):
            raise ValueError(f"end must lie after start, got start={self.start or 0} and end={self.end}")

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
        skipped: broken frames and unreadable files so far, and for a stream or camera why it ended.
    """

    def __init__(
        self,
        kind: Kind,
        frames: Iterator[Frame],
        skipped: Skipped,
        *,
        fps: float | None = None,
        frame_count: int | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.kind = kind
        self.fps = fps
        self.frame_count = frame_count
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


def open_source(
    source: PathLike | int | Sequence[PathLike],
    *,
    stride: int = 1,
    start: float | None = None,
    end: float | None = None,
) -> Source:
    """Open anything that has pictures and read its first frame, so that errors come before any work starts.

    Args:
        source: an image file; a folder of images (in natural order, not recursive, other files are skipped and counted)
            or a list of image files; a video file; a URL (rtsp, http, ...); a camera number, as int or "0".
        stride: take every n-th frame.
        start, end: seconds from the beginning: frames with start <= time < end. Not for photos.

    A film's frames before `start` are not decoded, but the file is read up to there, so that `Frame.index` is right also
    for a variable frame rate. A broken frame or file is skipped and counted, and the rest goes on; a single photo
    that cannot be read is an error. A slow reader of a live stream sees it late, it does not lose frames.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: bad stride, start or end; not an image or video; no video in it; not a single readable frame;
            a stream or camera that cannot be opened.
        ImportError: a video or stream without the `video` extra.
    """
    selection = Selection(stride, start, end)
    opened = _open(source, selection)
    try:
        first = next(opened, None)
    except BaseException:
        opened.close()
        raise
    if first is None:
        opened.close()
        bounds = "" if start is None and end is None else f" between start={start} and end={end} seconds"
        reasons = "".join(f"; {name}: {reason}" for name, reason in opened.skipped.items[:3])
        raise ValueError(f"no frames in {_shown(source)}{bounds}{reasons}")
    opened._frames = chain([first], opened._frames)
    return opened


def _open(source: PathLike | int | Sequence[PathLike], selection: Selection) -> Source:
    if isinstance(source, int) and not isinstance(source, bool):
        return _open_camera(source, selection)
    if isinstance(source, Sequence) and not isinstance(source, str):
        return _open_images([Path(p) for p in source], selection)
    if not isinstance(source, (str, Path)):
        raise ValueError(f"a source is a path, a list of paths, a URL or a camera number, got {type(source).__name__}")
    text, path = str(source), Path(source)
    if re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE):
        return _open_video(text, selection, "stream")
    if path.is_dir():
        return _open_folder(path, selection)
    if not path.exists():
        if text.isascii() and text.isdigit():
            return _open_camera(int(text), selection)
        raise FileNotFoundError(f"no such file or folder: {text}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _open_images([path], selection, kind="image")
    return _open_video(text, selection, "video")


def _shown(source: object) -> str:
    return f"the list of {len(source)} files" if isinstance(source, (list, tuple)) else str(source)


# --- photos ---


def _open_folder(folder: Path, selection: Selection) -> Source:
    skipped = Skipped()
    files = []
    for path in sorted(folder.iterdir(), key=_natural_key):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            files.append(path)
        else:
            skipped.add(path.name, "a folder" if path.is_dir() else "not an image file")
    return _open_images(files, selection, skipped)


def _natural_key(path: Path) -> list[tuple[int, str]]:
    """So that img2 comes before img10."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", path.name)]


def _open_images(files: list[Path], selection: Selection, skipped: Skipped | None = None, kind: Kind = "folder") -> Source:
    if selection.start is not None or selection.end is not None:
        raise ValueError("start and end are times in a video; photos have none")
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


# --- films and streams ---


def without_password(url: str) -> str:
    """A URL that may be shown and stored: without the user and password that cameras want in it."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.split('@', 1)[-1]}" if separator and "@" in rest.split("/", 1)[0] else url


def _open_video(url: str, selection: Selection, kind: Kind) -> Source:
    av = require("av", "video")
    live: dict[str, Any] = {"timeout": STREAM_TIMEOUT} if kind == "stream" else {}
    if url.lower().startswith("rtsp"):
        live["options"] = {"rtsp_transport": "tcp"}  # over UDP lost packets smear the picture
    try:
        container = av.open(url, **live)
    except av.error.FFmpegError as error:
        what = "stream" if kind == "stream" else "image or video"
        raise ValueError(
            f"cannot open {without_password(url)} as {what}, it is damaged, cut off or another kind: {error.strerror}"
        ) from error
    stream = container.streams.best("video")
    if stream is None:
        container.close()
        raise ValueError(f"no video stream in {without_password(url)}")
    stream.thread_type = "AUTO"
    fps = float(stream.average_rate or stream.guessed_rate or 0) or None
    skipped = Skipped()

    def frames() -> Iterator[Frame]:
        for index, seconds, frame in selection.of(_decode(container, stream, selection.start or 0, skipped, kind)):
            image = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            yield Frame(np.ascontiguousarray(image), index, seconds)

    total = stream.frames or (round(container.duration / av.time_base * fps) if container.duration and fps else 0)
    return Source(
        kind,
        frames(),
        skipped,
        fps=fps,
        frame_count=selection.count(total, fps) if total else None,
        close=container.close,
    )


def _decode(container: Any, stream: Any, start: float, skipped: Skipped, kind: Kind) -> Iterator[tuple[int, float, Any]]:
    """Index, time and picture of the frames, from at most one group of pictures before `start` on."""
    av = require("av", "video")
    period = 1 / (stream.average_rate or stream.guessed_rate or Fraction(25))
    origin = film_origin(container) if kind == "video" else None  # a stream counts from its first frame
    index, packets = _fast_forward(_packets(container, stream, skipped, kind), stream, start, origin or Fraction(0))
    last: Fraction | None = None
    for packet in packets:
        try:
            decoded = packet.decode()
        except av.error.FFmpegError as error:
            skipped.add(f"frame {index}", f"cannot decode: {error.strerror}")
            index += 1
            continue
        for frame in decoded:
            clock = index * period if frame.pts is None else frame.pts * frame.time_base
            if origin is None:
                origin = clock
            if last is not None and clock - origin <= last:  # a restarted stream or a broken clock: one frame later
                origin = clock - last - period
            last = clock - origin
            if frame.is_corrupt:
                skipped.add(f"frame {index}", "damaged")
            else:
                yield index, float(last), frame
            index += 1


def film_origin(container: Any) -> Fraction:
    """Seconds on a film's clock where its first stream begins: there `Frame.time` is 0.

    Exact, unlike PyAV's `start_time` of the container: rounding would move frames across a `start`. The sound may begin
    before the picture, so the first picture need not be at 0.
    """
    streams = (*container.streams.video, *container.streams.audio)
    return min((s.start_time * s.time_base for s in streams if s.start_time is not None), default=Fraction(0))


def _packets(container: Any, stream: Any, skipped: Skipped, kind: Kind) -> Iterator[Any]:
    """Compressed frames; reads on behind a broken spot, and ends with a counted reason if the data break off."""
    errors = require("av", "video").error
    bad = 0
    while bad < MAX_BAD_READS:
        try:
            for packet in container.demux(stream):
                bad = 0
                yield packet
            return
        except errors.InvalidDataError as error:
            bad += 1
            skipped.add("packet", f"cannot read: {error.strerror}")
        except errors.ExitError:  # what PyAV's timeout gives
            skipped.add(kind, f"ended early: no data for {STREAM_TIMEOUT:g} seconds")
            return
        except errors.FFmpegError as error:
            skipped.add(kind, f"ended early: {error.strerror}")
            return
    skipped.add(kind, f"ended early: {MAX_BAD_READS} unreadable pieces in a row")


def _fast_forward(packets: Iterator[Any], stream: Any, start: float, origin: Fraction) -> tuple[int, Iterator[Any]]:
    """Go to the key frame from which the frame at `start` can be decoded; also says how many frames come before."""
    index, group = 0, []
    for packet in packets if start > 0 else ():
        if packet.pts is not None and packet.pts * stream.time_base - origin >= start:
            group.append(packet)
            break
        if packet.is_keyframe:
            index += len(group)
            group.clear()
        group.append(packet)
    return index, chain(group, packets)


# --- cameras ---


def _open_camera(number: int, selection: Selection) -> Source:
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        capture.release()
        raise ValueError(f"cannot open camera {number}: is it plugged in, free, and may this program use it?")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not the oldest; a hint that some drivers ignore
    skipped = Skipped()
    return Source(
        "camera",
        _camera_frames(capture, selection, skipped),
        skipped,
        fps=fps if 0 < (fps := capture.get(cv2.CAP_PROP_FPS)) < math.inf else None,  # a driver may say -1
        close=capture.release,
    )


def _camera_frames(capture: cv2.VideoCapture, selection: Selection, skipped: Skipped) -> Iterator[Frame]:
    def grabbed() -> Iterator[tuple[int, float, None]]:
        began, index = None, 0
        while capture.grab():
            now = time.monotonic()
            began = now if began is None else began
            yield index, now - began, None
            index += 1
        skipped.add("camera", "gave no more pictures: unplugged, or taken by another program")

    for index, seconds, _ in selection.of(grabbed()):
        ok, image = capture.retrieve()
        if ok and image is not None:
            yield Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), index, seconds)
        else:
            skipped.add(f"frame {index}", "cannot decode")
