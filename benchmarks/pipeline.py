"""Where a frame's time goes, memory over a long video, and what refining a whole-image box gains.

python benchmarks/pipeline.py share                                  # people per second at 1280x720
python benchmarks/pipeline.py memory                                 # resident memory over 3,000 frames
python benchmarks/pipeline.py refine --data ../shared/data/pose17_devval.zip
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gtpt import Pipeline, PoseEstimator, Tracker
from gtpt.benchmark import machine
from gtpt.data.coco import open_stores, read_coco
from gtpt.detect import WholeImage
from gtpt.engines import Engine
from gtpt.evaluate import keypoint_similarity
from gtpt.io.sources import Frame
from gtpt.pipeline import boxes_from_poses


class Timed:
    """An engine that adds up the seconds of its calls."""

    def __init__(self, engine: Engine):
        self.engine, self.info, self.batch, self.seconds = engine, engine.info, engine.batch, 0.0

    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        began = time.perf_counter()
        logits = self.engine(crops)
        self.seconds += time.perf_counter() - began
        return logits


def share() -> None:
    """Time of the whole estimator and what of it is not the network's, one thread."""
    estimator = PoseEstimator(threads=1)
    estimator.engine = network = Timed(estimator.engine)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    print(f"{machine()}; 1 thread, 1280x720\n")
    print("| people | ms per frame | people/s | outside the network |\n|---:|---:|---:|---:|")
    for people in (1, 5, 20):
        corners = rng.uniform((0, 0), (1000, 400), (people, 2))
        boxes = np.concatenate([corners, corners + np.array([120, 300])], axis=1)
        whole, outside = [], []
        for _ in range(50):
            network.seconds, began = 0.0, time.perf_counter()
            estimator(image, boxes)
            whole.append(time.perf_counter() - began)
            outside.append(1 - network.seconds / whole[-1])
        ms = 1e3 * np.median(whole[3:])
        print(f"| {people} | {ms:.1f} | {1e3 * people / ms:.0f} | {np.median(outside[3:]):.1%} |")


def memory(frames: int = 3000) -> None:
    """Peak resident memory after a tenth of the video and at its end: they must be the same."""
    estimator = PoseEstimator(threads=1)

    def video() -> Iterator[Frame]:
        rng = np.random.default_rng(0)
        for i in range(frames):
            yield Frame(rng.integers(0, 256, (360, 640, 3), dtype=np.uint8), i, i / 30)

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    pipeline = Pipeline(estimator, WholeImage(), tracker=Tracker(estimator.skeleton))
    for result in pipeline(video()):
        if result.frame.index == frames // 10:
            early = peak()
    print("| frames | peak after a tenth, MiB | at the end, MiB |\n|---:|---:|---:|")
    print(f"| {frames:,} | {early:.0f} | {peak():.0f} |")


def refine(data: Path) -> None:
    """Mean keypoint similarity with the crop's whole picture as box, once and refined, and with the true box."""
    estimator = PoseEstimator(threads=2)
    persons = read_coco(data / "annotations.json", estimator.skeleton)
    store = open_stores([data])[0]
    images = [store.read_image(str(name), ignore_orientation=True) for name in persons.files]
    whole = estimator(images, [None] * len(images))
    again = estimator(images, [boxes_from_poses(p) for p in whole])
    corners = np.concatenate([persons.boxes[:, :2], persons.boxes[:, :2] + np.maximum(persons.boxes[:, 2:], 1)], axis=1)
    true = estimator(images, list(corners[:, None]))
    print(f"| box, of {len(persons):,} people | mean OKS | OKS above 0.5 |\n|---|---:|---:|")
    for name, poses in (("whole image", whole), ("refined once", again), ("ground-truth box", true)):
        points = np.concatenate([p.keypoints for p in poses])
        similarity = keypoint_similarity(points, persons.keypoints, persons.areas, estimator.skeleton.sigmas)
        oks = (similarity * persons.visible).sum(axis=1) / persons.visible.sum(axis=1)
        print(f"| {name} | {oks.mean():.3f} | {(oks > 0.5).mean():.1%} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["share", "memory", "refine"])
    parser.add_argument("--data", type=Path, help="COCO crop zip, for refine")
    chosen = parser.parse_args()
    if chosen.what == "refine":
        refine(chosen.data)
    else:
        {"share": share, "memory": memory}[chosen.what]()
