"""The work of `gtpt predict`: sources one after another, results written to files as they come."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
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
from gtpt.prediction.sources import GONE, Sources, are_photos, as_names, frames_of, grouped, is_there, of_the_source
from gtpt.viz import draw_poses
from gtpt.viz.window import Window

logger = logging.getLogger(__name__)

P = ParamSpec("P")


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
        options = self.options
        if not options.follows("image") and any(map(are_photos, grouped(sources))):
            for name, used in (("detect_every", options.detect_every > 1), ("smooth", options.smooth)):
                if used:
                    raise InputError(
                        f"{name} goes from one frame to the next, but photos and folders need not follow each other: say "
                        f"with track (--track) that they do, or leave out {name} (--{name.replace('_', '-')})"
                    )
        if not any(map(is_there, sources)):  # said before anything is downloaded
            return Summary(skipped=[(name, GONE) for name in sources])
        with ExitStack() as stack:
            self.window = stack.enter_context(Window()) if options.show else None
            return self._run(sources)

    def _run(self, sources: Sequence[str]) -> Summary:
        folder = OutputFolder(self.options.out, _files_read(sources, self.options))
        self.estimator, self.finder  # noqa: B018  # opened now, so that their errors come before any work
        summary = Summary()
        if isinstance(self.finder, GivenBoxes):
            summary.skipped.extend(self.finder.skipped)
        try:
            for source in grouped(sources):
                if self.window is not None and not self.window.open:
                    break
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
            frames_at_once=1 if kind in ("stream", "camera") or self.options.show else 8,
            refine=isinstance(self.finder, WholeImage),
            min_score=self.options.min_score,
        )

    def _work(self, source: str | list[str], folder: OutputFolder, summary: Summary) -> None:
        options = self.options
        with of_the_source():
            opened = open_source(source, stride=options.stride, start=options.start, end=options.end)
        with opened:
            outputs = SourceOutputs(folder, options, opened, source, self.estimator)
            summary.sources.append(outputs.summary)
            pipeline = self._pipeline(opened.kind, options.stride / (opened.fps or 30))
            try:
                with outputs:
                    for result in show_progress(pipeline(self._frames(opened)), opened, options.quiet, _people):
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


def _files_read(sources: Sequence[str], options: Options) -> Iterator[Path]:
    """Every file that a call reads, or may read: sources, what lies in their folders, boxes, networks."""
    settings = (options.boxes, options.weights, options.detector)
    for path in map(Path, (*sources, *(setting for setting in settings if isinstance(setting, (str, Path))))):
        if path.is_dir():
            yield from path.iterdir()
        elif path.is_file():
            yield path
