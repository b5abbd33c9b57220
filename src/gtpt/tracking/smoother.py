"""Calm keypoints: a One-Euro filter (Casiez et al., CHI 2012) for every joint of every tracked person."""

from __future__ import annotations

import numpy as np

from gtpt.core.errors import InputError
from gtpt.core.poses import NO_ID, Poses

SPEED_CUTOFF = 1.0  # Hz, of the low-pass that estimates speeds; the paper's value
CONFIDENT = 0.5  # keypoint scores from here on are trusted fully, lower ones in proportion
LEAST_TRUST = 0.1
COLUMNS = (2, 4, 6, 7)  # where the state of a joint splits: raw x y | smooth x y | velocity x y | trust | time seen


class Smoother:
    """One-Euro filter: strong where a joint rests, where jitter shows, and weak where it moves, where lag would show.

    A joint passes a low-pass of `min_cutoff + beta * speed**2` Hz. Speeds are in person sizes (longer side of the box) per
    second, so the parameters mean the same for near and far people, and real times are used, so also for all frame rates.
    Joints with a low score are trusted less and so smoothed more. The paper's cutoff grows with the speed itself; squared,
    the small speed that noise feigns hardly counts. One smoother per video or camera, behind one tracker.

    Args:
        min_cutoff: Hz; lower is calmer at rest, and slow motion lags more.
        beta: Hz per squared speed; higher lags less.
        memory_s: seconds after which someone may have moved anywhere: smoothing starts anew, and who is gone is forgotten.
            It must be longer than the time from frame to frame, or nothing is smoothed.

    Raises:
        ValueError: a parameter that is not positive (beta may be 0).
    """

    def __init__(self, *, min_cutoff: float = 0.5, beta: float = 12.0, memory_s: float = 0.5) -> None:
        if not min_cutoff > 0 or not beta >= 0:
            raise InputError(f"min_cutoff must be positive and beta not negative, got {min_cutoff} and {beta}")
        if not memory_s > 0:
            raise InputError(f"memory_s must be positive seconds, got {memory_s}")
        self.min_cutoff = min_cutoff
        self.beta = beta
        self.memory_s = memory_s
        self._time = -np.inf
        self._ids = np.empty(0, np.int64)
        self._state = np.empty((0, 0, 8))  # (T, K, 8), columns as above

    def update(self, poses: Poses, time: float) -> Poses:
        """Smooth the keypoints of the next frame; nothing else changes.

        A keypoint that is not finite stays so, and its joint starts anew when it comes back.

        Args:
            poses: people of one frame with their ids, as a `Tracker` gives them.
            time: of the frame in seconds, later than the one before.

        Raises:
            ValueError: people without ids or with the same one, or a time that does not increase.
        """
        if (poses.ids == NO_ID).any() or len(np.unique(poses.ids)) < len(poses):
            raise InputError(f"smoothing needs a different id for everyone (see gtpt.Tracker), got {poses.ids.tolist()}")
        if not time > self._time:
            raise InputError(f"time must increase from frame to frame, got {time} s after {self._time} s")
        if len(self._ids) and self._state.shape[1] != len(poses.skeleton):
            raise InputError(
                f"a smoother is for one skeleton: had {self._state.shape[1]} joints, got {len(poses.skeleton)}"
            )
        self._time = time
        state = self._filter(poses, self._before(poses, time), time)
        away = ~np.isin(self._ids, poses.ids)
        self._ids = np.concatenate([self._ids[away], poses.ids])
        self._state = np.concatenate([self._state[away], state])
        return poses.with_(keypoints=state[..., 2:4])

    def _before(self, poses: Poses, time: float) -> np.ndarray:
        """(N, K, 8) states of these people, NaN for new ones; forgets who is gone for too long."""
        recent = self._state[:, :1, 7].max(axis=1, initial=-np.inf) >= time - self.memory_s
        self._ids = self._ids[recent]
        before = np.full((len(poses), len(poses.skeleton), 8), np.nan)
        self._state = self._state[recent] if len(self._ids) else before[:0]
        _, now, then = np.intersect1d(poses.ids, self._ids, return_indices=True)
        before[now] = self._state[then]
        return before

    def _filter(self, poses: Poses, before: np.ndarray, time: float) -> np.ndarray:
        """(N, K, 8) states after this frame. NaN, wherever from, means that a joint starts anew."""
        raw, smooth, velocity, trust_before, seen = np.split(before, COLUMNS, axis=-1)
        points = poses.keypoints.astype(np.float64)
        trust = np.clip(np.nan_to_num(poses.keypoint_scores[..., None]) / CONFIDENT, LEAST_TRUST, 1)
        size = np.nan_to_num(poses.boxes[:, 2:] - poses.boxes[:, :2]).max(axis=1, initial=1)[:, None, None]
        elapsed = time - seen
        # A wild point feigns speed on its way out and on its way back: the lower trust of the two counts.
        gain = np.minimum(trust, trust_before) * _gain(SPEED_CUTOFF, elapsed)
        velocity = np.nan_to_num(velocity + gain * ((points - raw) / elapsed - velocity))
        speed = np.linalg.norm(velocity, axis=-1, keepdims=True) / size
        gain = trust * _gain(self.min_cutoff + self.beta * speed**2, elapsed)
        smoothed = smooth + gain * (points - smooth)
        smoothed = np.where(np.isfinite(smoothed), smoothed, points)
        return np.concatenate([points, smoothed, velocity, trust, np.full_like(trust, time)], axis=-1)


def _gain(cutoff: np.ndarray | float, elapsed: np.ndarray) -> np.ndarray:
    """Weight of the new value in a first-order low-pass of `cutoff` Hz after `elapsed` seconds."""
    angle = 2 * np.pi * cutoff * elapsed
    return angle / (1 + angle)
