"""What there is to do: photos and films of a folder, or the rows of a Parquet of paths or bytes, in parts."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gtpt.batch.places import Place
from gtpt.core.errors import InputError
from gtpt.core.extras import require
from gtpt.io.sources import IMAGE_SUFFIXES

FILM_SUFFIXES = frozenset(".mp4 .mov .m4v .avi .mkv .webm .mpg .mpeg .ts .mts .m2ts .wmv .flv .ogv .3gp .y4m".split())
MOST = 256  # inputs of a part: what a killed worker does again
PARTS_EACH = 4  # parts that every worker should get, if there are few inputs, so that all end at the same time
PATH, BYTES = "path", "bytes"


@dataclass(frozen=True)
class Part:
    """What one worker does in one go, and what it leaves as one file, whole or not at all.

    Attributes:
        sources: what the inputs are called, each once in the whole batch.
        rows: of a table of bytes, where they are in the row group.
        file: of a table of bytes, its name below INPUT.
        group: of a table of bytes, the number of the row group.
    """

    sources: Sequence[str]
    rows: Sequence[int] = ()
    file: str = ""
    group: int = -1

    @property
    def name(self) -> str:
        """The same for the same sources, so that a part that is done again replaces what it left."""
        return hashlib.sha256("\0".join(self.sources).encode(errors="surrogateescape")).hexdigest()[:24]

    def to_json(self) -> str:
        """For the way to a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Part:
        """What `to_json` gave."""
        return cls(**json.loads(text))


def is_film(source: str) -> bool:
    """By its name."""
    return posixpath.splitext(source)[1].lower() in FILM_SUFFIXES


@dataclass(frozen=True)
class Inputs:
    """All there is, in groups that belong together: those of a folder, or of a row group.

    Attributes:
        groups: parts that may be cut.
        ignored: files that are neither photos nor films.
    """

    groups: Sequence[Part]
    ignored: int = 0

    def __len__(self) -> int:
        return sum(len(group.sources) for group in self.groups)

    def __iter__(self) -> Iterator[str]:
        return (source for group in self.groups for source in group.sources)

    def parts(self, done: Container[str], workers: int) -> list[Part]:
        """What is missing; films first and one by one, as they take longest."""
        missing = [_without(group, done) for group in self.groups]
        count = sum(len(group.sources) for group in missing)
        size = max(1, min(MOST, -(-count // (PARTS_EACH * workers))))
        parts = [part for group in missing for part in _cut(group, size)]
        return sorted(parts, key=lambda part: not is_film(part.sources[0]))


def _without(group: Part, done: Container[str]) -> Part:
    left = [i for i, source in enumerate(group.sources) if source not in done]
    rows = [group.rows[i] for i in left] if group.rows else ()
    return Part([group.sources[i] for i in left], rows, group.file, group.group)


def _cut(group: Part, size: int) -> Iterator[Part]:
    if group.group < 0:
        films = [source for source in group.sources if is_film(source)]
        photos = [source for source in group.sources if not is_film(source)]
        yield from (Part([film]) for film in films)
        yield from (Part(photos[at : at + size]) for at in range(0, len(photos), size))
    else:
        for at in range(0, len(group.sources), size):
            here = slice(at, at + size)
            yield Part(group.sources[here], group.rows[here], group.file, group.group)


def list_inputs(place: Place) -> Inputs:
    """Everything at an address.

    Args:
        place: a folder of photos and films, also in folders inside it; a *.parquet, or a folder of them alone.

    Raises:
        InputError: nothing there, or a Parquet without the columns that are needed; says which.
    """
    try:
        kind = place.kind()
        names = [name for name, _ in place.listing()] if kind == "folder" else []
    except OSError as error:
        raise InputError(f"cannot read {place}: {error}") from error
    if kind == "nothing":
        raise InputError(f"there is nothing at {place}")
    tables = [name for name in names if name.endswith(".parquet")]
    if kind == "file" and place.path.endswith(".parquet"):
        tables = names = [""]
    if tables and len(tables) == len(names):
        return _of_tables(place, tables)
    if kind == "file":
        raise InputError(f"{place} is one file: give its folder, a *.parquet, or use `gtpt predict`")
    usable = [n for n in names if is_film(n) or posixpath.splitext(n)[1].lower() in IMAGE_SUFFIXES]
    if not usable:
        raise InputError(f"there are no photos or films in {place}, and it is no folder of *.parquet alone")
    return Inputs([Part(usable)], len(names) - len(usable))


def _of_tables(place: Place, names: Sequence[str]) -> Inputs:
    groups = [group for name in names for group in _of_table(place, name)]
    counted = Counter(source for group in groups for source in group.sources)
    if twice := [source for source, count in counted.items() if count > 1]:
        raise InputError(
            f"{place}: {len(twice):,} values of column {PATH!r} are there twice, {twice[0]!r} first: number them"
        )
    if not counted:
        raise InputError(f"{place} has no rows")
    if groups[0].group < 0:
        return Inputs([Part([source for group in groups for source in group.sources])])
    return Inputs(groups)


def _of_table(place: Place, name: str) -> Iterator[Part]:
    """Per row group what it holds; without a column of bytes the paths alone."""
    arrow, parquet = require("pyarrow", "ray"), require("pyarrow.parquet", "ray")
    where = f"{place}/{name}" if name else str(place)
    try:
        with place.files.open_input_file(place.join(name)) as opened:
            file = parquet.ParquetFile(opened)
            has_bytes = check_columns(file.schema_arrow, where)
            has_path = PATH in file.schema_arrow.names
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if has_path:
                    sources = file.read_row_group(group, columns=[PATH]).column(PATH).to_pylist()
                    if None in sources:
                        raise InputError(
                            f"{where}: column {PATH!r} has a row without a value, number {sources.index(None)}"
                        )
                else:
                    base = posixpath.basename(place.join(name))
                    sources = [f"{base}#{group}#{row}" for row in range(count)]
                yield Part(sources, range(count), name, group) if has_bytes else Part(sources)
    except (arrow.ArrowInvalid, OSError) as error:
        raise InputError(f"cannot read {where} as Parquet: {error}") from error


def check_columns(schema: Any, where: str) -> bool:
    """Whether a table holds the photos themselves, as bytes; if not, it holds paths.

    Raises:
        InputError: neither, or columns of another type.
    """
    types = require("pyarrow", "ray").types
    found = {field.name: field.type for field in schema}
    path, content = found.get(PATH), found.get(BYTES)
    text_ok = path is None or types.is_string(path) or types.is_large_string(path)
    bytes_ok = content is None or types.is_binary(content) or types.is_large_binary(content)
    if (path is None and content is None) or not text_ok or not bytes_ok:
        listed = ", ".join(f"{name}: {kind}" for name, kind in found.items()) or "none"
        raise InputError(
            f"{where} needs a column {PATH!r} (string: addresses of photos and films), or {BYTES!r} (binary: photos), with "
            f"or without {PATH!r} for their names; its columns are {listed}"
        )
    return content is not None
