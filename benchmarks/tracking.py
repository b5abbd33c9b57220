"""How well `gtpt.Tracker` keeps ids, on people with known identity, and what it costs.

    python benchmarks/tracking.py

Stick figures walk through the picture, cross, stop, turn and hide one another; a made-up detector misses people, above all
hidden ones, and disturbs boxes and joints. The truth is everyone in every frame, for nobody leaves the picture: who is
hidden by others or missed by the detector counts as missed, although no tracker could help it. So MOTA is given a second
time against those who were detected, where only the tracker's mistakes and false people are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from gtpt.core.poses import Poses
from gtpt.core.skeleton import load_skeleton
from gtpt.tracking.tracker import Tracker

COCO17 = load_skeleton("coco17")
IMAGE = (1280, 720)
BODY_HEIGHT = 1.7  # metres


def walker(
    times: np.ndarray, *, speed: float = 1.4, height: float = 200.0, yaw: float = 0.3, phase: float = 0.0
) -> np.ndarray:
    """A walking person, 17 joints of COCO.

    Args:
        times: (T,) seconds.
        speed: metres per second to the right (to the left if negative); 0 stands still.
        height: of the 1.7 m person, in pixels.
        yaw: radians between the walking direction and the image plane.
        phase: radians of the gait.

    Returns:
        (T, 17, 2) pixels; the person starts with the point between the feet at (0, 0).
    """
    walk = np.abs(speed)
    stride = np.sqrt(walk / 1.4)  # strides per second
    angle = 2 * np.pi * stride * times + phase
    leg, arm = 0.49, 0.19  # of the height
    swing = np.arcsin(min(walk / (4 * max(stride, 1e-9) * leg * BODY_HEIGHT), 0.9))  # so that the standing foot stays
    joints = np.zeros((len(times), 17, 3))  # forward, sideways, up, in heights
    joints[:, :5] = [[0.08, 0, 0.93], [0.07, 0.02, 0.95], [0.07, -0.02, 0.95], [0, 0.045, 0.94], [0, -0.045, 0.94]]
    for side, sign in ((0, 1), (1, -1)):
        hip_angle = sign * swing * np.sin(angle)
        knee_angle = hip_angle - (0.6 * np.maximum(sign * np.cos(angle), 0) if walk else 0)
        arm_angle = -sign * 1.1 * swing * np.sin(angle)
        elbow_angle = arm_angle + 0.35
        joints[:, 5 + side] = [0, 0.11 * sign, 0.82]
        joints[:, 11 + side] = [0, 0.06 * sign, 0.52]
        joints[:, 7 + side] = joints[:, 5 + side] + _limb(arm_angle, arm)
        joints[:, 9 + side] = joints[:, 7 + side] + _limb(elbow_angle, 0.15)
        joints[:, 13 + side] = joints[:, 11 + side] + _limb(hip_angle, leg / 2)
        joints[:, 15 + side] = joints[:, 13 + side] + _limb(knee_angle, leg / 2)
    joints[..., 2] += 0.015 * np.cos(2 * angle)[:, None] * bool(walk)  # the body bobs
    facing = 1 if speed >= 0 else -1
    x = facing * joints[..., 0] * np.cos(yaw) + joints[..., 1] * np.sin(yaw)
    x += (speed * np.cos(yaw) * times / BODY_HEIGHT)[:, None]
    return np.stack([x, -joints[..., 2]], axis=-1) * height


def _limb(angle: np.ndarray, length: float) -> np.ndarray:
    """(T, 3) from a joint down to the next."""
    return np.stack([np.sin(angle), np.zeros_like(angle), -np.cos(angle)], axis=-1) * length


@dataclass(frozen=True)
class Scene:
    """What a detector saw: per frame its time, the people and who they are (-1: nobody), of so many that are there."""

    times: np.ndarray
    poses: list[Poses]
    truth: list[np.ndarray]
    people: int


def crowd(
    seed: int, *, people: int = 4, fps: float = 30.0, seconds: float = 12.0, missed: float = 0.05, ghosts: float = 0.0
) -> Scene:
    """People who cross the picture to and fro at different depths, seen by an imperfect detector."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * fps)) / fps
    heights = rng.uniform(160, 260, people)
    tracks = np.stack([_stroll(rng, times, height) for height in heights])  # (P, T, 17, 2)
    boxes = np.concatenate([tracks.min(axis=2), tracks.max(axis=2)], axis=-1)  # (P, T, 4)
    margin = 0.06 * heights[:, None, None]
    boxes += np.concatenate([-margin, -margin, margin, margin], axis=-1)
    nearness = boxes[:, :, 3]
    frames, truth = [], []
    for t in range(len(times)):
        seen, covered = [], _covered(boxes[:, t], nearness[:, t])
        for p in range(people):
            hidden = rng.random() < np.clip((covered[p] - 0.4) * 3, 0, 0.97)
            if not hidden and rng.random() > missed:
                seen.append(p)
        chosen = np.array(seen, dtype=int)
        rng.shuffle(chosen)
        poses = detect(rng, tracks[chosen, t], boxes[chosen, t], covered[chosen])
        if rng.random() < ghosts:
            ghost = rng.integers(people)
            moved = rng.uniform(-0.5, 0.5, 2) * heights[ghost]
            extra = detect(rng, tracks[[ghost], t] + moved, boxes[[ghost], t] + np.tile(moved, 2), np.ones(1))
            poses, chosen = _join(poses, extra), np.append(chosen, -1)
        frames.append(poses)
        truth.append(chosen)
    return Scene(times, frames, truth, people)


def _stroll(rng: np.random.Generator, times: np.ndarray, height: float) -> np.ndarray:
    """(T, 17, 2): walk on, sometimes stand or turn round, never leave the picture."""
    joints = np.empty((len(times), 17, 2))
    place = np.array([rng.uniform(100, IMAGE[0] - 100), rng.uniform(560, 660)])
    speed, i = rng.uniform(0.7, 1.8) * rng.choice([-1, 1]), 0
    while i < len(times):
        until = min(i + max(round(rng.uniform(1, 4) / (times[1] - times[0])), 1), len(times))
        steps = walker(times[i:until] - times[i], speed=speed, height=height, phase=rng.uniform(0, 6))
        shift = speed * np.cos(0.3) * height / BODY_HEIGHT * (times[i:until] - times[i])
        inside = (place[0] + shift > 60) & (place[0] + shift < IMAGE[0] - 60)
        stop = len(inside) if inside.all() else max(int(np.argmin(inside)), 1)
        joints[i : i + stop] = steps[:stop] + place
        place[0] = np.clip(place[0] + shift[stop - 1], 61, IMAGE[0] - 61)
        i += stop
        centre = IMAGE[0] / 2
        if not inside.all():
            speed = np.abs(speed) * np.sign(centre - place[0])
        else:
            speed = 0.0 if rng.random() < 0.2 else rng.uniform(0.7, 1.8) * rng.choice([-1, 1], p=[0.4, 0.6])
    return joints


def _covered(boxes: np.ndarray, nearness: np.ndarray) -> np.ndarray:
    """(P,) the largest share of each box that a single nearer person hides."""
    low, high = np.maximum(boxes[:, None, :2], boxes[:, :2]), np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1) / np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)[:, None]
    return np.where(nearness[:, None] < nearness, shared, 0).max(axis=1)


def detect(rng: np.random.Generator, joints: np.ndarray, boxes: np.ndarray, covered: np.ndarray) -> Poses:
    """Noise as of a detector and a pose network: about 1.5 % of the height, wild low-scored joints, more where hidden."""
    heights = (boxes[:, 3] - boxes[:, 1])[:, None]
    wild = rng.random(joints.shape[:2]) < 0.03 + 0.3 * covered[:, None]
    spread = np.where(wild, 0.08, 0.015)[..., None] * heights[..., None]
    scores = np.where(wild, rng.uniform(0.05, 0.5, wild.shape), rng.uniform(0.5, 1, wild.shape))
    return Poses(
        boxes=boxes + rng.normal(0, 0.02, boxes.shape) * heights,
        scores=np.ones(len(boxes)),
        keypoints=joints + rng.normal(0, 1, joints.shape) * spread,
        keypoint_scores=scores,
        raw_scores=scores * 0.1,
        ids=np.full(len(boxes), -1),
        image_size=IMAGE,
        skeleton=COCO17,
    )


def _join(a: Poses, b: Poses) -> Poses:
    names = ("boxes", "scores", "keypoints", "keypoint_scores", "raw_scores", "ids")
    return a.with_(**{n: np.concatenate([getattr(a, n), getattr(b, n)]) for n in names})


def evaluate(scenes: list[Scene]) -> dict[str, float]:
    """By `motmetrics`, over all scenes: idf1, mota and num_switches against everyone who is there, hidden or not;
    mota_of_detected against those whom the detector gave; num_objects and num_predictions."""
    import motmetrics

    everyone, detected = [], []
    for scene in scenes:
        tracker = Tracker(COCO17)
        everyone.append(motmetrics.MOTAccumulator(auto_id=True))
        detected.append(motmetrics.MOTAccumulator(auto_id=True))
        for time, poses, truth in zip(scene.times, scene.poses, scene.truth, strict=True):
            ids = tracker.update(poses, float(time)).ids
            for accumulator, there in ((everyone[-1], np.arange(scene.people)), (detected[-1], truth[truth >= 0])):
                accumulator.update(there, ids, np.where(there[:, None] == truth, 0.0, np.nan))
    names = ["idf1", "mota", "num_switches", "num_objects", "num_predictions"]
    return {**_overall(everyone, names), "mota_of_detected": _overall(detected, ["mota"])["mota"]}


def _overall(accumulators: list, names: list[str]) -> dict[str, float]:
    import motmetrics

    table = motmetrics.metrics.create().compute_many(accumulators, metrics=names, generate_overall=True)
    return table.loc["OVERALL"].to_dict()


def microseconds(people: int) -> float:
    """Median time of an update with so many people."""
    scene = crowd(0, people=people, seconds=4, missed=0)
    tracker, spent = Tracker(COCO17), []
    for time, poses in zip(scene.times, scene.poses, strict=True):
        began = perf_counter()
        tracker.update(poses, float(time))
        spent.append(perf_counter() - began)
    return float(np.median(spent)) * 1e6


SCENARIOS = {
    "2 people, 30 fps": {"people": 2},
    "4 people, 30 fps": {"people": 4},
    "4 people, 10 fps": {"people": 4, "fps": 10.0},
    "8 people, 30 fps": {"people": 8},
    "4 people, 20 % missed": {"people": 4, "missed": 0.2},
    "4 people, false people in 10 % of frames": {"people": 4, "ghosts": 0.1},
}


def main() -> None:
    print("| scene, 10 videos of 12 s | IDF1 | MOTA | MOTA of detected | id switches | boxes / people |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, options in SCENARIOS.items():
        row = evaluate([crowd(seed, **options) for seed in range(10)])
        print(
            f"| {name} | {row['idf1']:.3f} | {row['mota']:.3f} | {row['mota_of_detected']:.3f} | "
            f"{row['num_switches']:.0f} | {row['num_predictions']:,.0f} / {row['num_objects']:,.0f} |",
            flush=True,
        )
    times = ", ".join(f"{microseconds(people) / 1e3:.2f} ms for {people}" for people in (1, 5, 20))
    print(f"\nAn update takes {times} people.")


if __name__ == "__main__":
    main()
