"""Where images and annotations lie: in folders, or inside zip files that are never unpacked."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.errors import AnnotationError
from gtpt.io.images import decode_image, read_file


class FileStore:
    """Files below a folder or inside a zip, by relative name. Safe to use from forked loader processes.

    Args:
        root: a folder, a zip file, or a folder inside a zip ("crops.zip/images").

    Raises:
        FileNotFoundError: neither a folder nor a zip.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self._archive: tuple[int, zipfile.ZipFile] | None = None
        self._zip, self._prefix = _split_zip(self.root)
        if self._zip is None and not self.root.is_dir():
            raise FileNotFoundError(f"no folder or zip file at {self.root}")

    def read_bytes(self, name: str) -> bytes:
        """Content of a file; FileNotFoundError or, of a damaged zip, ValueError name it and the store."""
        if self._zip is None:
            return read_file(self.root / name)
        try:
            return self._open().read(f"{self._prefix}{name}")
        except KeyError:
            raise FileNotFoundError(f"no {self._prefix}{name} in {self._zip}") from None
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise AnnotationError(f"{self._prefix}{name} in {self._zip} is damaged ({error}); copy it again") from error

    def read_image(self, name: str, *, ignore_orientation: bool = False) -> np.ndarray:
        """RGB uint8 (H, W, 3). COCO's boxes and keypoints refer to pixels as stored, without EXIF rotation."""
        return decode_image(self.read_bytes(name), f"{self.root}/{name}", ignore_orientation=ignore_orientation)

    def exists(self, name: str) -> bool:
        if self._zip is None:
            return (self.root / name).is_file()
        return f"{self._prefix}{name}" in self._open().NameToInfo

    def names(self) -> list[str]:
        """All files, sorted."""
        if self._zip is None:
            return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        inside = self._open().namelist()
        return sorted(n[len(self._prefix) :] for n in inside if n.startswith(self._prefix) and not n.endswith("/"))

    def _open(self) -> zipfile.ZipFile:
        """One handle per process: a forked one would share its file position."""
        assert self._zip is not None
        if self._archive is None or self._archive[0] != os.getpid():
            self._archive = os.getpid(), zipfile.ZipFile(self._zip)
        return self._archive[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archive": None}


def _split_zip(path: Path) -> tuple[Path | None, str]:
    """The zip file that a path goes through, and the folder inside it with a trailing slash."""
    for candidate in (path, *path.parents):
        if candidate.suffix.lower() == ".zip" and candidate.is_file():
            if not zipfile.is_zipfile(candidate):
                raise AnnotationError(f"{candidate} is not a zip file or was not copied completely")
            inner = path.relative_to(candidate).as_posix()
            return candidate, "" if inner == "." else f"{inner}/"
    return None, ""


def read_json(path: str | Path) -> Any:
    """JSON from a file or from a member of a zip ("crops.zip/annotations.json").

    Raises:
        FileNotFoundError, ValueError: with the path, and where the JSON breaks off.
    """
    path = Path(path)
    archive, _ = _split_zip(path.parent)
    if archive is None and not path.is_file():
        raise FileNotFoundError(f"no annotation file at {path}")
    raw = path.read_bytes() if archive is None else FileStore(path.parent).read_bytes(path.name)
    try:
        return json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} is not JSON: {error}") from error
