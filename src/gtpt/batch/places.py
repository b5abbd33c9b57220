"""Where inputs and results are: folders of this machine, or addresses that pyarrow or fsspec knows (s3://, gs://, ...)."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtpt.core.errors import InputError, OutputError
from gtpt.core.extras import require
from gtpt.core.urls import without_secrets
from gtpt.io.formats.file import PARTIAL


@dataclass(frozen=True)
class Place:
    """A folder or file on a file system.

    Attributes:
        address: as it was given.
        files: the `pyarrow.fs.FileSystem`.
        path: on that.
    """

    address: str
    files: Any
    path: str

    def __str__(self) -> str:
        return without_secrets(self.address)

    @property
    def local(self) -> bool:
        """Is it a path of this machine?"""
        return str(self.files.type_name) == "local"

    def join(self, name: str) -> str:
        """The path of something inside."""
        return posixpath.join(self.path, name) if name else self.path

    def listing(self) -> list[tuple[str, int]]:
        """Names inside, with their folders, and bytes of all files, sorted; nothing hidden."""
        selector = require("pyarrow.fs", "ray").FileSelector(self.path, recursive=True, allow_not_found=True)
        found = [
            (posixpath.relpath(f.path, self.path), f.size or 0) for f in self.files.get_file_info(selector) if f.is_file
        ]
        return sorted((n, s) for n, s in found if not any(part.startswith((".", "_")) for part in n.split("/")))

    def kind(self) -> str:
        """file, folder or nothing."""
        types = require("pyarrow.fs", "ray").FileType
        return {types.File: "file", types.Directory: "folder"}.get(self.files.get_file_info(self.path).type, "nothing")

    def read(self, name: str = "") -> bytes:
        """A whole file."""
        with self.files.open_input_stream(self.join(name)) as stream:
            return bytes(stream.read())

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """A stream into a file that is there when it is complete, and not before.

        Raises:
            OutputError: a full disk, no permission; what was there stays.
        """
        path, partial = self.join(name), self.join(f"{name}{PARTIAL}")
        try:
            self.files.create_dir(posixpath.dirname(path), recursive=True)
            try:
                with self.files.open_output_stream(partial) as stream:
                    yield stream
                self.files.move(partial, path)
            except BaseException:
                with suppress(OSError):
                    self.files.delete_file(partial)
                raise
        except OSError as error:
            raise OutputError(
                error.errno or errno.EIO, f"cannot write to {self}: {error.strerror or error}; choose another OUTPUT"
            ) from error


def place_of(address: str | Path) -> Place:
    """The place that an address or a path names.

    Raises:
        InputError: an address that no library here knows.
        MissingExtraError: without the extra `ray`, which brings them.
    """
    arrow, files = require("pyarrow", "ray"), require("pyarrow.fs", "ray")
    text = os.fspath(address)
    if "://" not in text:
        return Place(text, files.LocalFileSystem(), Path(text).absolute().as_posix())
    try:
        system, path = files.FileSystem.from_uri(text)
    except arrow.ArrowInvalid:  # not one of pyarrow's own
        try:
            other, path = require("fsspec.core", "ray").url_to_fs(text)
        except (ValueError, ImportError) as error:
            raise InputError(f"cannot open {without_secrets(text)}: {error}") from None
        system = files.PyFileSystem(files.FSSpecHandler(other))
    except OSError as error:
        raise InputError(f"cannot open {without_secrets(text)}: {error}") from None
    return Place(text, system, path.rstrip("/"))
