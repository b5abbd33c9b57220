"""Videos out: H.264 in an MP4 with the frame times of the source and its sound."""

from __future__ import annotations

import errno
import hashlib
import logging
import math
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from gtpt.core.errors import InputError, OutputError
from gtpt.core.extras import require
from gtpt.io.formats.file import naming_errors
from gtpt.io.sources.base import SQUARE
from gtpt.io.sources.video import local_address, video_origin

logger = logging.getLogger(__name__)

TIME_BASE = Fraction(1, 90_000)  # the clock of MPEG: the frame rates in use are whole numbers of its ticks
RESERVE = 16 << 20  # bytes of the disk that stay free for the video's index, without which nothing of it plays
WHOLE = {"movflags": "+faststart"}  # the index, which players seek by, in front
# Fragments of a second that play without an index, should the process be killed.
GROWING = {
    "movflags": "+frag_keyframe+delay_moov+default_base_moof",
    "frag_duration": "1000000",
    "flush_packets": "1",
    "max_interleave_delta": "1000000",  # pictures do not wait in memory for sound that has ended
}
ENCODERS = ("libx264", "libopenh264")  # not every build of PyAV has x264; else its own choice, such as the system's
ADTS_LENGTH = 7  # bytes; two more with a checksum
BT709 = 1  # H.264's number of the colour space of HD video, which players expect


class VideoWriter:
    """Write a video frame by frame, in constant memory; use it in a `with` block.

    The video grows in a hidden file beside the target and takes its name when the block ends, also through an exception or
    Ctrl-C: what was written until then plays. Without a single frame nothing is left. Of a killed process the hidden file
    stays until the next video of that name, and plays up to about the last second.

    Args:
        path: target, .mp4, .m4v, .mov or .mkv; an existing file is replaced at the end.
        size: width, height of the frames in pixels; an odd one is padded by one pixel, as H.264 wants even ones.
        fps: about how many frames per second will come; their times count, this only tunes the encoder.
        audio_from: video whose sound is copied unchanged, for the span of time that the frames cover. A video without sound
            or with sound that the target cannot hold gives a silent video.
        pixel_aspect: width of a pixel by its height, as players shall show it; keypoints and frames stay as they are.

    Raises:
        ValueError: another suffix, a size or fps that is not positive.
        FileNotFoundError: no folder for `path`, or no `audio_from`.
        ImportError: without the `video` extra.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        fps: float,
        audio_from: str | Path | None = None,
        *,
        pixel_aspect: Fraction = SQUARE,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in (".mp4", ".m4v", ".mov", ".mkv"):
            raise InputError(f"a video must be named .mp4, .m4v, .mov or .mkv, got {self.path.name!r}")
        if min(size) < 1 or not 0 < fps < math.inf:
            raise InputError(f"size and fps of a video must be positive, got {size} and {fps}")
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"no folder {self.path.parent} to write {self.path.name} to")
        av = require("av", "video")
        self.size = size
        self._began: Fraction | None = None
        self._last = -1
        sweep(self.path)
        self._part = self.path.with_name(f".{self.path.stem}.{_process()}-{uuid.uuid4().hex[:8]}{self.path.suffix}")
        with ExitStack() as undo:
            self._audio = _Audio(audio_from) if audio_from is not None else None
            if self._audio:
                undo.callback(self._audio.close)
            with self._explained():
                self._container = av.open(local_address(self._part), "w", options=self._growing())
            undo.callback(self._part.unlink, missing_ok=True)
            undo.callback(self._container.close)
            self._stream = _add_video(self._container, size, fps)
            self._stream.sample_aspect_ratio = pixel_aspect
            if self._audio:
                self._audio.attach(self._container)
            undo.pop_all()

    def write(self, image: np.ndarray, time: float) -> None:
        """Append a frame.

        Args:
            image: (H, W, 3) uint8 RGB of the writer's size.
            time: seconds, `Frame.time`; the video begins with the first frame, the others keep their distance from it.

        Raises:
            ValueError: another shape or dtype, a time that does not increase, or a size that the encoder refuses.
            OSError: the disk is full, up to 16 MB that finishing the video needs; what was written before will play.
        """
        width, height = self.size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise InputError(f"frames must be uint8 of shape {(height, width, 3)}, got {image.dtype} {image.shape}")
        began = Fraction(time) if self._began is None else self._began
        pts = round((Fraction(time) - began) / TIME_BASE)
        if pts <= self._last:
            raise InputError(f"frame times must increase, got {time} s after {float(began + self._last * TIME_BASE)} s")
        if width % 2 or height % 2:
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        with self._explained():
            if shutil.disk_usage(self._part.parent).free < RESERVE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            frame = require("av", "video").VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            frame.pts, frame.time_base = pts, TIME_BASE
            self._container.mux(self._stream.encode(frame))
        self._began, self._last = began, pts
        if self._audio:
            with self._explained():
                self._audio.copy_until(began, began + pts * TIME_BASE)

    def _growing(self) -> dict[str, str]:
        """Fragments need all about the sound beforehand, which a transport stream does not tell."""
        return WHOLE if self._audio and self._audio.is_described_in_its_packets else GROWING

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with naming_errors(self.path):
                yield
        except require("av", "video").error.FFmpegError as error:
            width, height = self.size
            raise OutputError(f"cannot write a video of {width}x{height} to {self.path}: {error.strerror}") from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish the video and give it its name; a second call does nothing."""
        container, self._container = self._container, None
        if container is None:
            return
        with ExitStack() as stack:
            stack.callback(self._part.unlink, missing_ok=True)
            if self._audio:
                stack.callback(self._audio.close)
            with self._explained(), container:
                if self._began is not None:
                    container.mux(self._stream.encode(None))
            if self._began is not None:
                with naming_errors(self.path):
                    os.replace(stack.enter_context(_with_index(self._part)), self.path)


@contextmanager
def _with_index(part: Path) -> Iterator[Path]:
    """A copy of a video that grew in fragments with one index in front of it, which players seek by; or itself.

    The disk may have no room for a copy: the fragments play too.
    """
    errors = require("av", "video").error
    whole = part.with_name(f"{part.stem}-whole{part.suffix}")
    try:
        if part.suffix == ".mkv" or shutil.disk_usage(part.parent).free < part.stat().st_size + RESERVE:
            yield part
            return
        try:
            _copy_packets(part, whole)
        except (OSError, errors.FFmpegError) as error:
            logger.warning("the video stays in fragments, without an index: %s", error)
            yield part
        else:
            yield whole
    finally:
        whole.unlink(missing_ok=True)


def _copy_packets(part: Path, whole: Path) -> None:
    av = require("av", "video")
    with av.open(local_address(part)) as source, av.open(local_address(whole), "w", options=WHOLE) as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)


def sweep(path: Path) -> None:
    """Remove what killed processes of this machine left of a video: they could not finish it."""
    here, _, _ = _process().partition("-")
    left = re.compile(rf"\.{re.escape(path.stem)}\.{here}-(\d+)-[0-9a-f]{{8}}(-whole)?{re.escape(path.suffix)}")
    for file in path.parent.iterdir():
        if (match := left.fullmatch(file.name)) and not _is_alive(int(match[1])):
            logger.info("removing %s, which a killed process left", file)
            with suppress(OSError):
                file.unlink()


def _process() -> str:
    """The machine, since folders may be shared, and the process on it."""
    return f"{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]}-{os.getpid()}"


def _is_alive(process: int) -> bool:
    if os.name == "nt":
        return True  # os.kill would end it; nothing is removed
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _add_video(container: Any, size: tuple[int, int], fps: float) -> Any:
    """A stream of the best encoder there is: 4:2:0 colour, which every player shows, tagged as BT.709."""
    av = require("av", "video")
    name = next((n for n in ENCODERS if n in av.codecs_available), "h264")
    # frames out of their order (bf) would make MP4 say that a film of uneven times ends before its last frames
    options = {"crf": "20", "preset": "veryfast", "bf": "0"} if name == "libx264" else {"bf": "0"}
    stream = container.add_stream(name, rate=Fraction(fps).limit_denominator(1001), options=options)
    stream.width, stream.height = (side + side % 2 for side in size)
    stream.pix_fmt = "yuv420p"
    if name != "libx264":
        stream.bit_rate = round(size[0] * size[1] * fps / 10)  # these encoders have no constant quality
    context = stream.codec_context
    context.time_base = TIME_BASE
    context.colorspace = context.color_primaries = context.color_trc = context.color_range = BT709
    return stream


class _Audio:
    """The sound of a video, copied packet by packet behind the picture."""

    def __init__(self, path: str | Path) -> None:
        av = require("av", "video")
        if not Path(path).is_file():
            raise FileNotFoundError(f"no video {path} to take the sound from")
        self._source = av.open(local_address(path))
        self._origin = video_origin(self._source)
        self._sound = self._source.streams.best("audio")
        self._packets = self._read() if self._sound is not None else iter(())
        self._waiting: Any = None
        self._last: int | None = None
        self._config: bytes | None = None
        if self.is_described_in_its_packets:
            self._waiting = next(self._packets, None)
            self._config = _aac_config(bytes(self._waiting)) if self._waiting else None

    @property
    def is_described_in_its_packets(self) -> bool:
        """AAC with a header in each packet, and none for all that could be made of the first one."""
        if self._sound is None or self._config is not None:
            return False
        return self._sound.codec_context.name == "aac" and not self._sound.codec_context.extradata

    def attach(self, container: Any) -> None:
        """Give the video an audio stream, if the source has one that the video can hold."""
        if self._sound is None:
            return
        name = self._sound.codec_context.name
        if name not in container.supported_codecs:
            logger.warning("%s holds no %s sound: the video will be silent", container.name, name)
            self._packets, self._waiting = iter(()), None
            return
        self._container = container
        self._stream = container.add_stream_from_template(self._sound)
        if self._config is not None:
            self._stream.codec_context.extradata = self._config

    def _read(self) -> Iterator[Any]:
        try:
            yield from (p for p in self._source.demux(self._sound) if p.pts is not None)
        except require("av", "video").error.FFmpegError as error:
            logger.warning("the sound breaks off: %s", error)

    def copy_until(self, began: Fraction, until: Fraction) -> None:
        """Copy the sound up to a time of the source, so that a video that breaks off has sound to its end."""
        while (packet := self._waiting or next(self._packets, None)) is not None:
            seconds = packet.pts * packet.time_base - self._origin
            self._waiting = packet if seconds > until else None
            if self._waiting:
                return
            if seconds >= began:
                shift = round((began + self._origin) / packet.time_base)
                packet.pts -= shift
                packet.dts = packet.dts - shift if packet.dts is not None else packet.pts
                if self._last is not None and packet.dts <= self._last:  # videos that were glued together
                    logger.warning("the clock of the sound jumps back at %.2f s: silent from here", float(seconds))
                    self._packets = iter(())
                    return
                self._last = packet.dts
                packet = packet if self._config is None else _without_header(packet)
                packet.stream = self._stream
                self._container.mux(packet)

    def close(self) -> None:
        self._source.close()


def _aac_config(packet: bytes) -> bytes | None:
    """What MP4 says once of all AAC packets, from the header that broadcasts put before each (ADTS); None if it cannot."""
    if len(packet) < ADTS_LENGTH or packet[0] != 0xFF or packet[1] & 0xF6 != 0xF0:
        return None
    kind, rate, channels = (packet[2] >> 6) + 1, packet[2] >> 2 & 15, (packet[2] & 1) << 2 | packet[3] >> 6
    return (kind << 11 | rate << 7 | channels << 3).to_bytes(2, "big") if rate < 13 and channels else None


def _without_header(packet: Any) -> Any:
    data = bytes(packet)
    if _aac_config(data) is None:
        return packet
    bare = require("av", "video").Packet(data[ADTS_LENGTH + (0 if data[1] & 1 else 2) :])
    bare.pts, bare.dts, bare.duration, bare.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    bare.is_keyframe = True
    return bare
