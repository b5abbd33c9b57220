"""What `predict` leaves behind: keypoint files, drawn pictures and videos, and a summary of them."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from gtpt.core.errors import InputError, OutputError, SourceError
from gtpt.core.urls import without_secrets
from gtpt.estimator import PoseEstimator
from gtpt.io.formats import ENDINGS, FOLDER_FORMATS, Writer, open_writer
from gtpt.io.formats.file import PARTIAL, short_stem, write_whole
from gtpt.io.images import read_image
from gtpt.io.sources import Frame, Skipped, Source
from gtpt.io.video_writer import VideoWriter
from gtpt.pipeline import Result
from gtpt.prediction.journal import Done, Journal, stamp
from gtpt.prediction.options import MOVING, Options, Share
from gtpt.prediction.shards import ShardWriter
from gtpt.prediction.sources import of_the_source
from gtpt.viz import explain
from gtpt.viz.picture import encoded

logger = logging.getLogger(__name__)


@dataclass
class SourceSummary:
    """What came of one source; of its frames, `resumed` were looked at by an earlier call."""

    name: str
    frames: int = 0
    people: int = 0
    resumed: int = 0
    files: list[str] = field(default_factory=list)


@dataclass
class Summary:
    """What came of a whole call: per source its files, and what was skipped and why."""

    sources: list[SourceSummary] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    interrupted: bool = False
    share: Share | None = None

    def add_skipped(self, skipped: Skipped) -> None:
        """What could not be used of a source; beyond what is kept of it, how many more there were."""
        self.skipped.extend(skipped.items)
        if rest := skipped.count - len(skipped.items):
            self.skipped.append((f"{rest} more", "see the first ones"))

    @property
    def exit_code(self) -> int:
        """0 all done (a share may hold nothing), 1 nothing done, 3 something skipped, 130 interrupted."""
        if self.interrupted:
            return 130
        if not any(s.frames for s in self.sources) and (self.skipped or self.share is None):
            return 1
        return 3 if self.skipped else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "sources": [vars(s) for s in self.sources],
            "skipped": [{"name": n, "reason": r} for n, r in self.skipped],
            "interrupted": self.interrupted,
        }


class OutputFolder:
    """The folder of one call, in which no two files get the same name, and none that of a file that the call reads.

    Args:
        path: of the folder; it is made.
        inputs: files that are read, which must stay as they are.

    Raises:
        OutputError: nothing can be written there.
    """

    def __init__(self, path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
        self.path = Path(path)
        self._before: dict[str, tuple[int, int] | None] = {}  # files of this call, and their state before it
        read = [Path(file) for file in inputs]
        self._read = {identity for file in read if (identity := _identity(file)) is not None}
        self._read_from = {identity for file in read if (identity := _identity(file.parent)) is not None}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=self.path).close()  # permissions do not tell all: disks are read-only or full
        except OSError as error:
            raise OutputError(f"cannot write to the folder {path}: {error.strerror}; choose another one (out)") from error

    def place(self, name: str, *, folder: bool = False) -> Path:
        """A path for a result, NAME or the next free NAME_2, NAME_3, ...

        Not free is what this call writes already (two sources may have the same name), what it reads, also through links,
        and what is no file: a pipe, a device, a folder.

        Args:
            name: in the folder.
            folder: whether the result is a folder.
        """
        path, number = self.path / name, 2
        while str(path).casefold() in self._before or not self._is_free(path, folder):  # A.jpg may be a.jpg
            path, number = self.path / f"{Path(name).stem}_{number}{Path(name).suffix}", number + 1
        self._before[str(path).casefold()] = _state(path)
        return path

    def keep(self, path: Path) -> None:
        """Take a placed file that an earlier call has written for one of this call."""
        self._before[str(path).casefold()] = None

    def restore(self, done: Done) -> list[str] | None:
        """The files that an earlier call left; None if they are not as it left them, or wanted for something else."""
        paths = {self.path / name: left for name, left in done.files.items()}
        if any(stamp(path) != left or str(path).casefold() in self._before for path, left in paths.items()):
            return None
        for path in paths:
            self.keep(path)
        return [str(path) for path in paths]

    def written(self, files: Sequence[str]) -> list[str]:
        """Those of the placed files that are there by this call."""
        return [name for name in files if _state(Path(name)) != self._before[name.casefold()]]

    def _is_free(self, path: Path, folder: bool) -> bool:
        if folder:
            return not path.exists() or (path.is_dir() and _identity(path) not in self._read_from)
        if self._read & {_identity(path), _identity(Path(f"{path}{PARTIAL}"))}:
            return False
        return path.is_symlink() or path.is_file() or not path.exists()


class SourceOutputs(AbstractContextManager["SourceOutputs"]):
    """All files of one source. Whatever happens inside the block, what was written until then is valid."""

    def __init__(
        self,
        folder: OutputFolder,
        options: Options,
        opened: Source,
        source: str | list[str],
        estimator: PoseEstimator,
        *,
        number: int = 0,
        record: ShardWriter | None = None,
        journal: Journal | None = None,
    ) -> None:
        """`number` is that of the source; `record` takes the results of a share instead of a file of the format.

        `journal` knows the pictures that an earlier call has drawn.
        """
        self.folder, self.options, self.opened, self.estimator = folder, options, opened, estimator
        self._number, self._record, self._journal = number, record, journal
        self.summary = SourceSummary(source_name(source))
        self._stack = ExitStack()
        self._moving = opened.kind in MOVING
        self._names = names_of_photos(source) if isinstance(source, list) else {}
        self._stem = file_stem(self.summary.name)
        self._video: VideoWriter | None = None
        self._undrawable = self._resized = False

    def __enter__(self) -> SourceOutputs:
        kind = self.options.format or ("jsonl" if self._moving else "coco")
        self._writer: Writer
        if self._record is None:
            path = self._place(f"{self._stem}{ENDINGS[kind]}", folder=kind in FOLDER_FORMATS)
            self._writer = self._stack.enter_context(open_writer(path, kind))
        else:
            self._record.open(self._number, kind, self._moving, self.opened.photos)
            self._writer = self._record
        self._video_path = self._place(film_name(self._stem)) if self._moving else None
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._stack.__exit__(*error)
        finally:
            self.summary.files = self.folder.written(self.summary.files)
            if self._record is not None:
                self._end_record(self._record, failed=error[0] is not None)

    def _end_record(self, record: ShardWriter, failed: bool) -> None:
        if self._video_path is not None and str(self._video_path) in self.summary.files:
            record.drawn(film_name(self._stem), self._video_path)
        record.end(failed)

    def add(self, result: Result, picture: Callable[[], np.ndarray] | None, image_id: int | str | None = None) -> None:
        """The people of one frame, and its pictures.

        Args:
            result: frame and poses.
            picture: draws the frame, RGB uint8 (H, W, 3), if an earlier call did not; None to keep none.
            image_id: what the file of given boxes calls the image.
        """
        frame, poses = result.frame, result.poses
        name = self._names.get(frame.path, frame.name) if frame.name != "frame" else Path(self.summary.name).name
        image_id = frame.index if self._moving and image_id is None else image_id
        self._writer.write(poses, frame=frame.index, time=frame.time, name=name, image_id=image_id)
        self.summary.frames += 1
        self.summary.people += len(poses)
        if picture is not None:
            self._keep(picture, frame)
        if self.options.explain:
            sheets = cache(lambda: explain(self.estimator, pixels(frame), poses))  # runs the network
            for number in range(len(poses)):
                sheet = partial(lambda sheets, number: sheets()[number], sheets, number)
                self._save(sheet, f"{file_stem(frame.name)}_{frame.index}_explain_{number}.png", frame)

    def done(self) -> Done:
        """What came of the source, for a call that asks for it again."""
        files, skipped = self.summary.files, self.opened.skipped
        stamps = {os.path.relpath(file, self.folder.path): stamp(Path(file)) for file in files}
        return Done(self.summary.frames, self.summary.people, stamps, skipped.count, skipped.items)

    def _keep(self, picture: Callable[[], np.ndarray], frame: Frame) -> None:
        if self._video_path is None:
            self._save(picture, f"{file_stem(frame.name)}_pose.jpg", frame)
        elif not self._undrawable:
            try:
                self._keep_in_video(self._video_path, picture(), frame.time)
            except InputError as error:  # what the encoder cannot bear must not cost the keypoints
                self._undrawable = True
                self.opened.skipped.add(self._video_path.name, str(error))

    def _keep_in_video(self, path: Path, picture: np.ndarray, time: float) -> None:
        if self._video is None:  # its size is known with the first frame
            opened, size = self.opened, (picture.shape[1], picture.shape[0])
            video = VideoWriter(path, size, opened.fps or 30, opened.audio, pixel_aspect=opened.pixel_aspect)
            self._video = self._stack.enter_context(video)
        width, height = self._video.size
        if picture.shape[:2] != (height, width):
            if not self._resized:
                logger.info("%s: the size changes; later frames are fitted into that of the first", path.name)
            self._resized = True
            picture = fit_into(picture, (width, height))
        self._video.write(picture, time)

    def _save(self, draw: Callable[[], np.ndarray], name: str, frame: Frame) -> None:
        path = self._place(name)
        if self._journal is not None and self._journal.has_drawn(frame, path):
            self.folder.keep(path)
        elif not self._draw(draw, path):
            return
        elif self._journal is not None:
            self._journal.drew(frame, path)
        if self._record is not None:
            self._record.drawn(name, path)

    def _draw(self, draw: Callable[[], np.ndarray], path: Path) -> bool:
        """Whether there is a picture now."""
        try:
            data = encoded(draw(), path.suffix)
        except (SourceError, InputError) as error:  # a photo that is known and gone since, or larger than a JPEG can be
            self.opened.skipped.add(path.name, str(error))
            return False
        write_whole(path, data)  # cv2.imwrite fails silently on non-ASCII paths and full disks
        return True

    def _place(self, name: str, *, folder: bool = False) -> Path:
        path = self.folder.place(name, folder=folder)
        self.summary.files.append(str(path))
        return path


def pixels(frame: Frame) -> np.ndarray:
    """The image of a frame; a photo that needed not be read until now is."""
    with of_the_source():
        return frame.image if frame.image.size else read_image(frame.path)


def fit_into(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture as large as it fits into another size, in the middle of black."""
    height, width = picture.shape[:2]
    ratio = min(size[0] / width, size[1] / height)
    inner = max(round(width * ratio), 1), max(round(height * ratio), 1)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    return canvas


def names_of_photos(photos: Sequence[str]) -> dict[str, str]:
    """What photos given one by one are called in results: their names; with folders those whose name occurs twice."""
    paths = [Path(photo) for photo in photos]
    count = Counter(path.name for path in paths)
    twice = [path for path in paths if count[path.name] > 1]
    names = {path.as_posix(): path.name for path in paths}
    if len({path.absolute() for path in twice}) > 1:
        base = os.path.commonpath([path.absolute().parent for path in twice])
        names |= {path.as_posix(): Path(os.path.relpath(path.absolute(), base)).as_posix() for path in twice}
    return names


def source_name(source: str | list[str]) -> str:
    """What a source is called in the summary; photos given one by one are one source."""
    if isinstance(source, list):
        return source[0] if len(source) == 1 else "photos"
    return without_secrets(source)


def film_name(stem: str) -> str:
    """What the drawn film of a source is called."""
    return f"{stem}_pose.mp4"


def file_stem(name: str) -> str:
    """A file name for results: the last part of a path without its suffix, or of a URL what file systems bear."""
    if "://" not in name:
        return short_stem(Path(name.rstrip("/")).stem) or "poses"
    url = urlsplit(name)
    return short_stem(re.sub(r"[^\w.-]+", "_", PurePosixPath(url.path).stem or url.hostname or "")) or "poses"


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to, whatever it is called and through whichever links; None if to none."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return stat.st_dev, stat.st_ino


def _state(path: Path) -> tuple[int, int] | None:
    """Changes when a file is written."""
    return ((stat := path.stat()).st_ino, stat.st_mtime_ns) if path.exists() else None
