"""What `predict` has estimated so far, so that a call that broke off goes on (`--resume`) to the results of a whole one.

A journal of each source lies in OUT/.resume: the raw results of the networks, before anybody is followed or calmed, and
whatever the format of the results. A call that goes on takes them in place of the networks and repeats the rest: tracking,
drawing, writing. So all its files are those of a call that was never stopped.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np

from gtpt.core.errors import InputError, OutputError
from gtpt.core.numbers import to_json_text
from gtpt.core.poses import NO_ID, Poses
from gtpt.core.skeleton import Skeleton
from gtpt.io.formats.file import lock, naming_errors, short_stem
from gtpt.io.sources import Frame

logger = logging.getLogger(__name__)

FOLDER = ".resume"
FORMAT = {"format": "gtpt-predict-journal", "version": 1}

DAMAGE = (ValueError, LookupError, TypeError, RecursionError)  # what reading a line that a kill or crash spoiled raises

Stamp = list[int]  # bytes and time of change of a file: another one, or one that was written again, has another


@dataclass(frozen=True)
class Done:
    """What came of a film: its part of the summary, and the stamps of its files by their names in the folder."""

    frames: int
    people: int
    files: dict[str, Stamp | None]
    skipped: int
    reasons: list[tuple[str, str]]


class Journal(AbstractContextManager["Journal"]):
    """The journal of one source, for this call alone.

    A line is written when the networks are done with some frames, one for all of them: they are estimated together, and a
    number may depend on its neighbours in its last bit. A line that a kill cut in half does not count.

    Args:
        path: of the journal; see `journal_path`.
        made_of: what the results depend on beside the source, as JSON.
        skeleton: of the network.
        film: the file of a video; photos have theirs with each.
        resume: keep what is there, if it is of the same film.

    Raises:
        InputError: what is there was made of something else.
        OutputError: another call works on the same source, or the disk is full.
    """

    def __init__(
        self, path: Path, made_of: Mapping[str, Any], skeleton: Skeleton, *, film: Path | None = None, resume: bool = False
    ) -> None:
        self.path, self._skeleton = path, skeleton
        self.recalled = 0
        self.done: Done | None = None  # what an earlier call told `finish`
        # line, place in it, the photo, known without pixels
        self._index: dict[str, tuple[int, int, Stamp | None, bool]] = {}
        self._pictures: dict[str, tuple[str, Stamp]] = {}
        self._line: tuple[int, list[dict[str, Any]]] = (-1, [])
        self._to_read: set[str] = set()
        self._full = False
        with naming_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_alone(path, f"the results of the same source to {path.parent.parent}")
        try:
            self._begin({**FORMAT, "made_of": dict(made_of), "film": stamp(film) if film else None}, resume)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, header: dict[str, Any], resume: bool) -> None:
        self._end = 0
        first = read_header(self.path) if resume else None
        if first is not None:
            require_same(first["made_of"], header["made_of"], self.path)
            if first["film"] == header["film"]:
                self._end = self._read()
                self._file.truncate(self._end)
                return
            logger.warning("%s: the film is not that of the earlier call: it is begun anew", self.path.stem)
        self._file.truncate(0)
        self._append(header)
        self._body = self._end

    def begin_anew(self) -> None:
        """Forget what an earlier call has found."""
        self.done, self._end = None, self._body
        self._index.clear()
        self._pictures.clear()
        self._file.truncate(self._end)

    def _read(self) -> int:
        """Fill the index; where the last whole line ends."""
        with self.path.open("rb") as lines:
            end = self._body = len(lines.readline())
            for line in lines:
                try:
                    self._learn(json.loads(line if line.endswith(b"\n") else b""), end)
                except DAMAGE:
                    break
                end += len(line)
                if self.done is not None:  # whatever follows is older
                    break
        return end

    def _learn(self, entry: Any, at: int) -> None:
        if "done" in entry:
            self.done = Done(**entry["done"])
        elif "picture" in entry:
            self._pictures[entry["picture"]] = entry["of"], entry["stamp"]
        else:
            for place, frame in enumerate(entry["frames"]):
                self._index[frame["key"]] = at, place, frame["photo"], frame["known"]

    def __contains__(self, photo: object) -> bool:
        """Is everything known of a photo but perhaps its drawing, so that it needs not be read?"""
        entry = self._index.get(os.path.abspath(str(photo)))
        return entry is not None and entry[3] and entry[2] == stamp(Path(str(photo)))

    def needs_reading(self, frame: Frame) -> None:
        """Something was said about a photo that only reading it tells: it is to be said again."""
        self._to_read.add(_key(frame))

    def recall(self, frame: Frame) -> tuple[Poses, np.ndarray] | None:
        """Raw poses of a frame and the scores (N,) of its boxes, if the networks have seen it as it is."""
        line, place, photo, _ = self._index.get(_key(frame), (-1, 0, None, False))
        if line < 0 or photo != stamp_of(frame):
            return None
        if self._line[0] != line:
            self._file.seek(line)
            self._line = line, json.loads(self._file.readline())["frames"]
        entry = self._line[1][place]
        try:
            found = _unpack(entry["people"], entry["size"], self._skeleton)
        except (ValueError, LookupError, TypeError):  # a damaged disk
            return None
        self.recalled += 1
        return found

    def keep(self, frames: Sequence[Frame], estimated: Sequence[tuple[Poses, np.ndarray]]) -> None:
        """Note what the networks found, before anything is made of it."""
        entries = [
            {
                "key": _key(frame),
                "photo": stamp_of(frame),
                "known": bool(frame.path) and _key(frame) not in self._to_read,
                "size": poses.image_size,
                "people": _pack(poses, scores),
            }
            for frame, (poses, scores) in zip(frames, estimated, strict=True)
        ]
        self._to_read.clear()
        self._append({"frames": entries})

    def has_drawn(self, frame: Frame, picture: Path) -> bool:
        """Is a picture there as an earlier call drew it of this frame?"""
        of, as_drawn = self._pictures.get(picture.name, ("", None))
        return of == f"{_key(frame)} {stamp_of(frame)}" and as_drawn == stamp(picture)

    def drew(self, frame: Frame, picture: Path) -> None:
        """Note a picture that is drawn and written."""
        self._append({"picture": picture.name, "of": f"{_key(frame)} {stamp_of(frame)}", "stamp": stamp(picture)})

    def finish(self, done: Done) -> None:
        """The film is done: only that is kept, and what came of it."""
        self._end = self._body
        self._append({"done": vars(done)})  # over the frames: either they count or it
        self._file.truncate(self._end)

    def _append(self, entry: Mapping[str, Any]) -> None:
        """Write a line. If there is no room for it, there is soon none for results, which is for their writers to say."""
        if self._full:
            return
        line = rest = memoryview(f"{to_json_text(entry)}\n".encode())
        try:
            self._file.seek(self._end)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._end += len(line)
        except OSError as error:
            self._full = True
            logger.warning("%s: nothing after this can be resumed: %s", self.path, error.strerror)
            self._file.truncate(self._end)

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._end == self._body:  # nothing has come of the source
            with suppress(OSError):
                self.path.unlink()
                self.path.parent.rmdir()


def open_alone(path: Path, what: str) -> FileIO:
    """A journal for this process alone; an empty one if there is none.

    Args:
        path: of the journal.
        what: is written by whoever holds it, for the message.

    Raises:
        OutputError: another process holds it.
        OSError: it cannot be made, or is no file.
    """
    file = open(path, "r+b", buffering=0, opener=_make_or_open)
    try:
        lock(file)
    except BlockingIOError:
        file.close()
        raise OutputError(
            errno.EBUSY, f"another call writes {what}: wait until it is done, or give another folder or name (out)"
        ) from None
    return file


def _make_or_open(path: str, _: int) -> int:
    """Never through a link, whose file would be lost."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0), 0o666)
    if not S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise FileExistsError(errno.EEXIST, "it is no file")
    return opened


def journal_path(out: str | Path, source: str | Sequence[str]) -> Path:
    """Where the journal of a source is kept: photos given one by one are one source."""
    if not isinstance(source, str):
        if len(source) > 1:
            return Path(out) / FOLDER / "photos.jsonl"
        source = source[0]
    path = os.path.abspath(source)
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    return Path(out) / FOLDER / f"{short_stem(Path(path).stem)}-{digest}.jsonl"


def require_same(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """InputError that names the first thing of which results are made that is not as it was."""
    for name in {**before, **now}:
        was, is_ = before.get(name), now.get(name)
        if was != is_:
            raise InputError(
                f"resume: what is in {path.parent.parent} was made with {name} {was!r}, and now it is {is_!r}: take the "
                f"options of that call, or begin anew without resume (--resume)"
            )


def read_header(path: Path) -> dict[str, Any] | None:
    """The first line of a journal; None if there is none."""
    try:
        with path.open("rb") as lines:
            header = json.loads(lines.readline())
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(header, dict) and {**header, **FORMAT} == header and {"made_of", "film"} <= set(header)
    return header if ours else None


def stamp(path: Path) -> Stamp | None:
    """Changes when a file is written; None without one."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _key(frame: Frame) -> str:
    return os.path.abspath(frame.path) if frame.path else frame.key


def stamp_of(frame: Frame) -> Stamp | None:
    """That of a photo's file; a frame of a video has none of its own."""
    return stamp(Path(frame.path)) if frame.path else None


def _pack(poses: Poses, scores: np.ndarray) -> str:
    """People as text, bit by bit."""
    people, joints = poses.keypoint_scores.shape
    points = poses.keypoints.reshape(people, 2 * joints)
    table = np.column_stack([poses.boxes, poses.scores, scores, points, poses.keypoint_scores, poses.raw_scores])
    return base64.b64encode(table.astype("<f4").tobytes()).decode()


def _unpack(text: str, size: Sequence[int], skeleton: Skeleton) -> tuple[Poses, np.ndarray]:
    joints = len(skeleton)
    table = np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, 6 + 4 * joints)
    boxes, scores, given, points, calibrated, raw = np.split(table, np.cumsum([4, 1, 1, 2 * joints, joints]), axis=1)
    poses = Poses(
        boxes=boxes,
        scores=scores[:, 0],
        keypoints=points.reshape(-1, joints, 2),
        keypoint_scores=calibrated,
        raw_scores=raw,
        ids=np.full(len(table), NO_ID),
        image_size=(size[0], size[1]),
        skeleton=skeleton,
    )
    return poses, given[:, 0].astype(np.float32)
