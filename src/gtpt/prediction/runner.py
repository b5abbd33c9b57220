"""`gtpt predict` in Python: sources one after another, results written to files as they come."""

from __future__ import annotations

import inspect
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlsplit

import cv2
import numpy as np

from gtpt.core.calibration import VISIBLE
from gtpt.detect import (
    DEFAULT_DETECTOR,
    WHOLE_IMAGE,
    Detector,
    GivenBoxes,
    WholeImage,
    as_detector,
    load_boxes,
    make_detector,
)
from gtpt.estimator import DEFAULT_WEIGHTS, PoseEstimator
from gtpt.io.formats import ENDINGS, FORMATS, open_writer
from gtpt.io.formats.file import naming_errors
from gtpt.io.sources import IMAGE_SUFFIXES, Frame, Kind, Selection, Skipped, Source, open_source, without_password
from gtpt.pipeline import Pipeline, Result
from gtpt.viz.poses import draw_poses

logger = logging.getLogger(__name__)

Sources = str | Path | int | Sequence[str | Path]
Options = ParamSpec("Options")

MOVING = ("video", "stream", "camera")


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


@dataclass
class Job:
    """Settings of a call. Models are opened once, before any source.

    Attributes:
        out: folder for the results; made if it is not there. Files of the same name are replaced.
        stride: take every n-th frame.
        start, end: seconds into a video.
        weights: registered name, *.onnx, *.safetensors, or an authors' *.pth.
        detector: registered name, a YOLOX *.onnx, or "whole-image"; in Python also anything that `gtpt.detect.as_detector`
            takes.
        detector_threshold: people with a lower score of the detector, or of the boxes, are left out; None: 0.3 for a
            detector, 0 for boxes of your own.
        detector_device: "cpu", "cuda" or "coreml", since detectors run in onnxruntime; None: that of `device`.
        boxes: boxes of your own instead of a detector: a COCO JSON or CSV file, "whole-image", or in Python a mapping that
            `gtpt.detect.GivenBoxes` takes.
        format: "coco", "jsonl", "csv", "openpose", "controlnet", "npz" or "parquet"; None: coco, for videos jsonl.
        draw: draw the poses into pictures and videos.
        explain: also show which patches each keypoint group kept (needs torch).
        threshold: keypoints with a lower calibrated score in [0, 1] are not drawn.
        min_score: people with a lower score in [0, 1] (detector times mean keypoint) are dropped.
        track: give people ids over time; None: for videos, streams and cameras.
        smooth: calm the keypoints over time (needs tracking).
        detect_every: detect on every n-th frame; boxes in between come from the poses. Photos and folders need `track` for
            it, which says that they follow each other.
        device: "cpu", and what the engine has beside it: "cuda" or "coreml" in onnxruntime, "gpu" or "npu" in OpenVINO,
            "cuda" or "cuda:1" in PyTorch. One that is not there is an error.
        engine, threads, precision, batch_size, flip_test: see `PoseEstimator`.
        quiet: show no progress bar.
    """

    out: str | Path = "out"
    _: KW_ONLY
    stride: int = 1
    start: float | None = None
    end: float | None = None
    weights: str | Path = DEFAULT_WEIGHTS
    detector: str | Path | Callable[[Sequence[np.ndarray]], Sequence[Any]] = DEFAULT_DETECTOR
    detector_threshold: float | None = None
    detector_device: str | None = None
    boxes: str | Path | Mapping[str | int, Any] | None = None
    format: str | None = None
    draw: bool = True
    explain: bool = False
    threshold: float = VISIBLE
    min_score: float = 0.0
    track: bool | None = None
    smooth: bool = False
    detect_every: int = 1
    engine: str | None = None
    device: str = "cpu"
    threads: int | None = None
    precision: str = "float32"
    batch_size: int = 32
    flip_test: bool = False
    quiet: bool = False
    _taken: dict[str, Any] = field(default_factory=dict, init=False, repr=False)  # files of this call: their state before

    def run(self, sources: Sequence[str]) -> Summary:
        """Work through all sources; one that cannot be used is skipped, the others are done.

        Raises:
            ValueError, FileNotFoundError, OSError, ImportError: settings, weights or an output folder that cannot work.
        """
        self._check()
        if self.detect_every > 1 and not self._follows("image") and any(map(_is_photos, _grouped(sources))):
            raise ValueError(
                f"detect_every={self.detect_every} carries boxes over to the next frame, but photos and folders need not "
                f"follow each other: say with track (--track) that they do, or leave out detect_every"
            )
        if not any(map(_is_there, sources)):  # said before anything is downloaded
            return Summary(skipped=[(name, "no such file, folder, camera or URL") for name in sources])
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()  # permissions do not tell all: disks are read-only or full
        except OSError as error:
            raise OSError(f"cannot write to the folder {self.out}: {error.strerror}; choose another one (out)") from error
        self.estimator, self.finder  # noqa: B018  # opened now, so that their errors come before any work
        summary = Summary()
        for source in _grouped(sources):
            try:
                with open_source(source, stride=self.stride, start=self.start, end=self.end) as opened:
                    self._work(opened, source, summary)
            except KeyboardInterrupt:
                summary.interrupted = True
                break
            except (OSError, ValueError, ImportError) as error:  # also a full disk, or a stream that changes its size
                summary.skipped.append((_name(source), str(error)))
        return summary

    def _check(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise ValueError(f"unknown format {self.format!r}: use one of {list(FORMATS)}")
        if self.smooth and self.track is False:
            raise ValueError("smooth needs to know who is who: leave out track=False (--no-track)")
        if self.explain and self.engine not in (None, "torch"):
            raise ValueError(f"explain reads the network's inside, which {self.engine} does not show: leave out the engine")
        if self.boxes is not None and self.detector != DEFAULT_DETECTOR:
            raise ValueError(f"boxes take the place of the detector {self.detector}: give one of them")
        if callable(self.detector) and (self.detector_threshold is not None or self.detector_device is not None):
            raise ValueError("a detector of your own has its own threshold and device: leave out those of gtpt")
        for name in ("threshold", "min_score", "detector_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        if self.detect_every < 1:
            raise ValueError(f"detect_every must be at least 1, got {self.detect_every}")
        Selection(self.stride, self.start, self.end)

    @property
    def folder(self) -> Path:
        return Path(self.out)

    @cached_property
    def estimator(self) -> PoseEstimator:
        return PoseEstimator(
            self.weights,
            engine="torch" if self.explain else self.engine,
            device=self.device,
            threads=self.threads,
            precision=self.precision,
            batch_size=self.batch_size,
            flip_test=self.flip_test,
        )

    @cached_property
    def finder(self) -> Detector:
        if callable(self.detector):
            return as_detector(self.detector)
        if isinstance(self.boxes, Mapping):
            return GivenBoxes(self.boxes, threshold=self.detector_threshold or 0.0)
        if self.boxes is not None and str(self.boxes) != WHOLE_IMAGE:
            return load_boxes(self.boxes, threshold=self.detector_threshold or 0.0)
        device = self.detector_device or self.device
        try:
            return make_detector(
                self.boxes or self.detector, threshold=self.detector_threshold, device=device, threads=self.threads
            )
        except ValueError as error:
            if self.detector_device is not None or device == "cpu":
                raise
            raise ValueError(
                f"the detector, which runs in onnxruntime, cannot be opened on the device of the estimator: {error}; "
                f"detector_device (--detector-device) gives it another, such as cpu"
            ) from error

    def _follows(self, kind: Kind) -> bool:
        """Are people of such a source followed from frame to frame?"""
        return self.smooth or (kind in MOVING if self.track is None else self.track)

    def _pipeline(self, kind: Kind, seconds_between: float) -> Pipeline:
        tracker, smoother = None, None
        if self._follows(kind):
            from gtpt.tracking.tracker import Tracker

            tracker = Tracker(self.estimator.skeleton, memory_s=max(1.0, 3 * seconds_between))
        if self.smooth:
            from gtpt.tracking.smoother import Smoother

            smoother = Smoother(memory_s=max(0.5, 3 * seconds_between))
        return Pipeline(
            self.estimator,
            self.finder,
            tracker=tracker,
            smoother=smoother,
            detect_every=self.detect_every,
            frames_at_once=1 if kind in ("stream", "camera") else 8,
            refine=isinstance(self.finder, WholeImage),
            min_score=self.min_score,
        )

    def _work(self, opened: Source, source: Any, summary: Summary) -> None:
        moving = opened.kind in MOVING
        done = SourceSummary(_name(source))
        summary.sources.append(done)
        results = self._pipeline(opened.kind, self.stride / (opened.fps or 30))(self._known(opened))
        try:
            with ExitStack() as stack:
                writer = stack.enter_context(self._writer(done, moving))
                picture = self._video(opened, source, done, stack) if moving else self._photo
                for result in _progress(results, opened, self.quiet):
                    writer.write(
                        result.poses, frame=result.frame.index, time=result.frame.time, name=_photo_name(result, source)
                    )
                    done.frames += 1
                    done.people += len(result.poses)
                    if self.draw:
                        picture(result, done, opened.skipped)
                    if self.explain:
                        self._explain(result, done, opened.skipped)
        finally:  # whatever happened, what was written until then is valid
            done.files = [name for name in done.files if _state(Path(name)) != self._taken[name.casefold()]]
            summary.skipped.extend(opened.skipped.items)

    def _known(self, opened: Source) -> Iterator[Frame]:
        """Frames that boxes of your own know; the others are skipped."""
        for frame in opened:
            if isinstance(self.finder, GivenBoxes):
                try:
                    self.finder.find(frame.key)
                except ValueError as error:
                    opened.skipped.add(frame.key, str(error))
                    continue
            yield frame

    def _writer(self, done: SourceSummary, moving: bool) -> Any:
        kind = self.format or ("jsonl" if moving else "coco")
        path = self._place(f"{_stem(done.name)}{ENDINGS[kind]}", done)
        return open_writer(path, kind)

    def _video(self, opened: Source, source: Any, done: SourceSummary, stack: ExitStack) -> Any:
        from gtpt.io.video_writer import VideoWriter

        path = self._place(f"{_stem(done.name)}_pose.mp4", done)
        sound = source if opened.kind == "video" else None
        writer: list[VideoWriter] = []

        def add(result: Result, done: SourceSummary, skipped: Skipped) -> None:
            if not writer:  # its size is known with the first frame
                height, width = result.frame.image.shape[:2]
                writer.append(stack.enter_context(VideoWriter(path, (width, height), opened.fps or 30, audio_from=sound)))
            writer[0].write(draw_poses(result.frame.image, result.poses, threshold=self.threshold), result.frame.time)

        return add

    def _photo(self, result: Result, done: SourceSummary, skipped: Skipped) -> None:
        picture = draw_poses(result.frame.image, result.poses, threshold=self.threshold)
        self._save(picture, f"{_stem(result.frame.name)}_pose.jpg", done, skipped)

    def _explain(self, result: Result, done: SourceSummary, skipped: Skipped) -> None:
        from gtpt.viz.pruning import explain

        for number, sheet in enumerate(explain(self.estimator, result.frame.image, result.poses)):
            self._save(sheet, f"{_stem(result.frame.name)}_{result.frame.index}_explain_{number}.png", done, skipped)

    def _save(self, picture: np.ndarray, name: str, done: SourceSummary, skipped: Skipped) -> None:
        ok, data = False, np.zeros(0, np.uint8)
        with suppress(cv2.error):  # what some versions raise and others return
            ok, data = cv2.imencode(Path(name).suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if not ok:
            height, width = picture.shape[:2]
            skipped.add(name, f"a picture of {width}x{height} is larger than {Path(name).suffix} can be")
            return
        path = self._place(name, done)
        with naming_errors(path):  # cv2.imwrite fails silently on non-ASCII paths and full disks
            try:
                path.write_bytes(data.tobytes())
            except OSError:
                path.unlink(missing_ok=True)  # half a picture
                raise

    def _place(self, name: str, done: SourceSummary) -> Path:
        """A file in the output folder that nothing else of this call is written to: two sources may have the same name."""
        path, number = self.folder / name, 2
        while str(path).casefold() in self._taken:  # A.jpg and a.jpg are one file on some systems
            path, number = self.folder / f"{Path(name).stem}_{number}{Path(name).suffix}", number + 1
        self._taken[str(path).casefold()] = _state(path)
        done.files.append(str(path))
        return path


def _with_options_of(
    job: Callable[Options, Job],
) -> Callable[[Callable[..., Summary]], Callable[Concatenate[Sources, Options], Summary]]:
    """Gives a function the parameters of `Job`, for type checkers, editors and `help`, without a second list of them."""

    def decorate(function: Callable[..., Summary]) -> Callable[Concatenate[Sources, Options], Summary]:
        own, options = (inspect.signature(f).parameters.values() for f in (function, job))
        parameters = [p for p in own if p.kind is p.POSITIONAL_OR_KEYWORD] + list(options)
        function.__signature__ = inspect.signature(function).replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return decorate


@_with_options_of(Job)
def predict(sources: Sources, *out: Any, **options: Any) -> Summary:
    """Find people and their keypoints: photos, folders, videos, streams and cameras in; pictures and keypoint files out.

    The same as `gtpt predict`, with options of the same names. Use `Pipeline` for the poses themselves instead of files.

        summary = gtpt.predict("video.mp4", "out", boxes="boxes.csv", smooth=True)
        summary.sources[0].files                        # ["out/video.jsonl", "out/video_pose.mp4"]

    Args:
        sources: one or several: photos, folders of photos, videos, URLs, or the number of a camera.
        out: folder for the results.
        options: the other attributes of `Job`, which says what each does.

    Returns:
        What was written and what was skipped. A source that cannot be used is skipped, and Ctrl-C ends the call with
        valid files; neither raises.

    Raises:
        TypeError: an unknown option.
        ValueError, FileNotFoundError, OSError, ImportError: options, weights or an output folder that cannot work.
    """
    names = [sources] if isinstance(sources, (str, Path, int)) else sources
    return Job(*out, **options).run([str(name) for name in names])


def _grouped(sources: Sequence[str]) -> Iterator[str | list[str]]:
    """All photos given one by one form a single source; the rest comes one at a time."""
    photos = [s for s in sources if Path(s).suffix.lower() in IMAGE_SUFFIXES and Path(s).is_file()]
    if photos:
        yield photos
    yield from (s for s in sources if s not in photos)


def _is_photos(source: str | list[str]) -> bool:
    return isinstance(source, list) or Path(source).is_dir()


def _is_there(source: str) -> bool:
    """A stream or a camera may be; a file or folder is or is not."""
    return "://" in source or source.isdecimal() or Path(source).exists()


def _state(path: Path) -> tuple[int, int] | None:
    """Changes when a file is written."""
    return ((stat := path.stat()).st_ino, stat.st_mtime_ns) if path.exists() else None


def _name(source: str | list[str]) -> str:
    if isinstance(source, list):
        return source[0] if len(source) == 1 else "photos"
    return without_password(source)


def _stem(name: str) -> str:
    """A file name for results: the last part of a path without its suffix, or of a URL what file systems bear."""
    if "://" not in name:
        return Path(name.rstrip("/")).stem or "poses"
    url = urlsplit(name)
    return re.sub(r"[^\w.-]+", "_", PurePosixPath(url.path).stem or url.hostname or "") or "poses"


def _photo_name(result: Result, source: Any) -> str:
    return result.frame.name if result.frame.name != "frame" else Path(_name(source)).name


def _progress(results: Iterator[Result], opened: Source, quiet: bool) -> Iterator[Result]:
    """A bar with frames per second and people."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[people]} people, {task.fields[rate]:.1f} frames/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task(opened.kind, total=opened.frame_count, people=0, rate=0.0)
        people = 0
        for frames, result in enumerate(results, start=1):
            yield result
            people += len(result.poses)
            elapsed = bar.tasks[0].elapsed or 1e-9  # rich's own speed needs several frames
            bar.update(task, completed=frames, people=people, rate=frames / elapsed)
