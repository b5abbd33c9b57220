"""Who is who from frame to frame: keypoints and boxes matched to where each person should be by now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gtpt.core.errors import InputError
from gtpt.core.extras import require
from gtpt.core.poses import NO_ID, Poses
from gtpt.core.skeleton import Skeleton

# Chosen with benchmarks/tracking.py, whose videos with other seeds then measured them. Lengths are in units of the person's
# size, the root of the box area; "per second" is for each second that the person was away.
OKS_SHARE = 0.7  # of the similarity; the rest is nearness: keypoints tell apart people who cross, nearness bears wild poses
OKS_SLACK, OKS_SLACK_PER_S = 2.0, 2.0  # how far off a prediction may be, in OKS sigmas
NEAR, NEAR_PER_S = 0.3, 2.0  # likewise for the centre of the box; unlike IoU it still says something without overlap
NEW, FAMILIAR = 0.7, 3  # share for who was seen once, and how often one is seen to count fully: false people come once
FADING_PER_S = 0.3  # share of the similarity: who is here goes before who was
MIN_SIMILARITY = 0.15
MIN_SIGMA = 0.06  # the sigmas of eyes and nose ask for more than a prediction can hold
VELOCITY_MEMORY = 0.2  # seconds over which velocity is averaged


@dataclass
class _Tracks:
    """T people who are or recently were in the picture, ordered by id."""

    ids: np.ndarray  # (T,) int64
    boxes: np.ndarray  # (T, 4) when last seen
    keypoints: np.ndarray  # (T, K, 2) when last seen
    weights: np.ndarray  # (T, K) keypoint scores when last seen
    velocity: np.ndarray  # (T, 2) of the whole person, pixels per second
    seen: np.ndarray  # (T,) seconds
    times: np.ndarray  # (T,) how often seen

    def pick(self, index: np.ndarray) -> _Tracks:
        return _Tracks(**{name: array[index] for name, array in vars(self).items()})

    def extend(self, other: _Tracks) -> _Tracks:
        return _Tracks(**{name: np.concatenate([array, getattr(other, name)]) for name, array in vars(self).items()})


class Tracker:
    """Give people ids that they keep; one tracker per video or camera.

    Every person is expected where their velocity takes them; people are then matched to these places so that the total
    similarity (OKS of the keypoints, nearness of the boxes) is greatest. Ids start from 1, are unique in a frame and are
    never used again. New people get theirs from left to right. The order of the people in a frame does not matter.

    Args:
        skeleton: of the poses that will come.
        memory_s: a person who is away for less than this many seconds gets the id back. It must be longer than the time
            from frame to frame, or nobody is recognised.

    Raises:
        ValueError: memory_s is not positive.
        ImportError: without the `video` extra.
    """

    def __init__(self, skeleton: Skeleton, *, memory_s: float = 1.0) -> None:
        if not memory_s > 0:
            raise InputError(f"memory_s must be positive seconds, got {memory_s}")
        self._assign = require("scipy.optimize", "video").linear_sum_assignment
        self.skeleton = skeleton
        self.memory_s = memory_s
        self._sigmas = np.maximum(skeleton.sigmas, MIN_SIGMA)
        self._next_id = 1
        self._time = -np.inf
        self._tracks = self._observe(Poses.empty((1, 1), skeleton), 0.0)

    def update(self, poses: Poses, time: float) -> Poses:
        """Fill in the ids of the next frame; nothing else changes, nor does the order.

        Call it for frames without people too: then `time` goes on and those who left are forgotten.

        Args:
            poses: people of one frame; a keypoint that is not finite or scored 0 is ignored.
            time: of the frame in seconds, later than the one before.

        Raises:
            ValueError: another skeleton, or a time that does not increase.
        """
        if poses.skeleton is not self.skeleton and poses.skeleton != self.skeleton:  # comparing all of it is slow
            raise InputError(f"the tracker follows {self.skeleton.name}, got poses of {poses.skeleton.name}")
        if not time > self._time:
            raise InputError(f"time must increase from frame to frame, got {time} s after {self._time} s")
        self._time = time
        tracks = self._tracks.pick(time - self._tracks.seen < self.memory_s)
        # In a fixed order ties are settled alike whatever the order of the input.
        order = np.lexsort(np.hstack([poses.boxes, poses.keypoints.reshape(len(poses), 2 * len(self.skeleton))]).T[::-1])
        people = self._observe(poses[order], time)
        known, found = self._match(tracks, people, time)
        people.ids[found] = tracks.ids[known]
        people.times[found] += tracks.times[known]
        people.velocity[found] = self._velocity(tracks.pick(known), people.pick(found))
        new = np.flatnonzero(people.ids == NO_ID)
        people.ids[new] = self._next_id + np.arange(len(new))
        self._next_id += len(new)
        away = np.setdiff1d(np.arange(len(tracks.ids)), known)
        tracks = tracks.pick(away).extend(people)
        self._tracks = tracks.pick(np.argsort(tracks.ids))
        ids = np.empty(len(poses), np.int64)
        ids[order] = people.ids
        return poses.with_(ids=ids)

    def _observe(self, poses: Poses, time: float) -> _Tracks:
        """People as new tracks that stand still and have no id yet."""
        finite = np.isfinite(poses.keypoints).all(axis=2)
        return _Tracks(
            ids=np.full(len(poses), NO_ID),
            boxes=np.nan_to_num(poses.boxes, posinf=0, neginf=0).astype(np.float64),
            keypoints=np.where(finite[..., None], poses.keypoints, 0).astype(np.float64),
            weights=np.where(finite, np.nan_to_num(poses.keypoint_scores), 0).astype(np.float64),
            velocity=np.zeros((len(poses), 2)),
            seen=np.full(len(poses), time, np.float64),
            times=np.ones(len(poses)),
        )

    def _match(self, tracks: _Tracks, people: _Tracks, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Indices of tracks and of the people who they are."""
        away = (time - tracks.seen)[:, None]  # (T, 1) seconds
        shift = tracks.velocity * away
        size = np.sqrt(np.sqrt(_areas(tracks.boxes)[:, None] * _areas(people.boxes)))  # (T, N) pixels
        size = np.maximum(size, 1)
        reach = 2 * self._sigmas * ((OKS_SLACK + OKS_SLACK_PER_S * away) * size)[..., None]  # (T, N, K) pixels
        likeness = _gauss((tracks.keypoints + shift[:, None])[:, None] - people.keypoints, reach)
        weights = tracks.weights[:, None] * people.weights
        oks = (likeness * weights).sum(axis=-1) / np.maximum(weights.sum(axis=-1), 1e-9)
        nearness = _gauss(
            (_centers(tracks.boxes) + shift)[:, None] - _centers(people.boxes), (NEAR + NEAR_PER_S * away) * size
        )
        similarity = OKS_SHARE * oks + (1 - OKS_SHARE) * nearness
        similarity[similarity < MIN_SIMILARITY] = 0
        known_well = np.interp(tracks.times, [1, FAMILIAR], [NEW, 1])[:, None]
        known, found = self._assign(similarity * known_well * np.maximum(1 - FADING_PER_S * away, 0.1), maximize=True)
        real = similarity[known, found] > 0
        return known[real], found[real]

    @staticmethod
    def _velocity(before: _Tracks, now: _Tracks) -> np.ndarray:
        """(T, 2) mean motion of the keypoints, averaged over time; they are many, so it is calmer than that of the box."""
        elapsed = (now.seen - before.seen)[:, None]
        weights = (before.weights * now.weights)[..., None]
        motion = ((now.keypoints - before.keypoints) * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
        velocity: np.ndarray = before.velocity + (motion / elapsed - before.velocity) * (
            1 - np.exp(-elapsed / VELOCITY_MEMORY)
        )
        return velocity


def _gauss(offset: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """1 for an offset (..., 2) of nothing, falling to 0."""
    return np.asarray(np.exp(-(offset**2).sum(axis=-1) / (2 * sigma**2)))


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.asarray(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=-1))


def _centers(boxes: np.ndarray) -> np.ndarray:
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2)
