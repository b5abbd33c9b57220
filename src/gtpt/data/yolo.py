"""From a YOLO-pose data set to what `gtpt train` reads: COCO files, a skeleton, and an experiment that starts at once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gtpt.core.errors import AnnotationError
from gtpt.core.progress import Progress
from gtpt.core.skeleton import MAX_KEYPOINTS, Skeleton
from gtpt.core.text import read_yaml
from gtpt.io.images import read_image

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".avif"}
FARTHEST = 3  # sides of the picture: keypoints may lie outside, but what is beyond this is in pixels
OBJECT_AREA = 0.53  # of the box: the mean share that a person's segment covers in COCO


@dataclass(frozen=True)
class Converted:
    """What was written: COCO files by split with their numbers of images and objects, the skeleton, an experiment."""

    splits: dict[str, tuple[Path, int, int]]
    skeleton: Path
    experiment: Path

    def __str__(self) -> str:
        lines = [f"{path}: {images} images, {people} objects" for path, images, people in self.splits.values()]
        return "\n".join([*lines, f"{self.skeleton}", f"now: gtpt train --cfg {self.experiment}"])


def from_yolo(
    config: str | Path,
    out: str | Path,
    *,
    object_class: str | int | None = None,
    progress: Progress = iter,
) -> Converted:
    """Convert a YOLO-pose data set. Its images stay where they are.

    Args:
        config: its data.yaml, with `kpt_shape`, `flip_idx`, `names`, and `train`, `val` as folders or lists of images.
        out: folder for train.json, val.json, skeleton.yaml and experiment.yaml.
        object_class: name or number of the class whose keypoints to learn; None where there is one class.
        progress: wraps the images of each split, e.g. a progress bar.

    Raises:
        FileNotFoundError: no such file, or a split that is named but not there.
        AnnotationError: not a YOLO-pose data set, or a label file that does not fit it; names file and line.
    """
    config, out = Path(config), Path(out)
    data = _read_config(config)
    skeleton, names = _skeleton(data, config), _names(data, config)
    number = _class(names, config, object_class)
    root = Path(_text(data.get("path") or ".", "path", config))
    root = root if root.is_absolute() else config.parent / root
    root = root if root.is_dir() else config.parent  # `path` often is that of another machine
    out.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split in ("train", "val"):
        if data.get(split):
            images = _images(data[split], root, config)
            coco = _convert(progress(images), root, skeleton, names, number, int(data["kpt_shape"][1]))
            path = out / f"{split}.json"
            path.write_text(json.dumps(coco), encoding="utf-8")
            splits[split] = path, len(coco["images"]), len(coco["annotations"])
    if "train" not in splits:
        raise AnnotationError(f"{config} names no training images: `train` must be a folder or a list of images")
    (out / "skeleton.yaml").write_text(yaml.safe_dump(skeleton.to_dict(), sort_keys=False), encoding="utf-8")
    experiment = {
        "out": str(out / "run"),
        "model": {"name": "gtpt-t", "skeleton": str(out / "skeleton.yaml")},
        "data": {
            "train": [{"annotations": str(splits["train"][0]), "images": str(root)}],
            "val": {"annotations": str(splits["val"][0]), "images": str(root)} if "val" in splits else None,
        },
        "train": {"init": "gtpt-t-coco17", "epochs": 50, "batch_size": 16, "devices": 1, "schedule": "cosine"},
    }
    (out / "experiment.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False), encoding="utf-8")
    return Converted(splits, out / "skeleton.yaml", out / "experiment.yaml")


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no data set description at {path}; it is the data.yaml that `yolo pose train` is given")
    data: dict[str, Any] = read_yaml(path)
    shape = data.get("kpt_shape") if isinstance(data, dict) else None
    if (
        not (isinstance(shape, list) and len(shape) == 2 and all(type(v) is int for v in shape))
        or not 0 < shape[0] <= MAX_KEYPOINTS
        or shape[1] not in (2, 3)
    ):
        raise AnnotationError(
            f"{path}: kpt_shape must be [keypoints, 2 or 3] with 1 to {MAX_KEYPOINTS} keypoints, got {shape!r:.60}: this "
            f"is no pose data set"
        )
    return data


def _skeleton(data: dict[str, Any], path: Path) -> Skeleton:
    """Names from `kpt_names` where there are some; pairs from `flip_idx`."""
    count = data["kpt_shape"][0]
    given = data.get("kpt_names")
    given = next(iter(given.values()), None) if isinstance(given, dict) else given
    names = [str(n) for n in given] if isinstance(given, list) else [f"keypoint_{i}" for i in range(count)]
    if len(names) != count:
        raise AnnotationError(f"{path}: kpt_names has {len(names)} names, kpt_shape says {count} keypoints")
    flip = data.get("flip_idx") or list(range(count))
    valid = isinstance(flip, list) and all(type(i) is int for i in flip) and sorted(flip) == list(range(count))
    if not valid or any(flip[flip[i]] != i for i in range(count)):
        raise AnnotationError(f"{path}: flip_idx must name each of the {count} keypoints' mirror image once, got {flip!r}")
    pairs = [[names[i], names[j]] for i, j in enumerate(flip) if i < j]
    return Skeleton.from_dict({"name": path.stem, "keypoints": names, "flip_pairs": pairs}, str(path))


def _names(data: dict[str, Any], path: Path) -> dict[int, str]:
    names = data.get("names") or {0: "object"}
    names = dict(enumerate(map(str, names))) if isinstance(names, list) else names
    if not isinstance(names, dict) or not all(str(k).isdecimal() and len(str(k)) < 10 for k in names):
        raise AnnotationError(f"{path}: names must be a list, or a mapping from numbers, got {names!r:.60}")
    return {int(k): str(v) for k, v in names.items()}


def _class(names: dict[int, str], path: Path, wanted: str | int | None) -> int:
    if wanted is None and len(names) == 1:
        return next(iter(names))
    for number, name in names.items():
        if str(wanted) in (name, str(number)):
            return number
    raise AnnotationError(f"{path} has the classes {names}; choose the one whose keypoints to learn, got {wanted!r}")


def _text(value: Any, key: str, path: Path) -> str:
    if not isinstance(value, str):
        raise AnnotationError(f"{path}: {key} must be a path, got {value!r:.60}")
    return value


def _images(entry: Any, root: Path, config: Path) -> list[Path]:
    """Of a folder, a text file that lists them, or a list of those."""
    found: list[Path] = []
    for item in entry if isinstance(entry, list) else [entry]:
        item = _text(item, "train and val", config)
        path = _place(item, root)
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGES)
        elif path.is_file():
            found += [_place(line, path.parent) for line in filter(None, map(str.strip, _lines(path)))]
        else:
            raise FileNotFoundError(f"{config} names {item!r}, which is not at {path}")
    if not found:
        raise AnnotationError(f"{config}: there is no image in {entry!r}")
    return found


def _place(item: str, root: Path) -> Path:
    """Where a split is: also written on Windows, or one folder too high, as Roboflow exports it."""
    plain = item.replace("\\", "/")
    places = [root / name for name in (item, plain, plain.removeprefix("../"))]
    return next((place for place in places if place.exists()), places[0])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path} is not text in UTF-8: {error}") from error


def _convert(
    images: Iterable[Path], root: Path, skeleton: Skeleton, names: dict[int, str], number: int, values: int
) -> dict[str, list[dict[str, Any]]]:
    coco: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": []}
    coco["categories"] = [{"id": 1, "name": names[number], "keypoints": list(skeleton.keypoints)}]
    for image_id, path in enumerate(images, start=1):
        height, width = read_image(path).shape[:2]
        file = Path(os.path.relpath(path, root)).as_posix()
        coco["images"].append({"id": image_id, "file_name": file, "width": width, "height": height})
        for row in _labels(label_path(path), names, (len(skeleton), values)):
            if int(row[0]) == number:
                size = np.array([width, height])
                extent = row[3:5] * size
                corner = row[1:3] * size - extent / 2
                joints = row[5:].reshape(-1, values)
                seen = joints[:, 2] if values == 3 else np.where((joints > 0).all(axis=1), 2, 0)
                places = joints[:, :2] * size * (seen > 0)[:, None]
                entry = {
                    "id": len(coco["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": np.round([*corner, *extent], 2).tolist(),
                    "area": round(float(extent.prod()) * OBJECT_AREA, 2),
                    "keypoints": np.round(np.column_stack([places, seen]), 2).ravel().tolist(),
                    "num_keypoints": int((seen > 0).sum()),
                }
                coco["annotations"].append(entry)
    return coco


def label_path(image: Path) -> Path:
    """Where YOLO looks for the labels of an image: the last folder `images` is `labels`, the ending is .txt."""
    parts = list(image.parts)
    folders = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _labels(path: Path, names: dict[int, str], shape: tuple[int, int]) -> list[np.ndarray]:
    """Rows of class, box and keypoints, all relative to the image; none where there is no file: nobody is in the image."""
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = np.array(line.split(), dtype=np.float64)
        except ValueError as error:
            raise AnnotationError(f"{path}, line {number}: {error}") from error
        if not len(row):
            continue
        if len(row) != 5 + prod(shape):
            raise AnnotationError(
                f"{path}, line {number} has {len(row)} numbers, not class, box and keypoints: {5 + prod(shape)}"
            )
        if row[0] not in names:
            raise AnnotationError(f"{path}, line {number} has the class {row[0]:g}; data.yaml names {names}")
        box, joints = row[1:5], row[5:].reshape(shape)
        near = np.abs(box).max() <= 1.5 and np.abs(joints[:, :2]).max() <= FARTHEST
        if not (np.isfinite(row).all() and near and box[2:].min() >= 0):
            raise AnnotationError(f"{path}, line {number}: values must be relative to the image, 0..1, got {line:.80}")
        rows.append(row)
    return rows
