"""JSON lines: a header with the skeleton, then one line for each image. The complete format, and the one for videos."""

from __future__ import annotations

from gtpt.core.numbers import to_json_text
from gtpt.core.poses import Poses, image_dict
from gtpt.io.formats.file import RecordWriter

VERSION = 1


class JSONLWriter(RecordWriter):
    def write(self, poses: Poses, *, frame: int, time: float, name: str, image_id: int | str | None = None) -> None:
        self.check(poses)
        lines = [{"frame": int(frame), "time": float(time), "name": name, **image_dict(poses)}]
        if not self.images:
            lines.insert(0, {"format": "gtpt-poses", "version": VERSION, "skeleton": poses.skeleton.to_dict()})
        self.append("".join(f"{to_json_text(line)}\n" for line in lines).encode())
        self.images += 1
