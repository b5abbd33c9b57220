"""Videos and streams, decoded by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np

from gtpt.core.errors import SourceError
from gtpt.core.extras import require
from gtpt.io.sources.base import Frame, Kind, Selection, Skipped, Source

STREAM_TIMEOUT = 10.0  # seconds without data after which a stream counts as ended
MAX_BAD_READS = 100  # in a row, after which the rest of a video counts as unreadable


def without_password(url: str) -> str:
    """A URL that may be shown and stored: without the user and password that cameras want in it."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.split('@', 1)[-1]}" if separator and "@" in rest.split("/", 1)[0] else url


def open_video(url: str, selection: Selection, kind: Kind) -> Source:
    av = require("av", "video")
    live: dict[str, Any] = {"timeout": STREAM_TIMEOUT} if kind == "stream" else {}
    if url.lower().startswith("rtsp"):
        live["options"] = {"rtsp_transport": "tcp"}  # over UDP lost packets smear the picture
    try:
        container = av.open(url, **live)
    except av.error.FFmpegError as error:
        what = "stream" if kind == "stream" else "image or video"
        raise SourceError(
            f"cannot open {without_password(url)} as {what}, it is damaged, cut off or another kind: {error.strerror}"
        ) from error
    stream = container.streams.best("video")
    if stream is None:
        container.close()
        raise SourceError(f"no video stream in {without_password(url)}")
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
    origin = video_origin(container) if kind == "video" else None  # a stream counts from its first frame
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
