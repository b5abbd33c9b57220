"""Boxes of your own: from COCO files, tables or arrays, found by the image's name."""

from __future__ import annotations

import csv
import hashlib
import logging
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from gtpt.core.errors import AnnotationError
from gtpt.core.geometry import MAX_COORDINATE, meant_pixels, turn_boxes, turned_back
from gtpt.data.annotations import Annotations, read_results
from gtpt.data.images import read_json
from gtpt.detect.detections import SCORE_ROUNDING, SHARES, Detections, Detector, in_first_pixel, to_detections

if TYPE_CHECKING:
    from gtpt.io.sources import Frame

logger = logging.getLogger(__name__)

NAMES = ("name", "file", "file_name", "image", "frame")
CORNERS, SIZES = ("x1", "y1", "x2", "y2"), ("x", "y", "w", "h")


@dataclass(frozen=True)
class ImageEntry:
    """An image as a COCO file lists it.

    Attributes:
        id: of the image.
        size: width and height that the boxes refer to; None where the file does not say.
    """

    id: int | str
    size: tuple[float, float] | None = None


class GivenBoxes(Detector):
    """Boxes that are known beforehand.

    Boxes kept by file name: every image must be listed, with (0, 4) boxes where there is nobody; a folder in the names
    matters only where a file name occurs twice, among them or among the images (`meant_for`). Boxes kept by number (COCO
    image ids, frames of a video): the images must be called by numbers ("000000000139.jpg"), and one without boxes is an
    image without people.

    Args:
        boxes: image -> (N, 4) x1, y1, x2, y2 in pixels, or a tuple of that and (N,) scores, or `Detections`.
        threshold: boxes with a lower score are left out.
        images: what the file of the boxes says of an image beside them, by the same names.

    Attributes:
        skipped: entries of a file that could not be used: where they stand, and why.

    Raises:
        AnnotationError: boxes that cannot be, named by their image.
    """

    def __init__(
        self, boxes: Mapping[str | int, Any], *, threshold: float = 0.0, images: Mapping[str, ImageEntry] | None = None
    ):
        self.skipped: list[tuple[str, str]] = []
        self._entries = {_path(name): entry for name, entry in (images or {}).items()}
        self._by_number: dict[int, Detections] = {}
        self._by_name: dict[str, Detections] = {}
        for key, value in boxes.items():
            found = to_detections(value, f"boxes of {key!r}")
            if (small := in_first_pixel(found.boxes)).any():
                raise AnnotationError(f"boxes of {key!r}: {found.boxes[small][0].tolist()} {SHARES}")
            found = found[np.flatnonzero(found.scores >= threshold)]
            if str(key).isdecimal():
                self._by_number[int(key)] = found
            else:
                self._by_name[_path(str(key))] = found
        self._others: dict[str, str] = {}  # images whose name is that of an entry for another one
        self._short: dict[str, list[str]] = {}
        for name in self._by_name:
            self._short.setdefault(PurePosixPath(name).name, []).append(name)

    def __len__(self) -> int:
        """Images that have an entry."""
        return len(self._by_number) + len(self._by_name)

    def digest(self) -> str:
        """sha256 of all boxes and the names of their images."""
        digest = hashlib.sha256()
        everything = [(str(n), found) for n, found in self._by_number.items()] + list(self._by_name.items())
        for name, found in sorted(everything, key=itemgetter(0)):
            digest.update(f"{name}\0{len(found)}\0".encode(errors="surrogateescape"))
            digest.update(found.boxes.tobytes() + found.scores.tobytes())
        return digest.hexdigest()

    def _detect(self, images: Sequence[np.ndarray], names: Sequence[str] | None) -> list[Detections]:
        if names is None or len(names) != len(images):
            raise AnnotationError(f"given boxes are found by name: {len(images)} images need as many names, got {names!r}")
        return [self.find(name) for name in names]

    def of_frames(self, frames: Sequence[Frame]) -> list[Detections]:
        """Boxes of each frame, on the picture as it is seen.

        A COCO file may mean the picture as stored or as turned upright by its EXIF orientation: its width and height tell.
        Where both have the same size it means the stored one, as COCO does, with a warning.
        """
        return [self._turned(self.find(frame.key), frame) for frame in frames]

    def meant_for(self, names: Iterable[str]) -> None:
        """Tell which images there are, so that no entry is taken for two of them.

        Where images of one name lie in several folders, an entry is for that image whose folders are its own; boxes of
        "A/1.jpg" are not for "B/1.jpg". If more than one fits, it is for none.
        """
        claims: dict[str, set[str]] = {}
        for name in {posixpath.normpath(_path(name)) for name in names}:
            for entry in self._fitting(name)[:1]:
                claims.setdefault(entry, set()).add(name)
        for entry, images in claims.items():
            shared = {image: _shared_tail(entry, image) for image in images}
            best = [image for image in images if shared[image] == max(shared.values())]
            self._others |= dict.fromkeys(images if len(best) > 1 else images - set(best), entry)

    def image_id(self, name: str) -> int | str | None:
        """What the file of the boxes calls an image; None where it has only names."""
        entry = self._entries.get(self._entry_of(name) or "")
        return entry.id if entry else None

    def find(self, name: str) -> Detections:
        """Boxes by an image's file name, path or number; AnnotationError if there is no entry, or more than one fits."""
        entry = self._entry_of(name)
        if entry is not None:
            return self._by_name[entry]
        stem = PurePosixPath(_path(name)).stem
        if self._by_number and stem.isdecimal():
            return self._by_number.get(int(stem), Detections.empty())
        known = [*self._by_name, *self._by_number][:3]
        hint = "; boxes by image id need images called by numbers" if self._by_number and not self._by_name else ""
        raise AnnotationError(f"no boxes are given for {name!r}; they are for {len(self)} images such as {known}{hint}")

    def _entry_of(self, name: str) -> str | None:
        """The name under which boxes of an image are kept; None if there are none by name."""
        candidates = self._fitting(_path(name))
        if len(candidates) > 1:
            raise AnnotationError(f"boxes for {name!r} are ambiguous: {candidates} all fit; name the image with its folder")
        if entry := self._others.get(posixpath.normpath(_path(name))):
            raise AnnotationError(
                f"no boxes are given for {name!r}: those of {entry!r} are for another image of that name, or it cannot be "
                f"known for which; name the images in the boxes with their folders"
            )
        return candidates[0] if candidates else None

    def _fitting(self, path: str) -> list[str]:
        candidates = [path] if path in self._by_name else self._short.get(PurePosixPath(path).name, [])
        if len(candidates) > 1:  # the longest common end of the paths decides
            shared = [_shared_tail(path, candidate) for candidate in candidates]
            candidates = [c for c, length in zip(candidates, shared, strict=True) if length == max(shared)]
        return candidates

    def as_annotated(self, found: Detections, frame: Frame) -> Detections:
        """Boxes on the picture as it is seen, on the one that the file of the boxes means: the inverse of `of_frames`."""
        if not self._means_stored(found, frame):
            return found
        height, width = frame.image.shape[:2]
        return Detections(turn_boxes(found.boxes, turned_back(frame.orientation), (width, height)), found.scores)

    def _turned(self, found: Detections, frame: Frame) -> Detections:
        if not self._means_stored(found, frame):
            return found
        return Detections(turn_boxes(found.boxes, frame.orientation, frame.stored_size), found.scores)

    def _means_stored(self, found: Detections, frame: Frame) -> bool:
        """Whether these boxes are on a picture that is stored another way than it is seen."""
        entry = self._entries.get(self._entry_of(frame.key) or "")
        if frame.orientation == 1 or entry is None or not len(found):
            return False
        reading = meant_pixels(entry.size, frame.stored_size, frame.orientation)
        if reading.doubt:
            logger.warning("boxes of %s: %s", frame.key, reading.doubt)
        return reading.stored


def load_boxes(path: str | Path, *, threshold: float = 0.0) -> GivenBoxes:
    """Boxes from a file.

    Args:
        path: a COCO annotation file (boxes of its people, crowds left out), COCO results
            ([{"image_id", "bbox", "score"}, ...]), or a CSV table with a column name (a photo's file name) or frame
            (its number in a video) and x1, y1, x2, y2 or x, y, w, h, and perhaps score; a row without numbers says that
            nobody is in the image.
        threshold: boxes with a lower score are left out.

    Returns:
        The boxes; entries that cannot be used are left out and listed in `skipped`: a box that is not finite, inverted,
        empty or beyond every picture, a score outside [0, 1] by more than rounding, an image that is not listed.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: neither of these, or not a single entry that can be used.
    """
    path = Path(path)
    if path.suffix.lower() not in (".json", ".csv"):
        raise AnnotationError(f"{path}: boxes are read from COCO *.json and from *.csv")
    if not path.is_file():
        raise FileNotFoundError(f"no file with boxes at {path}")
    entries: dict[str, ImageEntry] = {}
    boxes: dict[str | int, list[list[float]]] = {}
    skipped: list[tuple[str, str]] = []
    count = 0
    for row in _csv_rows(path) if path.suffix.lower() == ".csv" else _coco_rows(path, entries):
        try:
            rows = boxes.setdefault(row.image_of(), [])
            if row.box is not None:
                rows.append(row.checked())
                count += 1
        except AnnotationError as error:
            skipped.append((row.where, str(error)))
    if skipped and not count:
        raise AnnotationError(f"{skipped[0][0]}: {skipped[0][1]}")
    tables = {image: np.array(rows, dtype=np.float32).reshape(-1, 5) for image, rows in boxes.items()}
    given = GivenBoxes({image: (t[:, :4], t[:, 4]) for image, t in tables.items()}, threshold=threshold, images=entries)
    given.skipped = skipped
    return given


@dataclass(frozen=True)
class _Row:
    """An entry of a file.

    Attributes:
        image: name or number; None if it is missing or not listed, which `where` and `problem` tell.
        box: what stands there; None for an image without anybody.
        corners: whether that is x1, y1, x2, y2 instead of x, y, width, height.
    """

    where: str
    image: str | int | None
    box: Any
    score: Any = 1
    corners: bool = False
    problem: str = ""

    def image_of(self) -> str | int:
        if self.image is None:
            raise AnnotationError(self.problem)
        return self.image

    def checked(self) -> list[float]:
        """x1, y1, x2, y2, score."""
        form = "x1, y1, x2, y2" if self.corners else "x, y, width, height"
        try:
            x1, y1, x2, y2 = (float(v) for v in self.box)
            rating = float(self.score)
        except (TypeError, ValueError, OverflowError):
            raise AnnotationError(
                f"a box must be four numbers {form} and a score one, got {self.box!r:.60} and {self.score!r:.20}"
            ) from None
        x2, y2 = (x2, y2) if self.corners else (x1 + x2, y1 + y2)
        corners = np.array([x1, y1, x2, y2], dtype=np.float64)
        if not (np.abs(corners) <= MAX_COORDINATE).all() or x2 <= x1 or y2 <= y1:
            raise AnnotationError(
                f"the box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) is inverted, empty, not finite or beyond every picture"
            )
        if in_first_pixel(corners[None])[0]:
            raise AnnotationError(f"the box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) {SHARES}")
        if not -SCORE_ROUNDING <= rating <= 1 + SCORE_ROUNDING:
            raise AnnotationError(f"a score must be in [0, 1], got {self.score!r:.20}")
        return [x1, y1, x2, y2, min(max(rating, 0.0), 1.0)]


def _coco_rows(path: Path, entries: dict[str, ImageEntry]) -> Iterator[_Row]:
    """Rows of a COCO file, whose images are put into `entries`, or of COCO results."""
    data = read_json(path)
    if isinstance(data, list):
        yield from _result_rows(data, path)
        return
    file = Annotations(data, str(path))
    person, categories = file.person_category(), {category.id for category in file.categories}
    images = file.images_by_id(["file_name"])
    files = {(image.id, image.file_name) for image in file.images}
    twice = {id_ for id_, count in Counter(id_ for id_, _ in files).items() if count > 1}
    for image in images.values():
        if image.id in twice:
            yield _Row(f"{path}, image {image.id}", None, None, problem=f"the id {image.id} is that of several files")
            continue
        if (first := entries.get(image.file_name)) is not None:
            where = f"{path}, image {image.id}"
            yield _Row(where, None, None, problem=f"its file is that of image {first.id}, whose id the results get")
            continue
        stated = not image.lacks(["width", "height"])
        entries[image.file_name] = ImageEntry(image.id, image.size if stated else None)
        yield _Row("", image.file_name, None)
    for row in file.annotations:
        where = f"{path}, annotation {row.id}"
        if row.category_id not in categories:
            yield _Row(where, None, None, problem=f"category {row.category_id} is not listed")
        elif row.image_id in twice:
            yield _Row(where, None, None, problem=f"image {row.image_id} is several files")
        elif row.category_id == person and not row.iscrowd:
            owner = images.get(row.image_id) if row.image_id is not None else None
            box = () if row.bbox is None else row.bbox
            name = owner.file_name if owner is not None else None
            yield _Row(where, name, box, problem=f"image {row.image_id} is not listed")


def _result_rows(data: list[Any], path: Path) -> Iterator[_Row]:
    results = read_results(data, ("image_id", "bbox"), str(path))
    people = [(i, row) for i, row in enumerate(results) if row.category_id in (None, 1, "person")]
    if data and not people:
        raise AnnotationError(f"{path}: none of the {len(data)} results is a person (category_id 1)")
    for i, row in people:
        yield _Row(f"{path}, result {i}", row.image_id, () if row.bbox is None else row.bbox, row.score)


def _csv_rows(path: Path) -> Iterator[_Row]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path} is not a CSV table in UTF-8: {error}") from error
    delimiter = max(",;\t", key="".join(lines[:1]).count)
    table = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        table.fieldnames = columns = [column.strip().lower() for column in table.fieldnames or []]
        rows = [(table.line_num, row) for row in table]
    except csv.Error as error:
        raise AnnotationError(f"{path} is not a CSV table, near line {table.line_num + 1}: {error}") from error
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise AnnotationError(f"{path}: the table has the columns {twice} twice: which of them is meant?")
    name = next((n for n in NAMES if n in columns), None)
    box = next((b for b in (CORNERS, SIZES) if set(b) <= set(columns)), None)
    if name is None or box is None:
        raise AnnotationError(
            f"{path}: a table of boxes needs a column name or frame and x1, y1, x2, y2 or x, y, w, h; it has {columns}"
        )
    for line, row in rows:
        values = [row[column] for column in box]
        yield _Row(
            f"{path}, line {line}",
            row[name] or None,
            values if any(values) else None,
            row.get("score") or 1,
            corners=box == CORNERS,
            problem=f"the {name} of the image is missing",
        )


def _shared_tail(a: str, b: str) -> int:
    """How many last parts two paths have in common."""
    pairs = zip(reversed(PurePosixPath(a).parts), reversed(PurePosixPath(b).parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _path(name: str) -> str:
    """With slashes, and characters composed: macOS decomposes those with accents."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))
