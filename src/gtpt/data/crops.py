"""Real crops for verifying, calibrating and timing: from a COCO crop archive or from plain photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gtpt.core.errors import AnnotationError
from gtpt.core.geometry import affine_matrices, boxes_to_crops, crop
from gtpt.core.skeleton import Skeleton
from gtpt.data.coco import open_stores, read_coco
from gtpt.data.dataset import CropDataset
from gtpt.io.sources import open_source


def load_crops(path: str | Path, skeleton: Skeleton, input_size: tuple[int, int], limit: int = 64) -> np.ndarray:
    """Crops as the network sees them.

    Args:
        path: a zip or folder with annotations.json in COCO form (one crop per person), or a photo or folder of photos
            (one crop of each whole photo).
        skeleton: of the annotations.
        input_size: width, height of the crops.
        limit: take about so many, spread evenly.

    Returns:
        (N, height, width, 3) uint8 RGB.

    Raises:
        FileNotFoundError, ValueError: no such path, or nothing usable in it.
    """
    path = Path(path)
    if path.suffix.lower() == ".zip" or (path / "annotations.json").is_file():
        persons = read_coco(path / "annotations.json", skeleton)
        if not len(persons):
            raise AnnotationError(f"{path}: no person with keypoints in annotations.json")
        chosen = np.unique(np.linspace(0, len(persons) - 1, limit).astype(int))
        dataset = CropDataset(persons, open_stores([path]), skeleton, input_size)
        return np.stack([dataset[0, int(i)]["crop"] for i in chosen])
    crops = []
    with open_source(path) as source:
        count = source.frame_count or limit
    with open_source(path, stride=max(count // limit, 1)) as source:
        for frame in source:
            height, width = frame.image.shape[:2]
            center, size = boxes_to_crops(np.array([[0, 0, width, height]]), input_size[0] / input_size[1])
            crops.append(crop(frame.image, affine_matrices(center, size, input_size)[0], input_size))
            if len(crops) == limit:
                break
    return np.stack(crops)
