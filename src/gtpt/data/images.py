"""Where images and annotations lie: in folders, or inside zip files that are never unpacked."""

from __future__ import annotations

import os
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from gtpt.core.errors import AnnotationError
from gtpt.core.text import parse_json
from gtpt.io.images import StoredImage, decode_stored, read_file

MEMBER_BYTES = 1 << 31  # of a file in a zip, in memory


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
        self._listings: dict[Path, dict[str, str]] = {}  # of folders that were searched, by composed names
        self._members: dict[str, str] | None = None
        self._zip, self._prefix = _split_zip(self.root)
        if self._zip is None and not self.root.is_dir():
            raise FileNotFoundError(f"no folder or zip file at {self.root}")

    def read_bytes(self, name: str) -> bytes:
        """Content of a file; FileNotFoundError or, of a damaged zip, ValueError name it and the store."""
        found = self.find(name)
        if self._zip is None:
            return read_file(self.root / (found or name))
        if found is None:
            raise FileNotFoundError(f"no {self._prefix}{name} in {self._zip}")
        member = self._open().NameToInfo[f"{self._prefix}{found}"]
        if member.file_size > MEMBER_BYTES:
            raise AnnotationError(
                f"{self._prefix}{name} in {self._zip} unpacks to more than {MEMBER_BYTES >> 30} GB: unzip it"
            )
        try:
            return self._open().read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise AnnotationError(f"{self._prefix}{name} in {self._zip} is damaged ({error}); copy it again") from error
        except RuntimeError as error:  # a password, or a way of packing that Python lacks
            raise AnnotationError(
                f"{self._prefix}{name} in {self._zip} cannot be unpacked here ({error}); zip it anew"
            ) from error

    def read_image(self, name: str, *, ignore_orientation: bool = False) -> np.ndarray:
        """RGB uint8 (H, W, 3), upright or with the pixels as stored."""
        stored = self.read_stored(name)
        return stored.pixels if ignore_orientation else stored.upright

    def read_stored(self, name: str) -> StoredImage:
        """The image as stored, and which way up it is meant to be seen."""
        return decode_stored(self.read_bytes(name), f"{self.root}/{name}")

    def exists(self, name: str) -> bool:
        return self.find(name) is not None

    def find(self, name: str) -> str | None:
        """The name that a file has here; None if there is none.

        The name as it is comes first. Else backslashes, which Windows writes, are taken for slashes, and letters with
        accents are the same however they are composed: macOS and archives take them apart.

        Raises:
            AnnotationError: a name that leads out of this store.
        """
        slashes = name.replace("\\", "/")
        if PurePosixPath(slashes).is_absolute() or ".." in PurePosixPath(slashes).parts or PureWindowsPath(name).drive:
            raise AnnotationError(f"{name!r} lies outside of {self.root}: names of images are relative to their folder")
        if self._zip is not None:
            members = self._open().NameToInfo
            for candidate in (name, slashes):
                if f"{self._prefix}{candidate}" in members:
                    return candidate
            return self._composed().get(unicodedata.normalize("NFC", slashes))
        for candidate in (name, slashes):
            if (self.root / candidate).is_file():
                return candidate
        return self._find_composed(PurePosixPath(slashes))

    def _find_composed(self, path: PurePosixPath) -> str | None:
        """A file of a folder whose name differs only in how accents are composed, folder by folder."""
        found = self.root
        for part in path.parts:
            try:
                names = self._listings.get(found) or {unicodedata.normalize("NFC", n): n for n in os.listdir(found)}
            except OSError:
                return None
            self._listings[found] = names
            if (same := names.get(unicodedata.normalize("NFC", part))) is None:
                return None
            found = found / same
        return found.relative_to(self.root).as_posix() if found.is_file() else None

    def _composed(self) -> dict[str, str]:
        """Members below the prefix by their composed names with slashes."""
        if self._members is None:
            start = len(self._prefix)
            inside = [name[start:] for name in self._open().NameToInfo if name.startswith(self._prefix)]
            self._members = {unicodedata.normalize("NFC", name.replace("\\", "/")): name for name in inside}
        return self._members

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
    return parse_json(raw, str(path), AnnotationError)
