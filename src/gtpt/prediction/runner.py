"""The work of `gtpt predict`: sources one after another, results written to files as they come."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from gtpt.core.errors import AnnotationError, GtptError, InputError
from gtpt.detect import WHOLE_IMAGE, Detector, GivenBoxes, WholeImage, as_detector, load_boxes, make_detector
from gtpt.estimator import PoseEstimator
from gtpt.io.sources import IMAGE_SUFFIXES, Frame, Kind, Skipped, Source, is_animation, open_source
from gtpt.pipeline import Pipeline
from gtpt.prediction.journal import Journal, ingredients, journal_path, read_header, require_same
from gtpt.prediction.options import Options
from gtpt.prediction.outputs import OutputFolder, SourceOutputs, SourceSummary, Summary, of_the_source, source_name
from gtpt.prediction.progress import show_progress

logger = logging.getLogger(__name__)

Sources = str | Path | int | Sequence[str | Path]
P = ParamSpec("P")


class Runner:
    """Works through sources with the same options. Models are opened once, before any source."""

    def __init__(self, options: Options) -> None:
        options.check()
        self.options = options

    def run(self, sources: Sequence[str]) -> Summary:
        """Work through all sources; one that cannot be used is skipped, the others are done.

        What a user can mend (`GtptError`) skips a source. Anything else is a bug, such as one in a detector of the user's
        own, and passes through.

        Raises:
            GtptError, OSError: options, weights or an output folder that cannot work.
        """
        options = self.options
        if not options.follows("image") and any(map(_is_photos, _grouped(sources))):
            for name, used in (("detect_every", options.detect_every > 1), ("smooth", options.smooth)):
                if used:
                    raise InputError(
                        f"{name} goes from one frame to the next, but photos and folders need not follow each other: say "
                        f"with track (--track) that they do, or leave out {name} (--{name.replace('_', '-')})"
                    )
        if not any(map(_is_there, sources)):  # said before anything is downloaded
            return Summary(skipped=[(name, "no such file, folder, camera or URL") for name in sources])
        folder = OutputFolder(options.out, _files_read(sources, options))
        self.estimator, self.finder  # noqa: B018  # opened now, so that their errors come before any work
        self._require_same(sources)
        summary = Summary()
        if isinstance(self.finder, GivenBoxes):
            summary.skipped.extend(self.finder.skipped)
        try:
            for source in _grouped(sources):
                self._try(source, folder, summary)
        except KeyboardInterrupt:
            summary.interrupted = True
        return summary

    def _try(self, source: str | list[str], folder: OutputFolder, summary: Summary) -> None:
        try:
            self._work(source, folder, summary)
        except GtptError as error:  # also a full disk, or a stream that changes its size
            logger.info("skipped %s", source_name(source), exc_info=True)
            summary.skipped.append((source_name(source), str(error)))

    @cached_property
    def estimator(self) -> PoseEstimator:
        options = self.options
        return PoseEstimator(
            options.weights,
            engine="torch" if options.explain else options.engine,
            device=options.device,
            threads=options.threads,
            precision=options.precision,
            batch_size=options.batch_size,
            flip_test=options.flip_test,
        )

    @cached_property
    def finder(self) -> Detector:
        """What gives the boxes: a network, a function, or boxes that are known."""
        options = self.options
        if callable(options.detector):
            return as_detector(options.detector)
        if isinstance(options.boxes, Mapping):
            return GivenBoxes(options.boxes, threshold=options.detector_threshold or 0.0)
        if options.boxes is not None and str(options.boxes) != WHOLE_IMAGE:
            return load_boxes(options.boxes, threshold=options.detector_threshold or 0.0)
        device = options.detector_device or options.device
        try:
            return make_detector(
                options.boxes or options.detector,
                threshold=options.detector_threshold,
                device=device,
                threads=options.threads,
            )
        except InputError as error:
            if options.detector_device is not None or device == "cpu":
                raise
            raise InputError(
                f"the detector, which runs in onnxruntime, cannot be opened on the device of the estimator: {error}; "
                f"detector_device (--detector-device) gives it another, such as cpu"
            ) from error

    @cached_property
    def made_of(self) -> dict[str, Any]:
        """What the results depend on, for the journals."""
        return ingredients(self.options, self.finder)

    def _require_same(self, sources: Sequence[str]) -> None:
        """InputError, before any work, if what is to be resumed was made of something else."""
        for path in [journal_path(self.options.out, source) for source in _grouped(sources) if self.options.resume]:
            if (header := read_header(path)) is not None:
                require_same(header["made_of"], self.made_of, path)

    def _journal(self, source: str | list[str]) -> Journal | None:
        """That of a source which can be read again; None for streams and cameras, and for what is not there."""
        film = None if _is_photos(source) else Path(str(source))
        if film is not None and not film.is_file():
            if self.options.resume and ("://" in str(film) or str(source).isdecimal()):
                logger.warning("%s cannot be read again: it is begun anew", source_name(source))
            return None
        return Journal(
            journal_path(self.options.out, source),
            self.made_of,
            self.estimator.skeleton,
            film=film,
            resume=self.options.resume,
        )

    def _pipeline(self, kind: Kind, seconds_between: float) -> Pipeline:
        tracker, smoother = None, None
        if self.options.follows(kind):
            from gtpt.tracking.tracker import Tracker

            tracker = Tracker(self.estimator.skeleton, memory_s=max(1.0, 3 * seconds_between))
        if self.options.smooth:
            from gtpt.tracking.smoother import Smoother

            smoother = Smoother(memory_s=max(0.5, 3 * seconds_between))
        return Pipeline(
            self.estimator,
            self.finder,
            tracker=tracker,
            smoother=smoother,
            detect_every=self.options.detect_every,
            frames_at_once=1 if kind in ("stream", "camera") else 8,
            refine=isinstance(self.finder, WholeImage),
            min_score=self.options.min_score,
        )

    def _work(self, source: str | list[str], folder: OutputFolder, summary: Summary) -> None:
        with self._journal(source) or nullcontext() as journal:
            if journal is not None and (done := journal.done) is not None:
                if (files := folder.restore(done)) is not None:
                    name, frames = source_name(source), done.frames
                    summary.sources.append(SourceSummary(name, frames, done.people, frames, files))
                    summary.add_skipped(Skipped(done.skipped, [(name, reason) for name, reason in done.reasons]))
                    return
                logger.warning("%s: its results are not as they were left: it is begun anew", source_name(source))
                journal.begin_anew()
            self._predict(source, folder, summary, journal)

    def _predict(self, source: str | list[str], folder: OutputFolder, summary: Summary, journal: Journal | None) -> None:
        options = self.options
        with of_the_source():
            opened = open_source(
                source,
                stride=options.stride,
                start=options.start,
                end=options.end,
                known=() if journal is None else journal,
            )
        with opened:
            outputs = SourceOutputs(folder, options, opened, source, self.estimator, journal)
            summary.sources.append(outputs.summary)
            pipeline = self._pipeline(opened.kind, options.stride / (opened.fps or 30))
            try:
                with outputs:
                    results = pipeline(self._frames(opened, journal), journal)
                    for result in show_progress(results, opened, options.quiet):
                        outputs.add(result, self._image_id(result.frame))
                if journal is not None and opened.kind == "video":
                    journal.finish(outputs.done())
            finally:
                outputs.summary.resumed = 0 if journal is None else journal.recalled
                summary.add_skipped(opened.skipped)

    def _frames(self, opened: Source, journal: Journal | None) -> Iterator[Frame]:
        """Frames whose boxes are known, where boxes are given; the others are skipped."""
        while True:
            said = opened.skipped.count
            with of_the_source():
                frame = next(opened, None)
            if frame is None:
                return
            if isinstance(self.finder, GivenBoxes):
                try:
                    self.finder.find(frame.key)
                except AnnotationError as error:
                    opened.skipped.add(frame.key, str(error))
                    continue
            if journal is not None and opened.skipped.count > said:
                journal.needs_reading(frame)
            yield frame

    def _image_id(self, frame: Frame) -> int | str | None:
        """What the file of given boxes calls an image, so that results can be compared with it."""
        return self.finder.image_id(frame.key) if isinstance(self.finder, GivenBoxes) else None


def _with_options_of(
    options: Callable[P, Options],
) -> Callable[[Callable[..., Summary]], Callable[Concatenate[Sources, P], Summary]]:
    """Gives a function the parameters of `Options`, for type checkers, editors and `help`: there is no second list."""

    def decorate(function: Callable[..., Summary]) -> Callable[Concatenate[Sources, P], Summary]:
        own, more = (inspect.signature(f).parameters.values() for f in (function, options))
        parameters = [p for p in own if p.kind is p.POSITIONAL_OR_KEYWORD] + list(more)
        function.__signature__ = inspect.signature(function).replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return decorate


@_with_options_of(Options)
def predict(sources: Sources, *out: Any, **options: Any) -> Summary:
    """Find people and their keypoints: photos, folders, videos, streams and cameras in; pictures and keypoint files out.

    The same as `gtpt predict`, with options of the same names. Use `Pipeline` for the poses themselves instead of files.

        summary = gtpt.predict("video.mp4", "out", boxes="boxes.csv", smooth=True)
        summary.sources[0].files                        # ["out/video.jsonl", "out/video_pose.mp4"]

    Args:
        sources: one or several: photos, folders of photos, videos, URLs, or the number of a camera.
        out: folder for the results.
        options: the other attributes of `gtpt.prediction.options.Options`, which says what each does.

    Returns:
        What was written and what was skipped. A source that cannot be used is skipped, and Ctrl-C ends the call with
        valid files; neither raises.

    Raises:
        TypeError: an unknown option.
        GtptError, OSError: options, weights or an output folder that cannot work.
    """
    names = [sources] if isinstance(sources, (str, Path, int)) else sources
    for name in names if isinstance(names, (list, tuple)) else [names]:
        if not isinstance(name, (str, Path, int)) or isinstance(name, bool):
            raise InputError(
                f"sources are paths, URLs or camera numbers, got {type(name).__name__}: people in arrays are found by "
                f"gtpt.find, and frames by frames by gtpt.Pipeline"
            )
    return Runner(Options(*out, **options)).run([str(name) for name in names])


def _grouped(sources: Sequence[str]) -> Iterator[str | list[str]]:
    """All photos given one by one form a single source; the rest comes one at a time."""
    photos = [s for s in sources if Path(s).suffix.lower() in IMAGE_SUFFIXES and Path(s).is_file() and not is_animation(s)]
    if photos:
        yield photos
    known = set(photos)
    yield from (s for s in sources if s not in known)


def _files_read(sources: Sequence[str], options: Options) -> Iterator[Path]:
    """Every file that a call reads, or may read: sources, what lies in their folders, boxes, networks."""
    settings = (options.boxes, options.weights, options.detector)
    for path in map(Path, (*sources, *(setting for setting in settings if isinstance(setting, (str, Path))))):
        if path.is_dir():
            yield from path.iterdir()
        elif path.is_file():
            yield path


def _is_photos(source: str | list[str]) -> bool:
    return isinstance(source, list) or Path(source).is_dir()


def _is_there(source: str) -> bool:
    """A stream or a camera may be; a file or folder is or is not."""
    return "://" in source or source.isdecimal() or Path(source).exists()
