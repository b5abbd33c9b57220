"""CSV: tidy, a row for each person and joint."""

from __future__ import annotations

from gtpt import formats
from gtpt.poses import Poses
from gtpt.writers.file import RecordWriter

FRAME_COLUMNS = ("frame", "time", "name")


class CSVWriter(RecordWriter):
    head = (",".join((*FRAME_COLUMNS, *formats.TABLE_COLUMNS)) + "\n").encode()

    def write(self, poses: Poses, *, frame: int, time: float, name: str) -> None:
        table = formats.to_table(poses, frame=frame, time=time, name=readable(name))
        self.append(formats.table_to_csv(table, header=False).encode())
        self.images += 1


def readable(name: str) -> str:
    """A file name that can be written as UTF-8: names on Linux may hold any bytes."""
    return name.encode(errors="backslashreplace").decode()
