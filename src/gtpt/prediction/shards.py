"""The record of one share of a call: everything that `gtpt.merge` needs to write what one call would have written.

A line is a JSON object. The first one says which share of what it is; then for each source one that opens it, its frames,
each followed by the pictures drawn of it, and one that ends it; the last one has the digest of all others. Without that one
the share was not finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gtpt.core.errors import InputError
from gtpt.core.numbers import to_json_text
from gtpt.core.poses import Poses, image_dict
from gtpt.core.urls import without_secrets
from gtpt.detect import GivenBoxes
from gtpt.io.formats import FOLDER_FORMATS, to_openpose
from gtpt.io.formats.file import RecordWriter
from gtpt.prediction.options import Options, Share, described

RECORD = "shard.jsonl"
FORMAT, VERSION = "gtpt-shard", 1


def folder_of(out: str | Path, share: Share) -> Path:
    """Where a share of a call leaves its record and its pictures."""
    return Path(out) / f"shard-{share.number}-of-{share.count}"


class ShardWriter(RecordWriter):
    """Takes the place of a format's writer in a call that does only a share."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)  # of an earlier call, whose pictures are about to change
        self._digest = hashlib.sha256()
        self._kind = ""
        super().__init__(path)

    def begin(self, options: Options, sources: Sequence[str], names: Sequence[str]) -> None:
        """Say which share of what this is.

        Args:
            options: of the call.
            sources: as they were given.
            names: of the sources in results; photos given one by one are one source.
        """
        share = options.share
        assert share is not None
        self._line(
            format=FORMAT,
            version=VERSION,
            gtpt=version("gtpt"),
            shard=[share.number, share.count],
            options=settings_of(options),
            sources=list(names),
            reads=[*map(without_secrets, sources), *map(str, options.files())],
        )

    def open(self, number: int, kind: str, moving: bool, photos: Sequence[Path]) -> None:
        """Begin with a source.

        Args:
            number: of the source.
            kind: format of its results.
            moving: whether it is a film.
            photos: all of the source, of whichever share.
        """
        names = "\0".join(photo.name for photo in photos)
        listing = {"photos": len(photos), "listing": _digest_of(names.encode(errors="surrogateescape"))} if photos else {}
        self._kind = kind
        self._line(source=number, kind=kind, moving=moving, **listing)

    def write(self, poses: Poses, *, frame: int, time: float, name: str, image_id: int | str | None = None) -> None:
        self.check(poses)
        if self._kind in FOLDER_FORMATS:
            to_openpose(poses[:0])  # a skeleton that has no place there is said now, not after the last shard
        if not self.images:
            self._line(skeleton=poses[:0].to_dict()["skeleton"])
        entry = {} if image_id is None else {"image_id": image_id}
        self._line(frame=int(frame), time=float(time), name=name, **entry, **image_dict(poses))
        self.images += 1

    def drawn(self, wanted: str, path: Path) -> None:
        """A picture or film is there; `wanted` is its name where no other has it."""
        self._line(drawn=wanted, file=path.name, bytes=path.stat().st_size)

    def end(self, failed: bool) -> None:
        """Be done with a source, which may have broken off."""
        self._line(end="source", failed=failed)

    def complete(self, skipped: Sequence[tuple[str, str]]) -> None:
        """Be done with the share."""
        self._line(end="shard", skipped=[list(item) for item in skipped])
        self._line(sha256=self._digest.hexdigest())

    def __enter__(self) -> ShardWriter:
        return self

    def _line(self, **content: Any) -> None:
        record = f"{to_json_text(content)}\n".encode()
        self.append(record)
        self._digest.update(record)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()  # also of a share that broke off: what it found is there, and it says that it is not complete


def settings_of(options: Options) -> dict[str, Any]:
    """The options that results depend on, see `as_setting`."""
    names = [name for name, (_, help_) in described().items() if help_.matters]
    return {name: as_setting(getattr(options, name)) for name in names}


def as_setting(value: Any) -> Any:
    """What results depend on as plain JSON: of files what is in them, as their place may differ; of functions the name."""
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    if isinstance(value, Mapping):
        return {"images": len(value), "sha256": GivenBoxes(value).digest()}
    if isinstance(value, (str, Path)) and Path(value).is_file():
        return {"name": Path(value).name, "sha256": _digest_of(Path(value).read_bytes())}
    return str(value) if isinstance(value, Path) else value


def _digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Shard:
    """A finished share, as it was left behind.

    Attributes:
        share: which one it is.
        head: its first line.
        sources: of those that it opened, number to the line that opened it.
        skipped: what could not be used, and why.

    Raises:
        InputError: no record, one that is not complete or was changed since, pictures that are not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / RECORD
        self.sources: dict[int, dict[str, Any]] = {}
        self.skipped: list[tuple[str, str]] = []
        if not self.path.is_file():
            raise InputError(f"{folder} has no {RECORD}: that share was not finished, run it again")
        try:
            self._read()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.path} is damaged, it is no record of a share: run that share again") from error

    def _read(self) -> None:
        digest, before, complete = hashlib.sha256(), b"", False
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if complete:
                    raise InputError(f"{self.path} is damaged, something follows its end: run that share again")
                if line.startswith(b'{"sha256":'):
                    complete = json.loads(line)["sha256"] == digest.hexdigest()
                    if not complete:
                        raise InputError(f"{self.path} is damaged, it is not as it was written: run that share again")
                    continue
                digest.update(line)
                self._note(number, line)
                before = line
        if not complete:
            what = f"share {self.share} was not finished" if hasattr(self, "share") else f"{self.path} is empty"
            raise InputError(f"{what} ({self.folder}): run it again with the same options")
        self.skipped = [(name, reason) for name, reason in json.loads(before)["skipped"]]

    def _note(self, number: int, line: bytes) -> None:
        if number == 0:
            self.head = json.loads(line)
            if self.head["format"] != FORMAT or self.head["version"] != VERSION:
                raise InputError(
                    f"{self.path} is no record of this version of gtpt ({FORMAT} {VERSION}): run that share again"
                )
            self.share = Share(*self.head["shard"])
        elif line.startswith(b'{"source":'):
            content = json.loads(line)
            self.sources[content["source"]] = content
        elif line.startswith(b'{"drawn":'):
            content = json.loads(line)
            path = self.folder / Path(content["file"]).name
            if not path.is_file() or path.stat().st_size != content["bytes"]:
                raise InputError(f"{path} is missing or not as it was written: run share {self.share} again")

    def lines(self) -> Iterator[dict[str, Any]]:
        """What is between the first line and the end; frames with the skeleton, as `Poses.from_dict` takes them."""
        skeleton: Any = None
        with self.path.open("rb") as file:
            next(file)
            for line in file:
                content = json.loads(line)
                if content.get("end") == "shard":
                    return
                if "skeleton" in content:
                    skeleton = content["skeleton"]
                else:
                    yield content | ({"skeleton": skeleton} if "frame" in content else {})
