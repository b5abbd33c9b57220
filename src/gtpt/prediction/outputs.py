"""What `predict` leaves behind: keypoint files, drawn pictures and videos, and a summary of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from gtpt.core.errors import OutputError
from gtpt.estimator import PoseEstimator
from gtpt.io.formats import ENDINGS, open_writer
from gtpt.io.formats.file import naming_errors
from gtpt.io.sources import Source, without_password
from gtpt.io.video_writer import VideoWriter
from gtpt.pipeline import Result
from gtpt.prediction.options import MOVING, Options
from gtpt.viz import draw_poses, explain


@dataclass
class SourceSummary:
    """What came of one source."""

    name: str
    frames: int = 0
    people: int = 0
    files: list[str] = field(default_factory=list)


@dataclass
class Summary:
    """What came of a whole call: per source its files, and what was skipped and why."""

    sources: list[SourceSummary] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 all done, 1 nothing done, 3 something skipped, 130 interrupted."""
        if self.interrupted:
            return 130
        if not any(s.frames for s in self.sources):
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
    """The folder of one call, in which no two files get the same name.

    Raises:
        OutputError: nothing can be written there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._before: dict[str, tuple[int, int] | None] = {}  # files of this call, and their state before it
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=self.path).close()  # permissions do not tell all: disks are read-only or full
        except OSError as error:
            raise OutputError(f"cannot write to the folder {path}: {error.strerror}; choose another one (out)") from error

    def place(self, name: str) -> Path:
        """A path that nothing else of this call is written to: two sources may have the same name."""
        path, number = self.path / name, 2
        while str(path).casefold() in self._before:  # A.jpg and a.jpg are one file on some systems
            path, number = self.path / f"{Path(name).stem}_{number}{Path(name).suffix}", number + 1
        self._before[str(path).casefold()] = _state(path)
        return path

    def written(self, files: Sequence[str]) -> list[str]:
        """Those of the placed files that are there by this call."""
        return [name for name in files if _state(Path(name)) != self._before[name.casefold()]]


class SourceOutputs(AbstractContextManager["SourceOutputs"]):
    """All files of one source. Whatever happens inside the block, what was written until then is valid."""

    def __init__(
        self, folder: OutputFolder, options: Options, opened: Source, source: str | list[str], estimator: PoseEstimator
    ) -> None:
        self.folder, self.options, self.opened, self.estimator = folder, options, opened, estimator
        self.summary = SourceSummary(source_name(source))
        self._stack = ExitStack()
        self._moving = opened.kind in MOVING
        self._stem = file_stem(self.summary.name)
        self._video: VideoWriter | None = None

    def __enter__(self) -> SourceOutputs:
        kind = self.options.format or ("jsonl" if self._moving else "coco")
        self._writer = self._stack.enter_context(open_writer(self._place(f"{self._stem}{ENDINGS[kind]}"), kind))
        self._video_path = self._place(f"{self._stem}_pose.mp4") if self._moving else None
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._stack.__exit__(*error)
        finally:
            self.summary.files = self.folder.written(self.summary.files)

    def add(self, result: Result) -> None:
        """The people of one frame, and its pictures."""
        frame, poses = result.frame, result.poses
        name = frame.name if frame.name != "frame" else Path(self.summary.name).name
        self._writer.write(poses, frame=frame.index, time=frame.time, name=name)
        self.summary.frames += 1
        self.summary.people += len(poses)
        if self.options.draw:
            self._draw(result)
        if self.options.explain:
            for number, sheet in enumerate(explain(self.estimator, frame.image, poses)):
                self._save(sheet, f"{file_stem(frame.name)}_{frame.index}_explain_{number}.png")

    def _draw(self, result: Result) -> None:
        picture = draw_poses(result.frame.image, result.poses, threshold=self.options.threshold)
        if self._video_path is None:
            self._save(picture, f"{file_stem(result.frame.name)}_pose.jpg")
            return
        if self._video is None:  # its size is known with the first frame
            height, width = picture.shape[:2]
            opened = self.opened
            video = VideoWriter(
                self._video_path, (width, height), opened.fps or 30, opened.audio, pixel_aspect=opened.pixel_aspect
            )
            self._video = self._stack.enter_context(video)
        self._video.write(picture, result.frame.time)

    def _save(self, picture: np.ndarray, name: str) -> None:
        ok, data = False, np.zeros(0, np.uint8)
        with suppress(cv2.error):  # what some versions raise and others return
            ok, data = cv2.imencode(Path(name).suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if not ok:
            height, width = picture.shape[:2]
            self.opened.skipped.add(name, f"a picture of {width}x{height} is larger than {Path(name).suffix} can be")
            return
        path = self._place(name)
        with naming_errors(path):  # cv2.imwrite fails silently on non-ASCII paths and full disks
            try:
                path.write_bytes(data.tobytes())
            except OSError:
                path.unlink(missing_ok=True)  # half a picture
                raise

    def _place(self, name: str) -> Path:
        path = self.folder.place(name)
        self.summary.files.append(str(path))
        return path


def source_name(source: str | list[str]) -> str:
    """What a source is called in the summary; photos given one by one are one source."""
    if isinstance(source, list):
        return source[0] if len(source) == 1 else "photos"
    return without_password(source)


def file_stem(name: str) -> str:
    """A file name for results: the last part of a path without its suffix, or of a URL what file systems bear."""
    if "://" not in name:
        return Path(name.rstrip("/")).stem or "poses"
    url = urlsplit(name)
    return re.sub(r"[^\w.-]+", "_", PurePosixPath(url.path).stem or url.hostname or "") or "poses"


def _state(path: Path) -> tuple[int, int] | None:
    """Changes when a file is written."""
    return ((stat := path.stat()).st_ino, stat.st_mtime_ns) if path.exists() else None
