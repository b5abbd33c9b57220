"""Toes and heels for people whose body is labelled: the training data of the skeleton coco_feet23.

    npm pack @mediapipe/pose && tar xf mediapipe-pose-*.tgz && pip install ai-edge-litert
    python tools/label_feet.py crops.zip/annotations.json crops.zip package/pose_landmark_heavy.tflite feet.json

BlazePose finds ankle, heel and toe; heel and toe move with the ankle to where it is labelled. A leg whose ankle has no
label, or is found too far from it, gets none, nor do points outside the picture; small toes, which BlazePose lacks, never.
What is found is kept beside the result every 100 people: an interrupted call goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import typer
from blazepose import LEFT_ANKLE, LEFT_HEEL, LEFT_TOE, RIGHT_ANKLE, RIGHT_HEEL, RIGHT_TOE, BlazePose

from gtpt.core.skeleton import load_skeleton
from gtpt.data.coco import open_stores
from gtpt.data.images import read_json
from gtpt.model.checkpoint import replace_atomically

SKELETON = load_skeleton("coco_feet23")
GATE = 0.06  # how far, in longer sides of the box, the ankle may be from where it is labelled
LEGS = {"left": (LEFT_ANKLE, LEFT_TOE, LEFT_HEEL), "right": (RIGHT_ANKLE, RIGHT_TOE, RIGHT_HEEL)}
EVERY = 100  # people between two saves


def main(
    annotations: Path = typer.Argument(help="COCO keypoints, a file or a member of a zip."),
    images: Path = typer.Argument(help="Their images, a folder or a zip."),
    model: Path = typer.Argument(help="MediaPipe's pose_landmark_heavy.tflite, _full or _lite."),
    out: Path = typer.Argument(help="Annotation file to write."),
    threads: int = 1,
) -> None:
    data, network = read_json(annotations), BlazePose(model, threads)
    store = open_stores([images])[0]
    pictures = {image["id"]: image for image in data["images"]}
    kept = out.with_suffix(f".{model.stem}.part")
    feet: list[list[float]] = json.loads(kept.read_text()) if kept.exists() else []
    for person in data["annotations"][len(feet) :]:
        picture = pictures[person["image_id"]]
        body = np.array(person["keypoints"][:51], dtype=np.float64).reshape(17, 3)
        if (body[15:, 2] > 0).any():
            pixels = store.read_image(picture["file_name"], ignore_orientation=True)
            found = network(pixels, np.array(person["bbox"])).points
            feet.append(feet_of(found, body, person["bbox"], (picture["width"], picture["height"])).ravel().tolist())
        else:
            feet.append([0.0] * 18)
        if len(feet) % EVERY == 0:
            write(kept, feet)
            print(f"{len(feet)} of {len(data['annotations'])} people", flush=True)
    write(out, labelled(data, feet))
    kept.unlink(missing_ok=True)
    visible = np.array(feet).reshape(-1, 6, 3)[..., 2] > 0
    print(f"{visible.any(axis=1).sum()} of {len(feet)} people have feet: {visible[:, [0, 3]].sum()} toes, "
          f"{visible[:, [2, 5]].sum()} heels")  # fmt: skip


def feet_of(found: np.ndarray, body: np.ndarray, box: Iterable[float], size: tuple[int, int]) -> np.ndarray:
    """(6, 3) x, y, visibility 2 or 0 of the feet, in the skeleton's order.

    Args:
        found: (33, 2) BlazePose's points in image pixels.
        body: (17, 3) the labelled keypoints.
        box: left, top, width, height of the person.
        size: width, height of the picture.
    """
    _, _, *extent = box
    feet = {name: np.zeros(3) for name in SKELETON.keypoints[17:]}
    for side, (ankle, toe, heel) in LEGS.items():
        *labelled, visibility = body[SKELETON.keypoints.index(f"{side}_ankle")]
        shift = np.array(labelled) - found[ankle]
        if visibility > 0 and np.hypot(*shift) < GATE * max(extent):
            for name, point in {"big_toe": found[toe] + shift, "heel": found[heel] + shift}.items():
                if (point >= 0).all() and (point <= np.array(size) - 1).all():
                    feet[f"{side}_{name}"] = np.array([*point.round(1), 2])
    return np.array(list(feet.values()))


def labelled(data: dict[str, Any], feet: list[list[float]]) -> dict[str, Any]:
    """The file with the keypoints of the feet behind those of the body."""
    people = []
    for person, points in zip(data["annotations"], feet, strict=True):
        keypoints = [*person["keypoints"][:51], *points]
        people.append({**person, "keypoints": keypoints, "num_keypoints": sum(v > 0 for v in keypoints[2::3])})
    categories = [{**category, "keypoints": list(SKELETON.keypoints)} for category in data["categories"]]
    return {**data, "annotations": people, "categories": categories}


def write(path: Path, data: Any) -> None:
    replace_atomically(path, lambda partial: partial.write_text(json.dumps(data), encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
