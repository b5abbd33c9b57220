"""Parquet: the same tidy table as CSV, in row groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gtpt.core.extras import require
from gtpt.core.poses import Poses
from gtpt.io.formats.csv import FRAME_COLUMNS, readable
from gtpt.io.formats.file import FileWriter, Reserve, naming_errors
from gtpt.io.formats.table import TABLE_COLUMNS, to_table

ROWS_PER_GROUP = 1 << 16  # 3,855 people of 17 keypoints; about 6 MB of memory
RESERVE = 1 << 20  # bytes of the disk that are held for the file's index, without which nothing of it can be read


class ParquetWriter(FileWriter):
    def __init__(self, path: Path) -> None:
        arrow = require("pyarrow", "dataframe")
        parquet = require("pyarrow.parquet", "dataframe")
        super().__init__(path)
        whole, number, text = arrow.int64(), arrow.float32(), arrow.string()
        types = {"time": arrow.float64(), "name": text, "joint": text, **dict.fromkeys(("frame", "person", "id"), whole)}
        columns = (*FRAME_COLUMNS, *TABLE_COLUMNS)
        self._schema = arrow.schema([(column, types.get(column, number)) for column in columns])
        self._to_table = arrow.table
        self._writer = parquet.ParquetWriter(self.file, self._schema)
        self._waiting: list[dict[str, np.ndarray]] = []
        self._reserve, self._size = Reserve(path.parent), RESERVE  # what waits finds its place on the disk
        self._rows = 0
        self._groups = 0

    def write(self, poses: Poses, *, frame: int, time: float, name: str, image_id: int | str | None = None) -> None:
        table = to_table(poses, frame=frame, time=time, name=readable(name))
        size = self._size + sum(column.nbytes for column in table.values())
        with naming_errors(self.path):
            self._reserve.hold(size)
        self._size = size
        self._waiting.append(table)
        self._rows += poses.keypoint_scores.size
        if self._rows >= ROWS_PER_GROUP:
            with naming_errors(self.path):
                self._flush()
        self.images += 1

    def finish(self) -> None:
        try:
            self._flush()
        finally:
            self._reserve.close()
            self._writer.close()

    def usable(self) -> bool:
        return self._groups > 0  # the last rows found no place, but those before have their index

    def _flush(self) -> None:
        waiting, self._waiting, self._rows = self._waiting, [], 0
        if not waiting:
            return
        columns = {key: np.concatenate([table[key] for table in waiting]) for key in self._schema.names}
        table = self._to_table(columns, schema=self._schema)
        self._reserve.free(keep=RESERVE)
        self._writer.write_table(table)
        self._groups += 1
        self._size = RESERVE
