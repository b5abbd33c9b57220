"""Keypoints of your own, from nothing to a picture: desk lamps, drawn on photos, learnt in minutes on a CPU.

    python examples/custom_keypoints.py --out out/lamps

Draws 60 pictures with their annotations, starts from the bundled network (all but the new tokens is taken over), trains,
measures on 20 pictures that it has not seen, and draws four of them. Put annotated photos of your own in place of
`draw_lamps`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

import gtpt
from gtpt.evaluate import test
from gtpt.train import train
from gtpt.train.config import Experiment

HERE = Path(__file__).parent
SKELETON = """
name: lamp
keypoints: {foot: 0.05, hinge: 0.05, elbow: 0.05, neck: 0.05, bulb: 0.05}
edges: [[foot, hinge, elbow, neck, bulb]]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/lamps"))
    parser.add_argument("--epochs", type=int, default=60)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    skeleton = args.out / "lamp.yaml"
    skeleton.write_text(SKELETON)
    names = list(gtpt.load_skeleton(skeleton).keypoints)
    sources = {
        part: draw_lamps(args.out / part, count, names, seed) for part, count, seed in (("train", 60, 0), ("val", 20, 1))
    }
    base = gtpt.PoseEstimator()  # what it starts from decides the size
    experiment = Experiment.model_validate(
        {
            "out": args.out / "run",
            "model": {
                "name": "gtpt-t",
                "skeleton": str(skeleton),
                "input_size": base.input_size,
                "simcc_split": base.engine.info.config.simcc_split,
            },
            "data": {"train": [sources["train"]], "val": sources["val"], "cache": True, "workers": 0,
                     "augment": {"half_body": 0, "color": 0.4, "scale": 0.2, "rotation": 20}},
            "train": {"init": "gtpt-t-coco17", "epochs": args.epochs, "batch_size": 10, "passes": "pruned", "lr": 1e-3,
                      "optimizer": "muon", "schedule": "cosine", "warmup_steps": 10, "sigma": 8, "ema": 0.95,
                      "guidance": 0.002, "validate_every": args.epochs, "accelerator": "cpu"},
        }
    )  # fmt: skip
    best = train(experiment)
    print(test(best, sources["val"]["annotations"], sources["val"]["images"]))
    sheet(best, args.out / "val", args.out / "lamps.jpg")
    print(f"look at {args.out / 'lamps.jpg'}; use it: gtpt predict PHOTO --boxes BOXES -w {best}")


def draw_lamps(folder: Path, count: int, names: list[str], seed: int) -> dict[str, Path]:
    """Lamps of random posture, colour and size on pieces of the demo photos, as a COCO file and a folder of images."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    photos = [cv2.imread(str(path)) for path in sorted((HERE / "photos").glob("*.jpg"))]
    images, annotations = [], []
    for i in range(count):
        scene = background(photos[rng.integers(len(photos))], rng)
        joints = posture(rng)
        draw_lamp(scene, joints, rng)
        cv2.imwrite(str(folder / "images" / f"{i:03}.jpg"), scene)
        low, high = joints.min(axis=0) - 15, joints.max(axis=0) + 15
        box = np.round([*low, *(high - low)], 1).tolist()
        images.append({"id": i, "file_name": f"{i:03}.jpg", "width": 320, "height": 320})
        keypoints = np.column_stack([joints, np.full(len(joints), 2)]).round(1).ravel().tolist()
        annotations.append({"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "bbox": box,
                            "area": box[2] * box[3] * 0.3, "keypoints": keypoints})  # fmt: skip
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "lamp", "keypoints": names}]}
    (folder / "annotations.json").write_text(json.dumps(coco))
    return {"annotations": folder / "annotations.json", "images": folder / "images"}


def background(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A piece of a photo, out of focus."""
    height, width = photo.shape[:2]
    side = int(min(height, width) * rng.uniform(0.3, 0.6))
    top, left = int(rng.integers(0, height - side)), int(rng.integers(0, width - side))
    piece = cv2.resize(photo[top : top + side, left : left + side], (320, 320), interpolation=cv2.INTER_CUBIC)
    return cv2.GaussianBlur(piece, (0, 0), float(rng.uniform(2, 6)))


def posture(rng: np.random.Generator) -> np.ndarray:
    """(5, 2) foot, hinge, elbow, neck, bulb in a picture of 320x320."""
    side, size = rng.choice([-1, 1]), rng.uniform(0.7, 1.1)
    points = [np.array([160 + side * rng.uniform(-20, 50), 270.0])]
    angles = (90, rng.uniform(70, 150), rng.uniform(-30, 60), rng.uniform(-100, -20))
    for length, angle in zip((22, 85, 85, 42), angles, strict=True):
        step = np.array([side * np.cos(np.deg2rad(angle)), -np.sin(np.deg2rad(angle))])
        points.append(points[-1] + size * length * step)
    return np.clip(points, 8, 311)


def draw_lamp(scene: np.ndarray, joints: np.ndarray, rng: np.random.Generator) -> None:
    """Draw over the picture: arms, joints, a foot, and a shade that opens from neck to bulb."""
    color, width = rng.integers(0, 256, 3).tolist(), int(rng.integers(4, 9))
    foot, hinge, elbow, neck, bulb = joints
    cv2.ellipse(scene, (round(foot[0]), round(foot[1])), (34, 10), 0, 0, 360, color, -1, cv2.LINE_AA)
    cv2.polylines(scene, [np.round([foot, hinge, elbow, neck]).astype(np.int32)], False, color, width, cv2.LINE_AA)
    along = (bulb - neck) / max(np.linalg.norm(bulb - neck), 1)
    across = np.array([-along[1], along[0]])
    shade = np.round([neck + 7 * across, neck - 7 * across, bulb - 26 * across, bulb + 26 * across]).astype(np.int32)
    cv2.fillPoly(scene, [shade], color, cv2.LINE_AA)
    cv2.circle(scene, (round(bulb[0]), round(bulb[1])), 9, (180, 240, 255), -1, cv2.LINE_AA)
    for joint in (hinge, elbow):
        cv2.circle(scene, (round(joint[0]), round(joint[1])), width, (40, 40, 40), -1, cv2.LINE_AA)


def sheet(weights: Path, folder: Path, path: Path) -> None:
    """Four pictures of the validation set with what the network finds."""
    estimator = gtpt.PoseEstimator(weights)
    data, tiles = json.loads((folder / "annotations.json").read_text()), []
    for image, annotation in zip(data["images"][:4], data["annotations"][:4], strict=True):
        picture = gtpt.read_image(folder / "images" / image["file_name"])
        x, y, w, h = annotation["bbox"]
        tiles.append(gtpt.draw_poses(picture, estimator(picture, [[x, y, x + w, y + h]])))
    cv2.imwrite(str(path), np.hstack(tiles)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
