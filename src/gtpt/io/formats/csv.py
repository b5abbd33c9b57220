"""CSV: tidy, a row for each person and joint."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import numpy as np

from gtpt.core.poses import Poses
from gtpt.io.formats.file import RecordWriter
from gtpt.io.formats.table import TABLE_COLUMNS, to_table

FRAME_COLUMNS = ("frame", "time", "name")


def to_csv(poses: Poses) -> str:
    """The tidy table with a header line, a row for each person and joint; numbers read back as the same float32."""
    return table_to_csv(to_table(poses), header=True)


def table_to_csv(table: Mapping[str, np.ndarray], *, header: bool) -> str:
    """Comma-separated text, decimal points, \\n; a value that is not finite is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(table)
    writer.writerows(zip(*(_cells(column) for column in table.values()), strict=True))
    return text.getvalue()


class CSVWriter(RecordWriter):
    head = (",".join((*FRAME_COLUMNS, *TABLE_COLUMNS)) + "\n").encode()

    def write(self, poses: Poses, *, frame: int, time: float, name: str, image_id: int | str | None = None) -> None:
        table = to_table(poses, frame=frame, time=time, name=readable(name))
        self.append(table_to_csv(table, header=False).encode())
        self.images += 1


def readable(name: str) -> str:
    """A file name that can be written as UTF-8: names on Linux may hold any bytes."""
    return name.encode(errors="backslashreplace").decode()


def _cells(column: np.ndarray) -> list[str]:
    text = column.astype(str)
    cells: list[str] = (np.where(np.isfinite(column), text, "") if column.dtype.kind == "f" else text).tolist()
    return cells
