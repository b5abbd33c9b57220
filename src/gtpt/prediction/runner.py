"""The work of `gtpt predict`: sources one after another, results written to files as they come."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import numpy as np

from gtpt.core.errors import AnnotationError, GtptError, InputError
from gtpt.detect import WHOLE_IMAGE, Detector, GivenBoxes, WholeImage, as_detector, load_boxes, make_detector
from gtpt.estimator import PoseEstimator
from gtpt.io.sources import IMAGE_SUFFIXES, Frame, Kind, Skipped, Source, open_source
from gtpt.pipeline import Pipeline, Result
from gtpt.prediction.journal import Done, Journal, journal_path, read_header, require_same
from gtpt.prediction.options import MOVING, Options
from gtpt.prediction.outputs import OutputFolder, SourceOutputs, SourceSummary, Summary, pixels, source_name
from gtpt.prediction.progress import show_progress
from gtpt.prediction.shards import RECORD, ShardWriter, folder_of, settings_of
from gtpt.prediction.sources import GONE, Sources, are_photos, as_names, frames_of, grouped, is_there, of_the_source
from gtpt.viz import draw_poses
from gtpt.viz.window import Window

logger = logging.getLogger(__name__)

LIST_BYTES = 1 << 26
P = ParamSpec("P")


@dataclass
class _Call:
    """Where the results of a call go."""

    folder: OutputFolder
    summary: Summary
    record: ShardWriter | None = None  # of a share


class Runner:
    """Works through sources with the same options. Models are opened once, before any source."""

    def __init__(self, options: Options) -> None:
        options.check()
        self.options = options
        self.window: Window | None = None

    def run(self, sources: Sequence[str]) -> Summary:
        """Work through all sources; one that cannot be used is skipped, the others are done.

        What a user can mend (`GtptError`) skips a source. Anything else is a bug, such as one in a detector of the user's
        own, and passes through.

        Raises:
            GtptError, OSError: options, weights or an output folder that cannot work.
        """
        options, share = self.options, self.options.share
        sources = [*sources, *as_names(_listed(options.list))]
        groups = list(grouped(sources))
        self._check_photos(any(map(are_photos, groups)))
        if not any(map(is_there, sources)):  # said before anything is downloaded
            return Summary(skipped=[(name, GONE) for name in sources])
        with ExitStack() as stack:
            self.window = stack.enter_context(Window()) if options.show else None
            out = options.out if share is None else folder_of(options.out, share)
            folder = OutputFolder(out, files_read([*sources, *options.files()]))
            self.estimator, self.finder  # noqa: B018  # opened now, so that their errors come before any work
            self._require_same(groups, folder)
            call = _Call(folder, Summary(share=share))
            if isinstance(self.finder, GivenBoxes):
                self.finder.meant_for(_photos_of(groups))
                call.summary.skipped.extend(self.finder.skipped)
            if share is not None:
                call.record = ShardWriter(folder.path / RECORD)
                stack.enter_context(call.record)
                call.record.begin(options, sources, [source_name(source) for source in groups])
            self._run(groups, call)
        return call.summary

    def _run(self, groups: Sequence[str | list[str]], call: _Call) -> None:
        share = self.options.share
        try:
            for number, source in enumerate(groups):
                if self.window is not None and not self.window.open:
                    return
                if share is None or are_photos(source) or share.has(number):
                    self._try(number, source, call)
            if call.record is not None and (self.window is None or self.window.open):
                call.record.complete(call.summary.skipped)
        except KeyboardInterrupt:
            call.summary.interrupted = True

    def _check_photos(self, photos: bool) -> None:
        """Photos need not follow each other, and those of a share do not."""
        options = self.options
        if photos and not options.follows("image"):
            for name, used in (("detect_every", options.detect_every > 1), ("smooth", options.smooth)):
                if used:
                    raise InputError(
                        f"{name} goes from one frame to the next, but photos and folders need not follow each other: say "
                        f"with track (--track) that they do, or leave out {name} (--{name.replace('_', '-')})"
                    )
        if photos and options.share and options.follows("image"):
            raise InputError(
                "track (--track) follows people from one photo to the next, but a shard has only every n-th photo: give "
                "each call whole folders instead of a shard, or leave out track"
            )

    def _try(self, number: int, source: str | list[str], call: _Call) -> None:
        try:
            self._work(number, source, call)
        except GtptError as error:  # also a full disk, or a stream that changes its size
            logger.info("skipped %s", source_name(source), exc_info=True)
            call.summary.skipped.append((source_name(source), str(error)))

    @cached_property
    def estimator(self) -> PoseEstimator:
        options = self.options
        return PoseEstimator(
            options.weights,
            engine=options.engine,
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

    def results(self, opened: Source, journal: Journal | None = None) -> Iterator[Result]:
        """The people of a source, frame by frame; a journal knows those that an earlier call has found."""
        pipeline = self._pipeline(opened.kind, self.options.stride / (opened.fps or 30))
        return pipeline(self._frames(opened, journal), journal)

    def _require_same(self, groups: Sequence[str | list[str]], folder: OutputFolder) -> None:
        """InputError, before any work, if what is to be resumed was made of something else."""
        for path in [journal_path(folder.path, source) for source in groups if self.options.resume]:
            if (header := read_header(path)) is not None:
                require_same(header["made_of"], self._made_of, path)

    @cached_property
    def _made_of(self) -> dict[str, Any]:
        return {"gtpt": version("gtpt"), **settings_of(self.options)}

    def _journal(self, source: str | list[str], folder: OutputFolder) -> Journal | None:
        """That of a source which can be read again; None for streams and cameras, and for what is not there."""
        film = None if are_photos(source) else Path(str(source))
        if film is not None and not os.path.isfile(film):
            if self.options.resume and is_there(str(source)):
                logger.warning("%s cannot be read again: it is begun anew", source_name(source))
            return None
        path, skeleton = journal_path(folder.path, source), self.estimator.skeleton
        return Journal(path, self._made_of, skeleton, film=film, resume=self.options.resume)

    def _pipeline(self, kind: Kind, seconds_between: float) -> Pipeline:
        tracker, smoother = None, None
        moves = kind in MOVING or self.options.follows(kind)
        if self.options.follows(kind):
            from gtpt.tracking.tracker import Tracker

            tracker = Tracker(self.estimator.skeleton, memory_s=max(1.0, 3 * seconds_between))
        if self.options.smooth and moves:
            from gtpt.tracking.smoother import Smoother

            smoother = Smoother(memory_s=max(0.5, 3 * seconds_between))
        return Pipeline(
            self.estimator,
            self.finder,
            tracker=tracker,
            smoother=smoother,
            detect_every=self.options.detect_every if moves else 1,
            frames_at_once=1 if kind in ("stream", "camera") or self.options.show else 8,
            refine=isinstance(self.finder, WholeImage),
            min_score=self.options.min_score,
        )

    def _work(self, number: int, source: str | list[str], call: _Call) -> None:
        with self._journal(source, call.folder) or nullcontext() as journal:
            if journal is None or journal.done is None or not self._is_done(source, journal, journal.done, call):
                self._predict(number, source, call, journal)

    def _is_done(self, source: str | list[str], journal: Journal, done: Done, call: _Call) -> bool:
        """Whether an earlier call has done the source, and its files are there: then that is said again."""
        name, files = source_name(source), call.folder.restore(done)
        if files is None:
            logger.warning("%s: its results are not as they were left: it is begun anew", name)
            journal.begin_anew()
            return False
        call.summary.sources.append(SourceSummary(name, done.frames, done.people, done.frames, files))
        call.summary.add_skipped(Skipped(done.skipped, [(item, reason) for item, reason in done.reasons]))
        return True

    def _predict(self, number: int, source: str | list[str], call: _Call, journal: Journal | None) -> None:
        options, summary = self.options, call.summary
        selection: dict[str, Any] = {"stride": options.stride, "start": options.start, "end": options.end}
        photos = None if options.share is None else options.share.photos(number)
        with of_the_source():
            opened = open_source(source, **selection, photos=photos, known=() if journal is None else journal)
        if opened.photos and not opened.frame_count:  # nothing in this share, or nothing that can be read
            summary.add_skipped(opened.skipped)
            return
        with opened:
            where: dict[str, Any] = {"number": number, "record": call.record, "journal": journal}
            outputs = SourceOutputs(call.folder, options, opened, source, self.estimator, **where)
            summary.sources.append(outputs.summary)
            try:
                with outputs:
                    results = show_progress(self.results(opened, journal), opened, options.quiet, _people)
                    whole = self._add(results, opened, outputs)
                if whole and journal is not None and opened.kind == "video" and call.record is None:
                    journal.finish(outputs.done())
            finally:
                outputs.summary.resumed = 0 if journal is None else journal.recalled
                summary.add_skipped(opened.skipped)

    def _add(self, results: Iterator[Result], opened: Source, outputs: SourceOutputs) -> bool:
        """Whether all results came, and nobody closed the window."""
        for result in results:
            picture = self._drawn(result)
            outputs.add(result, picture if self.options.draw else None, self._image_id(result.frame))
            title = outputs.summary.name if opened.kind in MOVING else result.frame.name
            if not self._show(picture, title, wait=opened.kind not in MOVING):
                return False
        return True

    def _drawn(self, result: Result) -> Callable[[], np.ndarray]:
        """Draws a picture when it is asked for, once."""
        return cache(lambda: draw_poses(pixels(result.frame), result.poses, threshold=self.options.threshold))

    def _show(self, picture: Callable[[], np.ndarray], title: str, *, wait: bool) -> bool:
        """Whether to go on."""
        return self.window is None or self.window.show(picture(), f"{title} - gtpt", wait=wait)

    def _frames(self, opened: Source, journal: Journal | None) -> Iterator[Frame]:
        """Frames whose boxes are known, where boxes are given; the others are skipped."""
        said = opened.skipped.count
        for frame in frames_of(opened):
            if journal is not None and opened.skipped.count > said:
                journal.needs_reading(frame)
            said = opened.skipped.count
            if isinstance(self.finder, GivenBoxes):
                try:
                    self.finder.find(frame.key)
                except AnnotationError as error:
                    opened.skipped.add(frame.key, str(error))
                    said = opened.skipped.count
                    continue
            yield frame

    def _image_id(self, frame: Frame) -> int | str | None:
        """What the file of given boxes calls an image, so that results can be compared with it."""
        return self.finder.image_id(frame.key) if isinstance(self.finder, GivenBoxes) else None


def _photos_of(groups: Sequence[str | list[str]]) -> Iterator[str]:
    for source in filter(are_photos, groups):
        files = source if isinstance(source, list) else Path(source).iterdir()
        yield from (Path(file).as_posix() for file in files if Path(file).suffix.lower() in IMAGE_SUFFIXES)


def _people(result: Result) -> int:
    return len(result.poses)


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
    return Runner(Options(*out, **options)).run(as_names(sources))


def files_read(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Every file that is read, or may be: those given, and what lies in the folders given."""
    for path in map(Path, paths):
        if os.path.isdir(path):
            yield from path.iterdir()
        elif os.path.isfile(path):
            yield path


def _listed(path: str | Path | None) -> Sequence[str]:
    """The sources that a text file names, one in each line; names are bytes to the system, so any are."""
    if path is None:
        return []
    with open(path, "rb") as file:
        data = file.read(LIST_BYTES + 1)
    if len(data) > LIST_BYTES:
        raise InputError(f"{path} has more than {LIST_BYTES >> 20} MB: this is no list of sources (list)")
    lines = data.removeprefix(b"\xef\xbb\xbf").splitlines()
    return [os.fsdecode(line) for line in lines if line.strip()]
