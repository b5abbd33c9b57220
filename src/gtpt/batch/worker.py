"""What Ray maps: a part of the inputs to a file of poses."""

from __future__ import annotations

import posixpath
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from gtpt.batch.inputs import BYTES, Part, is_film
from gtpt.batch.places import Place, place_of
from gtpt.batch.table import BEGUN, COUNTS, ERRORS, POSES, Row, errors_schema, poses_schema, to_arrow
from gtpt.core.errors import GtptError, InputError, SourceError
from gtpt.core.extras import require
from gtpt.core.numbers import to_json_text
from gtpt.io.images import decode_stored
from gtpt.io.sources import Frame, Skipped, Source, open_source
from gtpt.prediction.options import Options
from gtpt.prediction.runner import Runner

AHEAD = 4  # photos that are read and decoded while the network works
ATTEMPTS = 4  # at a part whose worker dies, before it is taken for what kills it
ROWS = 512  # that wait in memory before they are written


class Worker:
    """Has the networks open, and does one part after the other. Ray makes one in each of its processes.

    Args:
        input_address, output_address: see `gtpt.batch.batch`.
        options: how people are found.
    """

    def __init__(self, input_address: str, output_address: str, options: Options) -> None:
        self.input, self.output = place_of(input_address), place_of(output_address)
        self.runner = Runner(options)
        self.skeleton = self.runner.estimator.skeleton

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do a part: `batch` holds one, as JSON. The counts of what was done, for the progress."""
        part = Part.from_json(str(batch["part"][0]))
        counts = self.do(part)
        return {"part": [part.name], **{name: [value] for name, value in counts.items()}}

    def do(self, part: Part) -> dict[str, Any]:
        """Write the files of a part: its errors first, as its poses say that it is done."""
        with self._begun(part):
            return self._do(part)

    @contextmanager
    def _begun(self, part: Part) -> Iterator[None]:
        """Ray gives a part to another worker whenever one dies, for ever: a photo that kills them must have an end."""
        mark = f"{BEGUN}/{part.name}"
        try:
            before = len(self.output.read(mark))
        except FileNotFoundError:
            before = 0
        if before >= ATTEMPTS:
            names = ", ".join(part.sources[:8]) + (", ..." if len(part.sources) > 8 else "")
            raise InputError(
                f"{before} workers died, by a lack of memory or a crash of a library, on one of the inputs {names}: leave "
                f"out what kills them and run the same again; what is done is kept"
            )
        with self.output.writing(mark) as stream:
            stream.write(bytes(before + 1))
        yield
        self.output.files.delete_file(self.output.join(mark))

    def _do(self, part: Part) -> dict[str, Any]:
        begin, worked = time.perf_counter(), time.process_time()
        errors: list[tuple[str, str]] = []
        counts = {"inputs": len(part.sources), "images": 0, "people": 0, "errors": 0, "read": 0, "cpu": 0.0, "seconds": 0.0}
        parquet = require("pyarrow.parquet", "ray")
        with self.output.writing(f"{POSES}/{part.name}.parquet") as stream:
            with parquet.ParquetWriter(stream, poses_schema(self.skeleton), compression="zstd") as writer:
                for rows in _chunks(self._rows(part, errors, counts)):
                    writer.write_table(to_arrow(rows, self.skeleton))
                    counts["images"] += len(rows)
                    counts["people"] += sum(len(row.poses) for row in rows)
                counts |= {"errors": len(errors), "seconds": round(time.perf_counter() - begin, 3)}
                counts["cpu"] = round(time.process_time() - worked, 3)
                writer.add_key_value_metadata({COUNTS: to_json_text(counts)})
            if errors:
                self._write_errors(part, errors)
        return counts

    def _write_errors(self, part: Part, errors: Sequence[tuple[str, str]]) -> None:
        table = require("pyarrow", "ray").Table.from_pylist(
            [{"source": source, "error": error} for source, error in errors], schema=errors_schema()
        )
        with self.output.writing(f"{ERRORS}/{part.name}.parquet") as stream:
            require("pyarrow.parquet", "ray").write_table(table, stream)

    def _rows(self, part: Part, errors: list[tuple[str, str]], counts: dict[str, Any]) -> Iterator[Row]:
        if is_film(part.sources[0]) and not part.file:
            yield from self._film(part.sources[0], errors, counts)
            return
        skipped = Skipped(kept=len(part.sources))
        source = Source("folder", self._photos(part, errors, counts), skipped)
        for result in self.runner.results(source):
            yield Row(part.sources[result.frame.index], 0, 0.0, result.poses)
        errors.extend(skipped.items)  # photos without a box, where boxes are given

    def _photos(self, part: Part, errors: list[tuple[str, str]], counts: dict[str, Any]) -> Iterator[Frame]:
        """The photos that can be read; their number is that in the part."""
        with ThreadPoolExecutor(AHEAD) as pool:
            waiting: deque[tuple[int, Future[tuple[Frame, int]]]] = deque()

            def finished() -> Iterator[Frame]:
                number, job = waiting.popleft()
                try:
                    frame, size = job.result()
                except (GtptError, OSError) as error:
                    self._raise_if_offline(error, part.sources[number])
                    errors.append((part.sources[number], str(error)))
                else:
                    counts["read"] += size
                    yield frame

            for number, load in enumerate(self._loaders(part)):
                waiting.append((number, pool.submit(_decode, load, part.sources[number], number)))
                if len(waiting) > AHEAD:
                    yield from finished()
            while waiting:
                yield from finished()

    def _loaders(self, part: Part) -> Iterator[Callable[[], bytes]]:
        """For each photo what gives its content."""
        if not part.file and part.group < 0:
            for source in part.sources:
                yield lambda source=source: self._place(source).read()  # type: ignore[misc]
            return
        with self.input.files.open_input_file(self.input.join(part.file)) as file:
            wanted, first = set(part.rows), 0
            table = require("pyarrow.parquet", "ray").ParquetFile(file)
            for batch in table.iter_batches(row_groups=[part.group], columns=[BYTES], batch_size=64):
                for at, value in enumerate(batch.column(0), start=first):
                    if at in wanted:
                        yield lambda value=value: value.as_py() or b""  # type: ignore[misc]
                first += len(batch)

    def _place(self, source: str) -> Place:
        """Where an input is: an address of its own, or below INPUT, or beside the table that names it."""
        if "://" in source:
            return place_of(source)
        table = self.input.path.endswith(".parquet")
        base = posixpath.dirname(self.input.path) if table else self.input.path
        return Place(source, self.input.files, posixpath.join(base, source))

    def _film(self, source: str, errors: list[tuple[str, str]], counts: dict[str, Any]) -> Iterator[Row]:
        options = self.runner.options
        with ExitStack() as stack:
            try:
                path = self._local(source, stack)
                counts["read"] += path.stat().st_size
                opened = open_source(path, stride=options.stride, start=options.start, end=options.end)
                with opened:
                    for result in self.runner.results(opened):
                        yield Row(source, result.frame.index, result.frame.time, result.poses)
                    errors.extend((source, f"{name}: {reason}") for name, reason in opened.skipped.items)
            except (GtptError, OSError) as error:
                self._raise_if_offline(error, source)
                errors.append((source, str(error)))

    def _raise_if_offline(self, error: Exception, source: str) -> None:
        """A storage that does not answer is no bad input: the part stays undone."""
        gone = (GtptError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
        if not isinstance(error, gone) and not self._place(source).local:
            raise InputError(f"cannot read {source}: {error}; what is done is kept, run the same again") from error

    def _local(self, source: str, stack: ExitStack) -> Path:
        """The film as a file of this machine; one from elsewhere is copied for as long as it is needed."""
        place = self._place(source)
        if place.local:
            return Path(place.path)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gtpt-")))
        target = folder / PurePosixPath(place.path).name
        with place.files.open_input_stream(place.path) as stream, target.open("wb") as file:
            while block := stream.read(1 << 22):
                file.write(block)
        return target


def _decode(load: Callable[[], bytes], source: str, number: int) -> tuple[Frame, int]:
    """A photo, and how many bytes it has."""
    data = load()
    if not data:
        raise SourceError(f"cannot read image {source}: it is empty")
    stored = decode_stored(data, source)
    return Frame(stored.upright, number, 0.0, PurePosixPath(source).name, source, stored.orientation), len(data)


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    waiting: list[Row] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == ROWS:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
