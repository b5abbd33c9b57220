"""COCO results: one JSON list that pycocotools' `loadRes` reads, written as it grows."""

from __future__ import annotations

import logging
from pathlib import Path

from gtpt import formats
from gtpt.poses import Poses
from gtpt.sources import IMAGE_SUFFIXES
from gtpt.writers.file import RecordWriter

logger = logging.getLogger(__name__)


class COCOWriter(RecordWriter):
    head = b"["
    tail = b"\n]\n"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._separator = "\n"
        self._photos: dict[int, str] = {}

    def write(self, poses: Poses, *, frame: int, time: float, name: str) -> None:
        self.check(poses)
        entries = [{**e, "file_name": name} for e in poses.to_coco(self._image_id(name, frame))]
        if entries:
            self.append((self._separator + ",\n".join(map(formats.to_json_text, entries))).encode())
            self._separator = ",\n"
        self.images += 1

    def _image_id(self, name: str, frame: int) -> int:
        """The number that names a photo, as COCO's files are named; else that of the frame. Never that of another photo."""
        path = Path(name)
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return frame
        number = int(path.stem) if path.stem.isdecimal() else frame
        if self._photos.get(number, name) != name:
            free = max(self._photos) + 1
            logger.warning("%s gets image_id %d, since %d is that of %s", name, free, number, self._photos[number])
            number = free
        self._photos[number] = name
        return number
