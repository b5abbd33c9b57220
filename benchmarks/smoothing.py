"""What `gtpt.Smoother` takes away (jitter) and what it costs (lag, time), on people whose true joints are known.

    python benchmarks/smoothing.py

A person of 1.7 m and 200 pixels at 30 frames per second: standing still, and walking with swinging arms and legs. Every
joint gets independent noise, as from a detector.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from gtpt.core.poses import Poses
from gtpt.tracking.smoother import Smoother
from tracking import COCO17, IMAGE, walker

HEIGHT = 200.0  # pixels


def observe(joints: np.ndarray, scores: float | np.ndarray = 0.9, ids: np.ndarray | None = None) -> Poses:
    """Poses from (N, 17, 2) joints."""
    boxes = np.concatenate([joints.min(axis=1), joints.max(axis=1)], axis=1)
    return Poses(
        boxes=boxes,
        scores=np.ones(len(joints)),
        keypoints=joints,
        keypoint_scores=np.broadcast_to(scores, joints.shape[:2]),
        raw_scores=np.full(joints.shape[:2], 0.1),
        ids=np.arange(len(joints)) + 1 if ids is None else ids,
        image_size=IMAGE,
        skeleton=COCO17,
    )


def smooth(joints: np.ndarray, fps: float, **options: float) -> np.ndarray:
    """(T, 17, 2) video of one person -> the same, smoothed."""
    smoother = Smoother(**options)
    return np.stack([smoother.update(observe(j[None]), t / fps).keypoints[0] for t, j in enumerate(joints)])


def still_and_noise(noise: float, fps: float = 30.0, seconds: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    """True and noisy joints (T, 17, 2) of a person who stands."""
    times = np.arange(round(seconds * fps)) / fps
    truth = walker(times, speed=0, height=HEIGHT) + np.array([300, 400])
    return truth, truth + np.random.default_rng(0).normal(0, noise, truth.shape)


def jitter(noise: float, fps: float = 30.0) -> tuple[float, float]:
    """Share of the jitter of a still person that is gone: by standard deviation of position, and of acceleration."""
    truth, noisy = still_and_noise(noise, fps)
    begun = round(fps)  # the first second is the way into the filter
    before, after = (noisy - truth)[begun:], (smooth(noisy, fps) - truth)[begun:]
    return 1 - after.std() / before.std(), 1 - np.diff(after, 2, axis=0).std() / np.diff(before, 2, axis=0).std()


def lag(speed: float = 1.4, noise: float = 2.0, fps: float = 30.0) -> tuple[np.ndarray, float, float]:
    """How late a walker's joints come.

    Returns:
        (17,) frames of delay per joint at which the smoothed video fits the truth best, and the root mean square distance
        to the truth in pixels before and after smoothing.
    """
    times = np.arange(round(8 * fps)) / fps
    truth = walker(times, speed=speed, height=HEIGHT, yaw=0.0) + np.array([0, 400])
    noisy = truth + np.random.default_rng(0).normal(0, noise, truth.shape)
    smoothed = smooth(noisy, fps)
    delays = np.arange(0, 8, 0.05)
    frames = np.arange(round(fps), len(times))
    errors = []
    for delay in delays:
        then = walker(times[frames] - delay / fps, speed=speed, height=HEIGHT, yaw=0.0) + np.array([0, 400])
        errors.append(((smoothed[frames] - then) ** 2).sum(axis=-1).mean(axis=0))
    distance = [np.sqrt(((x - truth)[frames] ** 2).sum(axis=-1).mean()) for x in (noisy, smoothed)]
    return delays[np.argmin(errors, axis=0)], *distance


def microseconds(people: int, frames: int = 200) -> float:
    """Median time of an update with so many people."""
    joints = walker(np.arange(frames) / 30, height=HEIGHT)
    videos = [observe(np.repeat(j[None], people, axis=0)) for j in joints]
    smoother, spent = Smoother(), []
    for t, poses in enumerate(videos):
        began = perf_counter()
        smoother.update(poses, t / 30)
        spent.append(perf_counter() - began)
    return float(np.median(spent)) * 1e6


def main() -> None:
    print("| standing, noise | fps | jitter of position | jitter of acceleration |\n|---|---:|---:|---:|")
    for fps in (15, 30, 60):
        for noise in (1.0, 2.0, 3.0):
            position, acceleration = jitter(noise, fps)
            print(f"| {noise:.0f} px | {fps} | -{position:.0%} | -{acceleration:.0%} |")
    print("\n| walking, 30 fps, noise 2 px | frames late | worst joint | error as observed, px | smoothed, px |")
    print("|---|---:|---:|---:|---:|")
    for speed in (0.2, 0.4, 0.7, 1.4, 2.0):
        late, before, after = lag(speed)
        print(f"| {speed} m/s | {late.mean():.2f} | {late.max():.2f} | {before:.1f} | {after:.1f} |")
    times = ", ".join(f"{microseconds(people) / 1e3:.2f} ms for {people}" for people in (1, 5, 20))
    print(f"\nAn update takes {times} people.")


if __name__ == "__main__":
    main()
