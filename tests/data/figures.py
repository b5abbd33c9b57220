"""Small data sets to test with: drawn figures whose joints are discs of known colours, in COCO form."""

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import yaml

from gtpt import Skeleton, load_skeleton

WIDTH, HEIGHT = 320, 400
# A person who faces the camera: the person's left is right in the image. Joints are at least 24 pixels apart.
FIGURE = {
    "nose": (160, 60),
    "left_eye": (185, 40),
    "right_eye": (135, 40),
    "left_ear": (210, 60),
    "right_ear": (110, 60),
    "left_shoulder": (200, 110),
    "right_shoulder": (120, 110),
    "left_elbow": (235, 160),
    "right_elbow": (85, 160),
    "left_wrist": (255, 210),
    "right_wrist": (65, 210),
    "left_hip": (185, 220),
    "right_hip": (135, 220),
    "left_knee": (190, 290),
    "right_knee": (130, 290),
    "left_ankle": (195, 355),
    "right_ankle": (125, 355),
}
JOINTS = np.array([FIGURE[name] for name in load_skeleton("coco17").keypoints], dtype=np.float64)
BOX = [55.0, 25.0, 210.0, 345.0]
# hues around the circle at two brightnesses, so that no two joints look alike
COLORS = np.array(
    [cv2.cvtColor(np.uint8([[[i * 10, 255, 255 if i % 2 else 150]]]), cv2.COLOR_HSV2RGB)[0, 0] for i in range(17)]
)


def draw_figure(joints: np.ndarray = JOINTS, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """(H, W, 3) RGB: a disc of COLORS[i] at joint i on grey."""
    image = np.full((size[1], size[0], 3), 128, np.uint8)
    for (x, y), color in zip(joints, COLORS, strict=True):
        cv2.circle(image, (round(x), round(y)), 9, color.tolist(), -1)
    return image


def figure_keypoints(joints: np.ndarray = JOINTS, visibility: int | np.ndarray = 2) -> list[float]:
    """Flat COCO list."""
    return np.column_stack([joints, np.broadcast_to(visibility, len(joints))]).ravel().tolist()


def few_points(*names: str) -> Skeleton:
    """A small skeleton of these names, as files and networks of other keypoints have."""
    return Skeleton("few", names, np.full(len(names), 0.1))


def write_skeleton(path: Path, skeleton: Skeleton) -> Path:
    path.write_text(yaml.safe_dump(skeleton.to_dict(), sort_keys=False))
    return path


def coco_file(people: list[dict], images: list[dict], category: int = 1, name: str = "person") -> dict:
    """A COCO keypoint file; `people` may leave out what is usual."""
    usual = {"category_id": category, "iscrowd": 0, "area": 30000.0, "bbox": BOX}
    annotations = [{"id": i, **usual, **person} for i, person in enumerate(people, start=1)]
    keypoints = list(load_skeleton("coco17").keypoints)
    return {
        "images": [{"width": WIDTH, "height": HEIGHT, **image} for image in images],
        "annotations": annotations,
        "categories": [{"id": category, "name": name, "keypoints": keypoints}],
    }


def write_set(folder: Path, count: int, *, seed: int = 0, category: int = 1, name: str = "person") -> Path:
    """`count` figures of varied posture, one per image: folder/annotations.json and folder/images."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    people, images = [], []
    for i in range(count):
        joints = np.round(JOINTS + rng.normal(0, 12, JOINTS.shape)).clip(12, (WIDTH - 13, HEIGHT - 13))
        image = cv2.resize(draw_figure(joints), (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / "images" / f"{i:03}.png"), image[..., ::-1])
        people.append(
            {"image_id": i, "keypoints": figure_keypoints(joints / 4), "bbox": [v / 4 for v in BOX], "area": 2000.0}
        )
        images.append({"id": i, "file_name": f"{i:03}.png", "width": WIDTH // 4, "height": HEIGHT // 4})
    (folder / "annotations.json").write_text(json.dumps(coco_file(people, images, category, name)))
    return folder


def zipped(folder: Path) -> Path:
    """A zip of a folder beside it."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path
