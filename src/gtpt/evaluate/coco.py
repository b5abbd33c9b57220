"""COCO and COCO-WholeBody keypoint figures, equal to those of pycocotools and xtcocotools.

Every part of a skeleton is evaluated on its own, with its own sigmas and labelled keypoints but the area, the box and the
score of the person.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.errors import AnnotationError
from gtpt.core.extras import require
from gtpt.core.skeleton import Skeleton
from gtpt.data.annotations import Annotation, Annotations, Id, Result, read_annotations, read_results
from gtpt.evaluate.report import METRICS, UNDEFINED, Protocol, Report

Numbers = tuple[dict[Id, int], dict[Id, int]]  # of images and of categories

logger = logging.getLogger(__name__)


def evaluate_coco(
    annotations: str | Path | Mapping[str, Any] | Annotations,
    results: str | Path | Sequence[Mapping[str, Any]],
    skeleton: Skeleton,
    *,
    image_ids: Iterable[Id] | None = None,
    protocol: Protocol | None = None,
) -> Report:
    """Compare results with the ground truth.

    Args:
        annotations: COCO ground truth, a file (also "crops.zip/annotations.json") or its content. The keypoints of a
            person are one flat list x, y, v of length 3 K, or the five lists of COCO-WholeBody (keypoints, foot_kpts,
            face_kpts, lefthand_kpts, righthand_kpts).
        results: COCO results, a file or its content: image_id, category_id, score, and keypoints in either form (the third
            number is the keypoint's score). Coordinates are image pixels.
        skeleton: sigmas and parts.
        image_ids: the images that were run; default: all of the ground truth. People that are missing in the results
            count as not found.
        protocol: how the results were made, for the report.

    Raises:
        ValueError: ground truth or results that would give wrong figures without notice: keypoints missing, of another
            number or order than the skeleton's, not finite; results of other images or categories.
        FileNotFoundError: no such file.
        ImportError: faster-coco-eval is missing.
    """
    truth = read_annotations(annotations, "the ground truth")
    everybody, labelled = check_ground_truth(truth, skeleton)
    images = _images(truth, image_ids)
    found = read_results(results, ("image_id", "category_id", "keypoints", "score"))
    _check_results(found, images, {category.id for category in truth.categories})
    measured = truth.categories_of(skeleton)
    found = [result for result in found if result.category_id in measured]
    evaluated = [i for i, a in enumerate(everybody) if a.image_id in images]
    people, labels = [everybody[i] for i in evaluated], labelled[evaluated]
    points = _keypoints(found, skeleton, "result")
    everything = tuple(range(len(skeleton)))
    # as in xtcocotools the size of a detection is that of its body, which decides what counts as medium or large
    areas = np.ptp(points[:, skeleton.parts.get("body", everything), :2], axis=1).prod(axis=1)
    # both libraries want numbers, which texts are not
    image_numbers = {name: number for number, name in enumerate(sorted(images), start=1)}
    category_numbers = {name: number for number, name in enumerate(sorted(measured, key=_in_order), start=1)}
    numbers = image_numbers, category_numbers
    index = {kind: [{"id": i} for i in n.values()] for kind, n in zip(("images", "categories"), numbers, strict=True)}

    def figures(indices: tuple[int, ...]) -> dict[str, float]:
        part = points[:, indices]
        # xtcocotools drops whoever has none of the part; pycocotools keeps everybody
        kept = np.flatnonzero(part[..., 2].any(axis=1) | (not skeleton.parts)).tolist()
        truth_table = {**index, "annotations": _truth_rows(people, labels[:, indices], numbers)}
        found_table = {**index, "annotations": [_found_row(found[i], part[i], areas[i], i + 1, numbers) for i in kept]}
        return _run(truth_table, found_table, skeleton.sigmas[list(indices)])

    table = {part: figures(indices) for part, indices in skeleton.parts.items()}
    if {"left_hand", "right_hand"} <= table.keys():
        table["hand"] = {m: _mean(table["left_hand"][m], table["right_hand"][m]) for m in METRICS}
    table["whole" if skeleton.parts else "body"] = figures(everything)
    crowd = np.array([bool(a.iscrowd) for a in people], dtype=bool)
    persons = int(((labels[..., 2] > 0).any(axis=1) & ~crowd).sum())
    return Report(table, skeleton.name, len(images), persons, len(found), protocol)


def _run(truth: dict[str, Any], found: dict[str, Any], sigmas: np.ndarray) -> dict[str, float]:
    api = require("faster_coco_eval", "eval")
    evaluator = api.COCOeval_faster(
        api.COCO(truth), api.COCO(found), "keypoints", print_function=logger.debug, kpt_oks_sigmas=sigmas
    )
    evaluator.params.catIds = sorted(category["id"] for category in truth["categories"])
    evaluator.run()
    return dict(zip(METRICS, np.asarray(evaluator.stats, dtype=np.float64).tolist(), strict=True))


def _truth_rows(people: Sequence[Annotation], keypoints: np.ndarray, numbers: Numbers) -> list[dict[str, Any]]:
    # numbered anew: COCO takes an annotation with id 0 for "no match"
    return [
        {
            **_places(person, numbers),
            "area": person.size,
            "bbox": person.box("annotation"),
            "id": number,
            "iscrowd": int(person.iscrowd or 0),
            "keypoints": points.ravel(),
            "num_keypoints": int((points[:, 2] > 0).sum()),
        }
        for number, (person, points) in enumerate(zip(people, keypoints, strict=True), start=1)
    ]


def _found_row(result: Result, keypoints: np.ndarray, area: float, number: int, numbers: Numbers) -> dict[str, Any]:
    row = {**_places(result, numbers), "score": result.score}
    return {**row, "id": number, "area": float(area), "iscrowd": 0, "keypoints": keypoints.ravel()}


def _places(entry: Annotation | Result, numbers: Numbers) -> dict[str, int]:
    """Image and category of an entry by number."""
    assert entry.image_id is not None and entry.category_id is not None  # both are listed
    return {"image_id": numbers[0][entry.image_id], "category_id": numbers[1][entry.category_id]}


def _mean(a: float, b: float) -> float:
    defined = [value for value in (a, b) if value != UNDEFINED]
    return sum(defined) / len(defined) if defined else UNDEFINED


def _images(truth: Annotations, image_ids: Iterable[Id] | None) -> set[Id]:
    known = {image.id for image in truth.images}
    images = known if image_ids is None else set(image_ids)
    if unknown := images - known:
        raise AnnotationError(f"image_ids are not in the ground truth: {_some(unknown)}")
    return images


def _keypoints(entries: Sequence[Annotation] | Sequence[Result], skeleton: Skeleton, kind: str) -> np.ndarray:
    """(N, K, 3) float64: x, y and visibility or score."""
    names = [getattr(entry, "id", number) for number, entry in enumerate(entries)]
    points = [entry.joints(skeleton, f"{kind} {name}") for name, entry in zip(names, entries, strict=True)]
    return np.array(points).reshape(-1, len(skeleton), 3)


def check_ground_truth(truth: Annotations, skeleton: Skeleton) -> tuple[list[Annotation], np.ndarray]:
    """Refuse what would give wrong figures, before any network runs; see `evaluate_coco`.

    Returns:
        The annotations that count: those of people and of other categories with the same keypoints; and their keypoints
        (N, K, 3) float64 x, y, visibility, zeros for those without.
    """
    measured = truth.categories_of(skeleton)
    truth.check_keypoint_names(skeleton, measured)
    images, categories = ({entry.id for entry in entries} for entries in (truth.images, truth.categories))
    everybody = []
    for number, person in enumerate(truth.annotations):
        name = f"annotation {number if person.id is None else person.id}"
        if lacking := person.lacks(("image_id", "category_id", "bbox")):
            raise AnnotationError(f"{name} has no {lacking}: give a keypoint file such as person_keypoints_val2017.json")
        if person.image_id not in images or person.category_id not in categories:
            raise AnnotationError(
                f"{name}: image {person.image_id} or category {person.category_id} is not listed in the file"
            )
        if person.category_id in measured:
            person.box(name)
            everybody.append(person)
    keypoints = _keypoints(everybody, skeleton, "annotation")
    if not (keypoints[..., 2] > 0).any():
        raise AnnotationError("no person of the ground truth has a labelled keypoint: it is no keypoint ground truth")
    return everybody, keypoints


def _check_results(results: Sequence[Result], images: set[Id], categories: set[Id]) -> None:
    if others := {result.image_id for result in results} - images:
        raise AnnotationError(f"results of images that are not evaluated: {_some(others)}; another data set or subset?")
    if unknown := {result.category_id for result in results} - categories:
        raise AnnotationError(
            f"results of categories that do not exist: {_some(unknown)}; the ground truth has {_some(categories)}"
        )


def _in_order(name: Any) -> tuple[bool, Any]:
    """Numbers by size, texts behind them: ties between images and categories are broken by their order."""
    return isinstance(name, str), name


def _some(ids: Iterable[Any]) -> str:
    ids = sorted(ids, key=_in_order)
    return ", ".join(map(str, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
