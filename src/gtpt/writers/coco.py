"""COCO results: one JSON list that pycocotools' `loadRes` reads, written as it grows."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from gtpt import formats
from gtpt.poses import Poses
from gtpt.writers.file import RecordWriter


class COCOWriter(RecordWriter):
    head = b"["
    tail = b"\n]\n"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._separator = "\n"

    def write(self, poses: Poses, *, frame: int, time: float, name: str) -> None:
        entries = [{**e, "file_name": name} for e in poses.to_coco(image_id(name, frame))]
        if entries:
            self.append((self._separator + ",\n".join(map(formats.to_json_text, entries))).encode())
            self._separator = ",\n"
        self.images += 1


def image_id(name: str, frame: int) -> int:
    """The number that names the photo, as COCO's files are named; for a film or any other name the number of the frame."""
    is_photo = (mimetypes.guess_type(name, strict=False)[0] or "").startswith("image/")
    stem = Path(name).stem
    return int(stem if is_photo and stem.isdecimal() else frame)
