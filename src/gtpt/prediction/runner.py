"""The work of `gtpt predict`: sources one after another, results written to files as they come."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import numpy as np

from gtpt.core.errors import AnnotationError, GtptError, InputError
from gtpt.detect import WHOLE_IMAGE, Detector, GivenBoxes, WholeImage, as_detector, load_boxes, make_detector
from gtpt.estimator import PoseEstimator
from gtpt.io.sources import Frame, Kind, Source, open_source
from gtpt.pipeline import Pipeline, Result
from gtpt.prediction.options import MOVING, Options
from gtpt.prediction.outputs import OutputFolder, SourceOutputs, Summary, source_name
from gtpt.prediction.progress import show_progress
from gtpt.prediction.shards import RECORD, ShardWriter, folder_of
from gtpt.prediction.sources import GONE, Sources, are_photos, as_names, frames_of, grouped, is_there, of_the_source
from gtpt.viz import draw_poses
from gtpt.viz.window import Window

logger = logging.getLogger(__name__)

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
        sources = [*sources, *_listed(options.list)]
        groups = list(grouped(sources))
        self._check_photos(any(map(are_photos, groups)))
        if not any(map(is_there, sources)):  # said before anything is downloaded
            return Summary(skipped=[(name, GONE) for name in sources])
        with ExitStack() as stack:
            self.window = stack.enter_context(Window()) if options.show else None
            out = options.out if share is None else folder_of(options.out, share)
            folder = OutputFolder(out, files_read([*sources, *options.files()]))
            self.estimator, self.finder  # noqa: B018  # opened now, so that their errors come before any work
            call = _Call(folder, Summary(share=share))
            if isinstance(self.finder, GivenBoxes):
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

    def results(self, opened: Source) -> Iterator[Result]:
        """The people of a source, frame by frame."""
        return self._pipeline(opened.kind, self.options.stride / (opened.fps or 30))(self._frames(opened))

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
        options, summary = self.options, call.summary
        photos = None if options.share is None else options.share.photos(number)
        with of_the_source():
            opened = open_source(source, stride=options.stride, start=options.start, end=options.end, photos=photos)
        if opened.photos and not opened.frame_count:  # nothing in this share, or nothing that can be read
            summary.add_skipped(opened.skipped)
            return
        with opened:
            outputs = SourceOutputs(call.folder, options, opened, source, self.estimator, number=number, record=call.record)
            summary.sources.append(outputs.summary)
            try:
                with outputs:
                    for result in show_progress(self.results(opened), opened, options.quiet, _people):
                        picture = self._drawn(result)
                        outputs.add(result, picture if options.draw else None, self._image_id(result.frame))
                        title = outputs.summary.name if opened.kind in MOVING else result.frame.name
                        if not self._show(picture, title, wait=opened.kind not in MOVING):
                            break
            finally:
                summary.add_skipped(opened.skipped)

    def _drawn(self, result: Result) -> np.ndarray | None:
        if not (self.options.draw or self.options.show):
            return None
        return draw_poses(result.frame.image, result.poses, threshold=self.options.threshold)

    def _show(self, picture: np.ndarray | None, title: str, *, wait: bool) -> bool:
        """Whether to go on."""
        return self.window is None or picture is None or self.window.show(picture, f"{title} - gtpt", wait=wait)

    def _frames(self, opened: Source) -> Iterator[Frame]:
        """Frames whose boxes are known, where boxes are given; the others are skipped."""
        for frame in frames_of(opened):
            if isinstance(self.finder, GivenBoxes):
                try:
                    self.finder.find(frame.key)
                except AnnotationError as error:
                    opened.skipped.add(frame.key, str(error))
                    continue
            yield frame

    def _image_id(self, frame: Frame) -> int | str | None:
        """What the file of given boxes calls an image, so that results can be compared with it."""
        return self.finder.image_id(frame.key) if isinstance(self.finder, GivenBoxes) else None


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
        if path.is_dir():
            yield from path.iterdir()
        elif path.is_file():
            yield path


def _listed(path: str | Path | None) -> Sequence[str]:
    """The sources that a text file names, one in each line; names are bytes to the system, so any are."""
    if path is None:
        return []
    lines = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    return [os.fsdecode(line) for line in lines if line.strip()]
