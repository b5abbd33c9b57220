"""Videos and streams, decoded by PyAV."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from heapq import heapify, heappop, heappush
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.errors import SourceError
from gtpt.core.extras import require
from gtpt.core.geometry import ORIENTATIONS, turn_upright
from gtpt.core.urls import without_secrets
from gtpt.io.sources.base import SQUARE, Frame, Kind, Selection, Skipped, Source

STREAM_TIMEOUT = 10.0  # seconds without data after which a stream counts as ended
FRAMES_SURE = 0.98  # share of the frames that headers other than MP4's promise, below which a file counts as cut off
LENGTH_SURE = Fraction(1, 2)  # seconds by which a file may be shorter than its header says
TURNED = {90: 8, 180: 3, 270: 6}  # degrees against the clock, and EXIF's number for them
MAX_BAD_READS = 100  # in a row, after which the rest of a video counts as unreadable


def open_video(url: str, selection: Selection, kind: Kind) -> Source:
    av = require("av", "video")
    live: dict[str, Any] = {"timeout": STREAM_TIMEOUT} if kind == "stream" else {}
    if url.lower().startswith("rtsp"):
        live["options"] = {"rtsp_transport": "tcp"}  # over UDP lost packets smear the picture
    try:
        container = av.open(url if kind == "stream" else local_address(url), **live)
    except av.error.FFmpegError as error:
        what = "stream" if kind == "stream" else "image or video"
        raise SourceError(
            f"cannot open {without_secrets(url)} as {what}, it is damaged, cut off or another kind: {error.strerror}"
        ) from None  # PyAV's error shows the whole URL
    stream = container.streams.best("video")
    if stream is None:
        container.close()
        raise SourceError(f"no video stream in {without_secrets(url)}")
    stream.thread_type = "AUTO"
    fps = float(stream.average_rate or stream.guessed_rate or 0) or None
    skipped = Skipped()

    def frames() -> Iterator[Frame]:
        for index, seconds, frame in selection.of(_decode(container, stream, selection.start or 0, skipped, kind)):
            orientation = display_orientation(frame)
            if stream.sample_aspect_ratio and ORIENTATIONS[orientation][0]:
                source.pixel_aspect = 1 / stream.sample_aspect_ratio
            yield Frame(turn_upright(frame.to_ndarray(format="rgb24"), orientation), index, seconds)

    total = stream.frames or (round(container.duration / av.time_base * fps) if container.duration and fps else 0)
    source = Source(
        kind,
        frames(),
        skipped,
        fps=fps,
        frame_count=selection.count(total, fps) if total else None,
        pixel_aspect=stream.sample_aspect_ratio or SQUARE,
        audio=url if kind == "video" else None,
        close=container.close,
    )
    return source


def local_address(path: str | Path) -> str:
    """A file's name as FFmpeg must be told it: one with a colon would be taken for a protocol."""
    return f"file:{path}"


def display_orientation(frame: Any) -> int:
    """EXIF's number for the display matrix of a frame: it turns and mirrors in steps of 90 degrees."""
    kind = require("av.sidedata.sidedata", "video").Type.DISPLAYMATRIX
    try:
        matrix = next((np.frombuffer(bytes(d), np.int32) for d in frame.side_data if d.type == kind), None)
    except ValueError:  # FFmpeg knows kinds of such data that PyAV does not, and then shows none but the angle
        return TURNED.get(frame.rotation % 360, 1)
    if matrix is None or len(matrix) < 9:
        return 1
    across, down, right, below = (int(matrix[i]) for i in (0, 1, 3, 4))  # x' = across x + right y, y' = down x + below y
    transposed = abs(down) > abs(across)
    mirrored, flipped = (right < 0, down < 0) if transposed else (across < 0, below < 0)
    return next(number for number, turn in ORIENTATIONS.items() if turn == (transposed, mirrored, flipped))


def _decode(container: Any, stream: Any, start: float, skipped: Skipped, kind: Kind) -> Iterator[tuple[int, float, Any]]:
    """Index, time and picture of the frames, from at most one group of pictures before `start` on."""
    av = require("av", "video")
    clock = _Clock(container, stream, kind)
    packets = clock.fast_forward(_packets(container, stream, skipped, kind), start)
    for packet in packets:
        if packet.size == 0 and packet.dts is not None:
            continue  # AVI leaves out a frame that is like the one before
        clock.expect(packet)
        try:
            decoded = packet.decode()
        except av.error.FFmpegError as error:
            skipped.add(f"frame {clock.index}", f"cannot decode: {error.strerror}")
            clock.miss(packet)
            continue
        for frame in decoded:
            index, seconds = clock.tick(frame)
            if frame.is_corrupt:
                skipped.add(f"frame {index}", "damaged")
            else:
                yield index, seconds, frame


class _Clock:
    """Numbers and times of frames as a player counts them.

    Frames come out of the decoder in the order in which they are shown, with the time that their packet says. AVI, and old
    video inside Matroska, say only when a packet is to be decoded: there the n-th frame shown has the n-th of those times,
    and everything is decoded from the beginning on.

    Attributes:
        index: of the next frame, among those that are shown: what an edit list cuts away does not count.
    """

    def __init__(self, container: Any, stream: Any, kind: Kind) -> None:
        self.index = 0
        self._base = stream.time_base
        self._period = 1 / (stream.average_rate or stream.guessed_rate or Fraction(25))
        self._origin = video_origin(container) if kind == "video" else None  # a stream counts from its first frame
        self._decoding_times = container.format.name == "avi"
        self._waiting: list[int] = []  # decoding times of packets whose frame has not come yet; a heap
        self._ahead: list[int] = []  # times of what is decoded before `start`, sorted
        self._last: Fraction | None = None

    def fast_forward(self, packets: Iterator[Any], start: float) -> Iterator[Any]:
        """Go to the key frame from which the frame at `start` can be decoded, and count the frames before it."""
        group: list[Any] = []
        for packet in packets if start > 0 and not self._decoding_times else ():
            if packet.pts is None and packet.dts is not None:  # how many are shown before a key frame is not known
                self._decoding_times = True
                group.append(packet)
                break
            if packet.pts is not None and packet.pts * self._base - (self._origin or 0) >= start:
                group.append(packet)
                break
            if packet.is_keyframe:
                self.index += sum(not p.is_discard for p in group)
                group.clear()
            group.append(packet)
        self._ahead = sorted(p.pts for p in group if not p.is_discard and p.pts is not None)
        return chain(group, packets)

    def expect(self, packet: Any) -> None:
        """Note a packet that is about to be decoded."""
        if packet.pts is None and packet.dts is not None:
            self._decoding_times = True
        if self._decoding_times and packet.dts is not None and not packet.is_discard:
            heappush(self._waiting, packet.dts)

    def miss(self, packet: Any) -> None:
        """Count a frame that could not be decoded."""
        self.index += 1
        if packet.dts in self._waiting:
            self._waiting.remove(packet.dts)
            heapify(self._waiting)

    def tick(self, frame: Any) -> tuple[int, float]:
        """Index and seconds of the next frame that is shown."""
        if self._decoding_times and self._waiting:
            clock = heappop(self._waiting) * self._base
        elif frame.pts is not None:
            clock = frame.pts * frame.time_base
            self.index += bisect_left(self._ahead, frame.pts)  # pictures that need what is before the key frame
        else:
            clock = self.index * self._period
        self._ahead = []
        if self._origin is None:
            self._origin = clock
        if self._last is not None and clock - self._origin <= self._last:
            self._origin = clock - self._last - self._period  # a restarted stream or a broken clock: one frame later
        self._last = clock - self._origin
        self.index += 1
        return self.index - 1, float(self._last)


def video_origin(container: Any) -> Fraction:
    """Seconds on a video's clock where its first stream begins: there `Frame.time` is 0.

    Exact, unlike PyAV's `start_time` of the container: rounding would move frames across a `start`. The sound may begin
    before the picture, so the first picture need not be at 0.
    """
    streams = (*container.streams.video, *container.streams.audio)
    return min((s.start_time * s.time_base for s in streams if s.start_time is not None), default=Fraction(0))


def _packets(container: Any, stream: Any, skipped: Skipped, kind: Kind) -> Iterator[Any]:
    """Compressed frames; reads on behind a broken spot, and ends with a counted reason if the data break off."""
    errors = require("av", "video").error
    bad, seen, end = 0, 0, 0
    while bad < MAX_BAD_READS:
        try:
            for packet in container.demux(stream):
                bad = 0
                if packet.dts is not None:
                    seen, end = seen + 1, max(end, (packet.pts or packet.dts) + (packet.duration or 0))
                yield packet
            if kind == "video" and (reason := _what_is_missing(container, stream, seen, end * stream.time_base)):
                skipped.add(kind, reason)
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


def _what_is_missing(container: Any, stream: Any, seen: int, end: Fraction) -> str | None:
    """Why a file that was read to its end is shorter than it says itself, if it does say."""
    if stream.frames:
        if seen >= stream.frames * (1 if "mp4" in container.format.name else FRAMES_SURE):
            return None
        return f"ended early: the file was cut off, it has {seen} of its {stream.frames} frames"
    length = _stated_length(container, stream)
    tolerance = max(LENGTH_SURE, 3 / Fraction(stream.average_rate or 25))
    if length is None or end >= length - tolerance:
        return None
    return f"ended early: the file was cut off, it has {float(end):.1f} of its {float(length):.1f} seconds"


def _stated_length(container: Any, stream: Any) -> Fraction | None:
    """Seconds until the end of a video as its header says; None where FFmpeg only estimates it from what is there."""
    if not set(container.format.name.split(",")) & {"matroska", "webm", "flv", "asf"}:
        return None
    if match := re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = match.groups()
        return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
    if len(container.streams) == 1 and container.duration:
        return Fraction(container.duration, require("av", "video").time_base)
    return None
