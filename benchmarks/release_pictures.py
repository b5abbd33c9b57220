"""Pictures of the README and the model card, drawn with the bundled weights: `python benchmarks/release_pictures.py`.

Photos of COCO may not be shown here, so known failures are shown on the demo photos, turned, cut and put together.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from gtpt import PoseEstimator, Poses, draw_poses, read_image
from gtpt.core.geometry import transform_points
from gtpt.detect import load_boxes
from gtpt.viz.canvas import DARK, draw_text
from gtpt.viz.pruning import explain, tile_with_patches, tile_with_pose

ROOT = Path(__file__).parents[1]
PHOTOS, IMAGES = ROOT / "examples/photos", ROOT / "docs/images"
HEIGHT = 512


def main() -> None:
    names = ["astronaut.jpg", "cameraman.jpg", "grace_hopper.jpg"]
    photos = {name: read_image(PHOTOS / name) for name in names}
    found = load_boxes(PHOTOS / "boxes.csv")(list(photos.values()), names)
    boxes = {name: people.boxes for name, people in zip(names, found, strict=True)}
    estimator = PoseEstimator(engine="torch")
    save("demo.jpg", [drawn(estimator, photos[name], boxes[name]) for name in names])
    poses = estimator(photos[names[0]], boxes[names[0]])
    save("pruned.jpg", [row_of_patches(estimator, photos[names[0]], poses)], height=None)
    save("explain.png", explain(estimator, photos[names[0]], poses), height=None)
    save("failures.jpg", [drawn(estimator, *failure) for failure in failures(photos, boxes)])


def row_of_patches(estimator: PoseEstimator, photo: np.ndarray, poses: Poses) -> np.ndarray:
    """A pose, the patches that the coarse layers left, and those that each group looked at in the end."""
    crops, matrices = estimator.crops(photo, poses.boxes)
    shown, _ = estimator.crops(photo, poses.boxes, enlarge=4)
    kept = list(estimator.engine.kept(crops).values())
    points = np.concatenate([transform_points(poses.keypoints, matrices)[0], poses.keypoint_scores[0][:, None]], axis=1)
    points[:, :2] = (points[:, :2] + 0.5) * 4 - 0.5
    grid = estimator.engine.info.config.grid
    person, total = tile_with_patches(shown[0], kept[0][0][0], grid)
    tiles = [(tile_with_pose(shown[0], points, poses.skeleton), "pose"), (person, f"person: {total}")]
    for group, ids in zip(poses.skeleton.groups, kept[-1], strict=True):
        tile, count = tile_with_patches(shown[0], ids[0], grid)
        tiles.append((tile, f"{group.name}: {count}"))
    return np.hstack([captioned(*tile) for tile in tiles])


def captioned(tile: np.ndarray, text: str) -> np.ndarray:
    """The text below the picture, white around both."""
    canvas = np.pad(tile, ((12, 44), (12, 12), (0, 0)), constant_values=255)
    draw_text(canvas, text, (canvas.shape[1] / 2, len(canvas) - 14), 15, DARK)
    return canvas


def failures(photos: dict[str, np.ndarray], boxes: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Upside down; lying; cut off below the face; and a box that holds two people."""
    astronaut, cameraman, hopper = photos.values()
    upside_down = np.ascontiguousarray(np.rot90(astronaut, 2))
    (x1, y1, x2, y2), side = boxes["astronaut.jpg"][0], astronaut.shape[0]
    lying = np.ascontiguousarray(np.rot90(cameraman, 1))
    cx1, cy1, cx2, cy2 = boxes["cameraman.jpg"][0]
    width = cameraman.shape[1]
    face = np.ascontiguousarray(hopper[:330])
    two = np.hstack([astronaut[:, 20:360], cv2.resize(hopper, (437, 512))[:, 20:]])
    return [
        (upside_down, np.array([[side - x2, side - y2, side - x1, side - y1]])),
        (lying, np.array([[cy1, width - cx2, cy2, width - cx1]])),
        (face, np.array([[5.0, 0, 512, 330]])),
        (two, np.array([[0.0, 0, two.shape[1], two.shape[0]]])),
    ]


def drawn(estimator: PoseEstimator, photo: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    return draw_poses(photo, estimator(photo, boxes))


def save(name: str, pictures: list[np.ndarray], height: int | None = HEIGHT) -> None:
    """Side by side, all of one height."""
    if height:
        pictures = [cv2.resize(p, (round(p.shape[1] * height / p.shape[0]), height)) for p in pictures]
    cv2.imwrite(str(IMAGES / name), cv2.cvtColor(np.hstack(pictures), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
