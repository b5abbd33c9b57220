"""From frames to people over time: detect, pose, track, smooth. One generator, constant memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gtpt.core.calibration import VISIBLE
from gtpt.core.errors import InputError
from gtpt.core.poses import Poses
from gtpt.detect import Detections, Detector, GivenBoxes, as_detector
from gtpt.estimator import PoseEstimator, distinct, inside, least_score
from gtpt.io.arrays import as_rgb, is_pillow
from gtpt.io.sources import Frame

logger = logging.getLogger(__name__)
ARRAYS_FPS = 30  # of plain arrays, which have no time


class _Update(Protocol):
    def update(self, poses: Poses, time: float) -> Poses: ...


class Memory(Protocol):
    """What the networks found in frames that they have seen before."""

    def recall(self, frame: Frame) -> tuple[Poses, np.ndarray] | None:
        """People without ids, and the scores (N,) of their boxes; None for a frame that is to be looked at."""

    def keep(self, frames: Sequence[Frame], estimated: Sequence[tuple[Poses, np.ndarray]]) -> None:
        """Note what was found in frames that were looked at together."""


@dataclass(frozen=True, eq=False)
class Result:
    """One frame and the people in it."""

    frame: Frame
    poses: Poses


class Pipeline:
    """People of every frame of a source.

        pipeline = Pipeline(PoseEstimator(), make_detector("yolox-nano"), tracker=Tracker(skeleton))
        for result in pipeline(open_source("video.mp4")):
            print(result.frame.time, result.poses.ids)

    Args:
        estimator: boxes to poses.
        detector: images to boxes: a `gtpt.detect.Detector`, or any function that `as_detector` takes. Boxes entirely
            outside their image are dropped, with a warning at the first: no pose can come from them.
        tracker: gives ids; None leaves them at -1.
        smoother: calms keypoints over time; needs a tracker.
        detect_every: run the detector on every n-th frame only; in between, each person's box comes from the pose
            before. Newcomers wait for the next detection.
        refine: estimate twice, the second time in the box that the first pose spans: for detectors that give no tight
            box, such as the whole image.
        frames_at_once: frames whose people are detected and estimated together (1 if `detect_every` is more than 1). Live
            pictures want 1: results would come late, and time would stand still between the pictures of one batch.
        min_score: people with a lower score (that of the detector times the mean of the keypoints) are dropped; None takes
            `gtpt.estimator.least_score`, 0.25 for people whom a detector finds.

    Raises:
        ValueError: settings that do not go together.
    """

    def __init__(
        self,
        estimator: PoseEstimator,
        detector: Detector | Callable[[Sequence[np.ndarray]], Sequence[Any]],
        *,
        tracker: _Update | None = None,
        smoother: _Update | None = None,
        detect_every: int = 1,
        refine: bool = False,
        frames_at_once: int = 8,
        min_score: float | None = None,
    ):
        if detect_every < 1 or frames_at_once < 1:
            raise InputError(f"detect_every and frames_at_once must be at least 1, got {detect_every} and {frames_at_once}")
        if smoother is not None and tracker is None:
            raise InputError("smoothing needs to know who is who: give a tracker too")
        if min_score is not None and not 0 <= min_score <= 1:
            raise InputError(f"min_score must be in [0, 1], got {min_score}")
        self.estimator, self.detector = estimator, as_detector(detector)
        self.tracker, self.smoother = tracker, smoother
        self.detect_every, self.refine = detect_every, refine
        self.min_score = least_score(estimator, self.detector) if min_score is None else min_score
        self.frames_at_once = frames_at_once if detect_every == 1 else 1
        self._warned = False

    def __call__(self, frames: Iterable[Frame | np.ndarray], memory: Memory | None = None) -> Iterator[Result]:
        """Results in the order of the frames, as soon as they are known.

        Args:
            frames: a `gtpt.open_source`, or any `Frame`s; plain RGB uint8 arrays (H, W, 3) count as 30 frames per second.
            memory: what an earlier run found, which is taken in place of the networks, and where all else is noted.
        """
        if isinstance(frames, (str, Path)) or is_pillow(frames) or getattr(frames, "ndim", 4) < 4:
            raise InputError(
                "a path or one image is no sequence of frames: give gtpt.open_source(path), or a list of arrays"
            )
        stream, number = map(_as_frame, count(), frames), 0
        last: Detections | None = None  # people of the frame before
        looked = False
        while chunk := list(islice(stream, self.frames_at_once)):
            stale = looked and self.detect_every > 1  # boxes came from a frame before that is another one now
            known = [memory.recall(frame) if memory and not stale else None for frame in chunk]
            new = [frame for frame, found in zip(chunk, known, strict=True) if found is None]
            fresh = iter(self._look(new, None if number % self.detect_every == 0 else last, memory))
            estimated = [found or next(fresh) for found in known]
            looked = looked or bool(new)
            number += len(chunk)
            for frame, (poses, _) in zip(chunk, estimated, strict=True):
                yield Result(frame, self._follow(poses, frame.time))
            last = Detections(boxes_from_poses(estimated[-1][0]), estimated[-1][1])

    def _look(
        self, frames: list[Frame], before: Detections | None, memory: Memory | None
    ) -> list[tuple[Poses, np.ndarray]]:
        """What is in these frames: people of the frame before, if they are given, else those that the detector finds."""
        if not frames:
            return []
        people = self._detect(frames) if before is None else [before]
        people = [self._inside(found, frame) for found, frame in zip(people, frames, strict=True)]
        estimated = self._estimate([frame.image for frame in frames], people)
        if memory:
            memory.keep(frames, estimated)
        return estimated

    def _detect(self, frames: list[Frame]) -> list[Detections]:
        if isinstance(self.detector, GivenBoxes):
            return self.detector.of_frames(frames)
        found: list[Detections] = self.detector([frame.image for frame in frames], [frame.key for frame in frames])
        return found

    def _inside(self, found: Detections, frame: Frame) -> Detections:
        """Without boxes that lie outside the image, whether detected, given, or carried over from a larger photo."""
        usable = inside(found.boxes, frame.image)
        if usable.all():
            return found
        level, self._warned = logging.INFO if self._warned else logging.WARNING, True
        logger.log(
            level, "%s: %d of %d boxes lie outside the image or in its first pixel", frame.key, (~usable).sum(), len(found)
        )
        return found[usable]

    def _estimate(self, images: list[np.ndarray], people: list[Detections]) -> list[tuple[Poses, np.ndarray]]:
        """Poses of each image, and what the detector thought of these people: it stays theirs until it looks again."""
        scores = [d.scores for d in people]
        estimated = self.estimator(images, [d.boxes for d in people], scores)
        if self.refine:
            estimated = self.estimator(images, [boxes_from_poses(p) for p in estimated], scores)
        given = isinstance(self.detector, GivenBoxes)  # who has boxes of their own wants a pose for each
        kept = [(p.scores >= self.min_score) & (given | distinct(p)) for p in estimated]
        return [(p[keep], s[keep]) for p, s, keep in zip(estimated, scores, kept, strict=True)]

    def _follow(self, poses: Poses, time: float) -> Poses:
        if self.tracker is not None:
            poses = self.tracker.update(poses, time)
        return self.smoother.update(poses, time) if self.smoother is not None else poses


def _as_frame(index: int, frame: Frame | np.ndarray) -> Frame:
    return frame if isinstance(frame, Frame) else Frame(as_rgb(frame, f"frame {index}"), index, index / ARRAYS_FPS)


def boxes_from_poses(poses: Poses, margin: float = 0.15) -> np.ndarray:
    """Boxes that poses span, (N, 4) float32 x1, y1, x2, y2 clipped to the image.

    Args:
        poses: of one image. Keypoints with a calibrated score below 0.3 do not count, and a person with fewer than four
            that do keeps the box it was estimated in.
        margin: added on each side, as a share of the box: joints lie inside the body's outline.
    """
    width, height = poses.image_size
    sure = poses.keypoint_scores >= VISIBLE
    low = np.where(sure[..., None], poses.keypoints, np.inf).min(axis=1, initial=np.inf)
    high = np.where(sure[..., None], poses.keypoints, -np.inf).max(axis=1, initial=-np.inf)
    known = sure.sum(axis=1) >= 4
    low, high = np.where(known[:, None], low, 0), np.where(known[:, None], high, 1)
    pad = (high - low) * margin
    spanned = np.concatenate([low - pad, high + pad], axis=1)
    boxes = np.where(known[:, None], spanned, poses.boxes)
    clipped = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
    usable = np.all(clipped[:, 2:] - clipped[:, :2] >= 2, axis=1, keepdims=True)
    return np.where(usable, clipped, poses.boxes)
