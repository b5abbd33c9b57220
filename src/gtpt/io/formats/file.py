"""What writers of a single file share: it is valid at any moment and takes its name when it is complete."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from io import FileIO
from pathlib import Path

from gtpt.core.errors import InputError, OutputError
from gtpt.core.poses import Poses
from gtpt.core.skeleton import Skeleton

logger = logging.getLogger(__name__)

RESERVE_STEP = 1 << 12  # bytes, a page
PARTIAL = ".partial"  # what a file that still grows has at the end of its name
MAX_STEM = 200  # bytes; file systems allow 255, and the longest ending, that of OpenPose, needs 35 of them


@contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into an `OutputError` of the same number whose message says what could not be written."""
    try:
        yield
    except OSError as error:
        raise OutputError(error.errno, f"cannot write the results to {path}: {error.strerror or error}") from error


if sys.platform == "win32":
    import msvcrt

    def lock(file: FileIO) -> None:
        """Hold an open file for this process, until it is closed or the process ends, however it does.

        Raises:
            BlockingIOError: another one holds it.
        """
        file.seek(1 << 40)  # beyond what anybody writes, which the lock would keep from others
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(errno.EAGAIN, "another process holds it") from error
        finally:
            file.seek(0)

else:
    import fcntl

    def lock(file: FileIO) -> None:
        """Hold an open file for this process, until it is closed or the process ends, however it does.

        Raises:
            BlockingIOError: another one holds it.
        """
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # some network file systems have no locks: then it works as for a single process
            logger.info("%s has no file locks: do not write there twice at the same time", file.name)


def open_partial(path: Path) -> FileIO:
    """A new file beside a result, in which it grows; what has its name is removed and never followed, as links would be.

    Raises:
        OutputError: somebody else writes the same result at this moment.
    """
    partial = path.with_name(f"{path.name}{PARTIAL}")
    try:
        if partial.is_file() and not partial.is_symlink():
            with suppress(FileNotFoundError, PermissionError), open(partial, "rb", buffering=0) as before:
                lock(before)  # that of a killed process is free
        partial.unlink(missing_ok=True)
        file = open(partial, "x+b", buffering=0)  # unbuffered: no result waits in memory
        try:
            lock(file)
            if not os.path.samestat(os.fstat(file.fileno()), partial.lstat()):
                raise BlockingIOError  # somebody came between
        except BaseException:
            file.close()
            raise
    except (BlockingIOError, FileExistsError):
        busy = "another call is writing it at this moment: wait until it is done, or give another name or folder (out)"
        raise OutputError(errno.EBUSY, busy) from None
    return file


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is either complete or not there; an older one, or a link of that name, is replaced."""
    with naming_errors(path):
        file = open_partial(path)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            give_name(file, path)
        except BaseException:
            with suppress(OSError):
                discard(file, path)
            raise


def give_name(file: FileIO, path: Path) -> None:
    """Close what `open_partial` gave as the file of that name, an older one or a link of which is replaced.

    If that fails it stays open, so that it is still this process that may `discard` it.
    """
    if sys.platform == "win32":
        file.close()  # what is open keeps its name there
    os.replace(f"{path}{PARTIAL}", path)  # elsewhere still locked, or it might be another's by now
    file.close()


def discard(file: FileIO, path: Path) -> None:
    """Close and remove what `open_partial` gave."""
    if sys.platform == "win32":
        file.close()
    try:
        Path(f"{path}{PARTIAL}").unlink(missing_ok=True)
    finally:
        file.close()


def short_stem(stem: str) -> str:
    """The stem itself, or for one that leaves no room for the endings of results a shorter one, the same every time."""
    name = os.fsencode(stem)
    if len(name) <= MAX_STEM:
        return stem
    digest = hashlib.sha256(name).hexdigest()[:8]
    return f"{os.fsdecode(name[: MAX_STEM - 9]).encode(errors='ignore').decode()}_{digest}"


class FileWriter(AbstractContextManager["FileWriter"]):
    """Grows as NAME.partial in the same folder and replaces NAME on close.

    Subclasses write to `file` and count in `images` what is safely there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images = 0
        self._skeleton: Skeleton | None = None
        with naming_errors(path):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "there is a folder of that name")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open_partial(path)

    def check(self, poses: Poses) -> None:
        """All images of one file have the same keypoints."""
        self._skeleton = self._skeleton or poses.skeleton
        if poses.skeleton is not self._skeleton and poses.skeleton != self._skeleton:
            raise InputError(
                f"{self.path}: the skeleton of one file is the same for all images, "
                f"{self._skeleton.name!r} first and then {poses.skeleton.name!r}: open another file"
            )

    def finish(self) -> None:
        """What a format writes last."""

    def usable(self) -> bool:
        """Does the file hold results that can be read although `finish` failed?"""
        return False

    def close(self) -> None:
        if self.file.closed:
            return
        with naming_errors(self.path), self.file:
            try:
                self.finish()
                os.fsync(self.file.fileno())
            except OSError:
                (give_name if self.usable() else discard)(self.file, self.path)  # on a full disk of all places
                raise
            give_name(self.file, self.path)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or self.images:
            self.close()
        else:  # an error before the first result: an older file is worth more than an empty one
            with suppress(OSError):
                self.finish()
            discard(self.file, self.path)


class Reserve:
    """Space on the disk of a result, held while results that will need it are still in memory.

    So the disk is full before a result is taken, not when it has to be written. It has no name: a kill leaves no trace.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)
        self._held = 0

    def hold(self, size: int) -> None:
        """At least so many bytes; OSError, and as much as before, if the disk has no room for them."""
        wanted = -(-size // RESERVE_STEP) * RESERVE_STEP
        self._file.seek(self._held)
        try:
            while self._file.tell() < wanted:
                self._file.write(bytes(RESERVE_STEP))
        except OSError:
            self._file.truncate(self._held)
            raise
        self._held = max(self._held, wanted)

    def free(self, keep: int = 0) -> None:
        """Give the space back, but for some bytes, to what is written now."""
        self._held = min(self._held, keep)
        self._file.truncate(self._held)

    def close(self) -> None:
        """Give it all back."""
        self._file.close()


class RecordWriter(FileWriter):
    """A file of records after each other: `head`, the records, `tail`. The tail is always there, even between records."""

    head = b""
    tail = b""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._end = 0  # of the last record: where the tail starts
        self.append(self.head)

    def append(self, record: bytes) -> None:
        """Write a whole record, or nothing of it if the disk is full or the user interrupts."""
        with naming_errors(self.path):
            try:
                self._write(record + self.tail)
            except BaseException:
                self.file.truncate(self._end)
                self._write(self.tail)
                raise
            self._end += len(record)

    def usable(self) -> bool:
        return self.images > 0

    def _write(self, data: bytes) -> None:
        self.file.seek(self._end)
        rest = memoryview(data)
        while rest:
            rest = rest[self.file.write(rest) :]
