"""What a least score of people keeps and drops: for `MIN_SCORE` of gtpt.estimator, chosen anew with new weights.

    python benchmarks/min_score.py CROPS.zip                     # crops of people with their annotations
    python benchmarks/min_score.py CROPS.zip --photos data/coco  # and whole photos in which everybody is annotated

People are found in the pictures by the detector, as `gtpt predict` does. A pose is right from an OKS of 0.5 on with the
annotated person of its box (IoU 0.5 or more), wrong below 0.25, and half right between. A pose of nobody is one whose box
meets no annotation, crowds included, with an IoU of 0.1: crops cannot tell, as only one person in each is annotated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import typer

from gtpt import PoseEstimator, Poses
from gtpt.data.annotations import Annotation, read_annotations
from gtpt.data.coco import open_stores
from gtpt.detect import YoloxDetector
from gtpt.estimator import DEFAULT_WEIGHTS, distinct, nested_similarity
from gtpt.evaluate.oks import keypoint_similarity

KINDS = {"right": 0.5, "half right": 0.25, "wrong": -1.0}  # and the least OKS of each
NOBODY = "nobody"


def main(
    crops: Path = typer.Argument(help="Zip of crops with annotations.json."),
    photos: Path = typer.Option(None, help="Folder with annotations/person_keypoints_val2017.json and images/val2017."),
    weights: str = DEFAULT_WEIGHTS,
    detector: str = "yolox-nano",
    threads: int = 1,
) -> None:
    finder, estimator = YoloxDetector(detector, threads=threads), PoseEstimator(weights, threads=threads)
    sets = {"crops": (crops / "annotations.json", crops)}
    if photos is not None:
        sets["photos"] = photos / "annotations/person_keypoints_val2017.json", photos / "images/val2017"
    found = {name: judged(finder, estimator, *paths, whole=name == "photos") for name, paths in sets.items()}
    print(table({name: scores for name, (scores, _) in found.items()}, np.arange(0, 0.55, 0.05)))
    print()
    print(pair_table([pair for _, pairs in found.values() for pair in pairs], np.arange(0.4, 1, 0.1)))


def judged(
    finder: YoloxDetector, estimator: PoseEstimator, annotations: Path, images: Path, whole: bool
) -> tuple[dict[str, np.ndarray], list[tuple[bool, float]]]:
    """Scores of the people that are found, by how right they are, and what `nested` gives."""
    file, store = read_annotations(annotations), open_stores([images])[0]
    people = defaultdict(list)
    for annotation in file.annotations:
        people[annotation.image_id].append(annotation)
    scores, pairs = defaultdict(list), []
    for image in file.images:
        picture = store.read_image(image.file_name, ignore_orientation=True)
        found = finder(picture)
        poses = estimator(picture, found.boxes, found.scores)
        pairs += nested(poses, people[image.id])
        for kind, score in kinds(poses[distinct(poses)], people[image.id], whole):
            scores[kind].append(score)
    return {kind: np.sort(values) for kind, values in scores.items()}, pairs


def nested(poses: Poses, people: Sequence[Annotation]) -> Iterator[tuple[bool, float]]:
    """Pairs of poses, one right and in a box within the other's: whether both are of that person, and how alike."""
    similarities = nested_similarity(poses)
    labelled = [person for person in people if person.counts]
    right = np.array([[similarity(points, person, poses) for person in labelled] for points in poses.keypoints])
    for i, j in np.argwhere(np.triu(similarities, 1) > 0):
        best = max(right[i], right[j], key=lambda r: r.max(initial=0))
        if best.max(initial=0) >= KINDS["right"]:
            person = best.argmax()
            both = min(right[i, person], right[j, person])
            if both >= KINDS["right"] or both < KINDS["half right"]:
                yield bool(both >= KINDS["right"]), float(similarities[i, j])


def kinds(poses: Poses, people: Sequence[Annotation], whole: bool) -> Iterator[tuple[str, float]]:
    """How right each pose is, and its score."""
    boxes = np.array([a.box("annotation") for a in people]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    for box, keypoints, score in zip(poses.boxes, poses.keypoints, poses.scores, strict=True):
        overlap = iou(box, boxes)
        labelled = [i for i in np.flatnonzero(overlap >= 0.5) if people[i].counts]
        if labelled:
            best = max(similarity(keypoints, people[i], poses) for i in labelled)
            yield next(kind for kind, least in KINDS.items() if best >= least), float(score)
        elif whole and overlap.max(initial=0) < 0.1:
            yield NOBODY, float(score)


def similarity(keypoints: np.ndarray, person: Annotation, poses: Poses) -> float:
    truth = person.joints(poses.skeleton, "annotation")
    found = keypoint_similarity(keypoints, truth[:, :2], np.array(person.size), poses.skeleton.sigmas)
    return float(found[truth[:, 2] > 0].mean())


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    return shared / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - shared)


def table(scores: dict[str, dict[str, np.ndarray]], thresholds: np.ndarray) -> str:
    """A row for each threshold: what share of the poses of each kind stays."""
    columns = [(name, kind) for name in scores for kind in (*KINDS, *([NOBODY] if name == "photos" else []))]
    heads = ["score", *(f"{kind}, {name}" for name, kind in columns)]
    values = [scores[name].get(kind, np.zeros(0)) for name, kind in columns]
    rows = [["poses", *(str(len(found)) for found in values)]]
    rows += [[f"{t:.2f}", *(share(found >= t) for found in values)] for t in thresholds]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---:"] * len(heads), *rows))


def pair_table(pairs: Sequence[tuple[bool, float]], thresholds: np.ndarray) -> str:
    """A row for each threshold on the similarity: what share of the pairs becomes one pose."""
    same = np.array([alike for one, alike in pairs if one]), np.array([alike for one, alike in pairs if not one])
    rows = [["similarity", "of one person", "of two"], ["---:"] * 3, ["pairs", *(str(len(found)) for found in same)]]
    rows += [[f"{t:.1f}", *(share(found >= t) for found in same)] for t in thresholds]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def share(kept: np.ndarray) -> str:
    return f"{100 * kept.mean():.1f} %" if len(kept) else "-"


if __name__ == "__main__":
    typer.run(main)
