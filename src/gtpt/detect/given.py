"""Boxes of your own: from COCO files, tables or arrays, found by the image's name."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gtpt.core.errors import AnnotationError
from gtpt.data.annotations import Annotations, read_results
from gtpt.data.images import read_json
from gtpt.detect.detections import Detections, Detector, to_detections

NAMES = ("name", "file", "file_name", "image", "frame")
CORNERS, SIZES = ("x1", "y1", "x2", "y2"), ("x", "y", "w", "h")
Row = tuple["str | int", Sequence[Any], Any, str]  # image, x1 y1 x2 y2, score, where it stands


class GivenBoxes(Detector):
    """Boxes that are known beforehand.

    Boxes kept by file name: every image must be listed, with (0, 4) boxes where there is nobody; a folder in the names
    matters only where a file name occurs twice. Boxes kept by number (COCO image ids, frames of a video): the images must
    be called by numbers ("000000000139.jpg"), and one without boxes is an image without people.

    Args:
        boxes: image -> (N, 4) x1, y1, x2, y2 in pixels, or a tuple of that and (N,) scores, or `Detections`.
        threshold: boxes with a lower score are left out.

    Raises:
        ValueError: boxes that cannot be, named by their image.
    """

    def __init__(self, boxes: Mapping[str | int, Any], *, threshold: float = 0.0):
        self._by_number: dict[int, Detections] = {}
        self._by_name: dict[str, Detections] = {}
        for key, value in boxes.items():
            found = to_detections(value, f"boxes of {key!r}")
            found = found[np.flatnonzero(found.scores >= threshold)]
            if str(key).isdecimal():
                self._by_number[int(key)] = found
            else:
                self._by_name[_path(str(key))] = found
        self._short: dict[str, list[str]] = {}
        for name in self._by_name:
            self._short.setdefault(PurePosixPath(name).name, []).append(name)

    def __len__(self) -> int:
        """Images that have an entry."""
        return len(self._by_number) + len(self._by_name)

    def __call__(self, images: Sequence[np.ndarray], names: Sequence[str] | None = None) -> list[Detections]:
        if names is None or len(names) != len(images):
            raise AnnotationError(f"given boxes are found by name: {len(images)} images need as many names, got {names!r}")
        return [self.find(name) for name in names]

    def find(self, name: str) -> Detections:
        """Boxes of an image by its file name, path or number; ValueError if there is no entry, or more than one fits."""
        path = _path(name)
        candidates = [path] if path in self._by_name else self._short.get(PurePosixPath(path).name, [])
        if len(candidates) > 1:  # the longest common end of the paths decides
            shared = [_shared_tail(path, candidate) for candidate in candidates]
            candidates = [c for c, length in zip(candidates, shared, strict=True) if length == max(shared)]
        if len(candidates) > 1:
            raise AnnotationError(f"boxes for {name!r} are ambiguous: {candidates} all fit; name the image with its folder")
        if candidates:
            return self._by_name[candidates[0]]
        stem = PurePosixPath(path).stem
        if self._by_number and stem.isdecimal():
            return self._by_number.get(int(stem), Detections.empty())
        known = [*self._by_name, *self._by_number][:3]
        hint = "; boxes by image id need images called by numbers" if self._by_number and not self._by_name else ""
        raise AnnotationError(f"no boxes are given for {name!r}; they are for {len(self)} images such as {known}{hint}")


def load_boxes(path: str | Path, *, threshold: float = 0.0) -> GivenBoxes:
    """Boxes from a file.

    Args:
        path: a COCO annotation file (boxes of its people, crowds left out), COCO results
            ([{"image_id", "bbox", "score"}, ...]), or a CSV table with a column name (a photo's file name) or frame
            (its number in a video) and x1, y1, x2, y2 or x, y, w, h, and perhaps score; a row without numbers says that
            nobody is in the image.
        threshold: boxes with a lower score are left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither of these; or a box that is not finite, inverted or empty, or a score outside [0, 1], by its row.
    """
    path = Path(path)
    if path.suffix.lower() not in (".json", ".csv"):
        raise AnnotationError(f"{path}: boxes are read from COCO *.json and from *.csv")
    if not path.is_file():
        raise FileNotFoundError(f"no file with boxes at {path}")
    boxes: dict[str | int, list[list[float]]] = {}
    for image, corners, score, where in _csv_rows(path) if path.suffix.lower() == ".csv" else _coco_rows(path):
        rows = boxes.setdefault(image, [])
        if corners:
            rows.append(_checked(corners, score, where))
    tables = {image: np.array(rows, dtype=np.float32).reshape(-1, 5) for image, rows in boxes.items()}
    return GivenBoxes({image: (t[:, :4], t[:, 4]) for image, t in tables.items()}, threshold=threshold)


def _checked(corners: Sequence[Any], score: Any, where: str) -> list[float]:
    try:
        x1, y1, x2, y2, rating = (float(v) for v in (*corners, score))
    except (TypeError, ValueError):
        raise AnnotationError(
            f"{where}: a box must be four numbers and a score one, got {list(corners)} and {score!r}"
        ) from None
    if not all(map(math.isfinite, (x1, y1, x2, y2))) or x2 <= x1 or y2 <= y1:
        raise AnnotationError(f"{where}: the box from ({x1}, {y1}) to ({x2}, {y2}) is inverted, empty or not finite")
    if not 0 <= rating <= 1:
        raise AnnotationError(f"{where}: a score must be in [0, 1], got {score!r}")
    return [x1, y1, x2, y2, rating]


def _coco_rows(path: Path) -> Iterator[Row]:
    data = read_json(path)
    if isinstance(data, list):
        yield from _result_rows(data, path)
        return
    file = Annotations(data, str(path))
    person = file.person_category()
    names = {number: image.file_name for number, image in file.images_by_id(["file_name"]).items()}
    yield from ((name, (), 1, "") for name in names.values())
    for row in file.annotations:
        if row.category_id == person and not row.iscrowd:
            where = f"{path}, annotation {row.id}"
            if row.image_id not in names:
                raise AnnotationError(f"{where}: image {row.image_id} is not listed")
            yield names[row.image_id], _corners(row.bbox, where), 1, where


def _result_rows(data: list[Any], path: Path) -> Iterator[Row]:
    results = read_results(data, ("image_id", "bbox"), str(path), named=True)
    people = [(i, row) for i, row in enumerate(results) if row.category_id in (None, 1)]
    if data and not people:
        raise AnnotationError(f"{path}: none of the {len(data)} results is a person (category_id 1)")
    for i, row in people:
        where = f"{path}, result {i}"
        assert row.image_id is not None
        yield row.image_id, _corners(row.bbox, where), row.score, where


def _csv_rows(path: Path) -> Iterator[Row]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path} is not a CSV table in UTF-8: {error}") from error
    delimiter = max(",;\t", key="".join(lines[:1]).count)
    table = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
    columns = table.fieldnames or []
    name = next((n for n in NAMES if n in columns), None)
    box = next((b for b in (CORNERS, SIZES) if set(b) <= set(columns)), None)
    if name is None or box is None:
        raise AnnotationError(
            f"{path}: a table of boxes needs a column name or frame and x1, y1, x2, y2 or x, y, w, h; it has {columns}"
        )
    for row in table:
        where = f"{path}, line {table.line_num}"
        values = [row[column] for column in box]
        if not row[name]:
            raise AnnotationError(f"{where}: the {name} of the image is missing")
        corners = () if not any(values) else values if box == CORNERS else _corners(values, where)
        yield row[name], corners, row.get("score") or 1, where


def _corners(xywh: Any, where: str) -> list[float]:
    """x1, y1, x2, y2 of left, top, width, height."""
    try:
        x, y, w, h = (float(v) for v in xywh)
    except (TypeError, ValueError):
        raise AnnotationError(f"{where}: a box must be four numbers x, y, width, height, got {xywh!r}") from None
    return [x, y, x + w, y + h]


def _shared_tail(a: str, b: str) -> int:
    """How many last parts two paths have in common."""
    pairs = zip(reversed(PurePosixPath(a).parts), reversed(PurePosixPath(b).parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _path(name: str) -> str:
    return name.replace("\\", "/")
