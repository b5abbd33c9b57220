"""How well weights with feet find them: `python benchmarks/feet.py WEIGHTS ANNOTATIONS IMAGES`, people of COCO-WholeBody.

Prints, for each part, the mean over its points of the share that lies within a tenth of the box's longer side of the label,
with the flip test and ground-truth boxes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import typer

from gtpt import PoseEstimator
from gtpt.core.geometry import xywh_to_xyxy
from gtpt.core.skeleton import load_skeleton
from gtpt.data.coco import open_stores, read_coco
from gtpt.evaluate import pck

PARTS = {"heels": ("heel",), "big toes": ("big_toe",), "small toes": ("small_toe",)}
PARTS["feet"] = tuple(name for names in PARTS.values() for name in names)


def main(
    weights: str = typer.Argument(help="Registered name or *.onnx of a network with the points of coco_feet23."),
    annotations: Path = typer.Argument(help="COCO-WholeBody's annotations."),
    images: Path = typer.Argument(help="Their images, a folder or a zip."),
) -> None:
    for part, (share, count) in shares(PoseEstimator(weights, flip_test=True), annotations, images).items():
        print(f"{part}: {100 * share:.1f} % of {count}")


def shares(estimator: PoseEstimator, annotations: Path, images: Path) -> dict[str, tuple[float, int]]:
    """For each part, and for the body: the share of its labelled points that are found, and how many are labelled."""
    whole, own = load_skeleton("coco_wholebody133"), estimator.skeleton
    persons, store = read_coco(annotations, whole), open_stores([images])[0]
    files, image_of = np.unique(persons.files, return_inverse=True)
    found = np.zeros((len(persons), len(own), 2), np.float32)
    for number, file in enumerate(files):
        rows = np.flatnonzero(image_of == number)
        found[rows] = estimator(store.read_image(str(file)), xywh_to_xyxy(persons.boxes[rows])).keypoints
    truth = persons.in_skeleton(whole, own)
    figures = {}
    for part, endings in {**PARTS, "body": None}.items():
        chosen = [is_part(name, endings) for name in own.keypoints]
        visible = truth.visible[:, chosen]
        _, mean = pck(found[:, chosen], truth.keypoints[:, chosen], visible, truth.boxes[:, 2:].max(axis=1), 0.1)
        figures[part] = float(mean), int((visible > 0).sum())
    return figures


def is_part(name: str, endings: tuple[str, ...] | None) -> bool:
    """Whether a keypoint belongs to a part of `PARTS`; None: to none of them."""
    return name.endswith(endings) if endings else not name.endswith(PARTS["feet"])


if __name__ == "__main__":
    typer.run(main)
