"""From a name to a verified file: bundled, cached, at a path, or downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

from gtpt.core.errors import WeightsError
from gtpt.weights.fetch import damage, fetch
from gtpt.weights.registry import BUNDLED, Weights, WeightsFile, load_registry


def cache_dir() -> Path:
    """Where downloads go: $GTPT_CACHE, else the platform's place for caches ($XDG_CACHE_HOME/gtpt, ~/.cache/gtpt, ...)."""
    if chosen := os.environ.get("GTPT_CACHE"):
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("gtpt", appauthor=False, opinion=False)


def list_weights(registry: str | Path | None = None) -> list[dict[str, Any]]:
    """A row per registered file: name, task, skeleton, size, licence, format, file, bytes, sha256, status.

    The status is "bundled", "cached", "local" (at a path of the registry) or "remote"; it looks whether files exist, not
    whether they are sound. Plain JSON types.
    """
    rows = []
    for entry in load_registry(registry).values():
        for kind, file in entry.files.items():
            status = next((status for status, path in _places(entry, file) if path.is_file()), "remote")
            about = entry.model_dump(mode="json", include={"name", "task", "skeleton", "size", "licence"})
            about |= {"format": kind, "file": file.name, "bytes": file.bytes, "sha256": file.sha256, "status": status}
            rows.append(about)
    return rows


def resolve(
    weights: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    task: str | None = None,
    registry: str | Path | None = None,
) -> Path:
    """A file that can be opened: a path as it is, a registered name verified, and downloaded if it is nowhere here.

    Args:
        weights: registered name, or path of a file (which is not verified: nobody said what it should be).
        format: of a registered name, e.g. "onnx"; None for its default.
        task: "pose" or "detector": what a registered name must be for; None for anything.
        registry: a registry file of your own instead of the built-in one.

    Raises:
        FileNotFoundError: neither a name nor a file; or not here and GTPT_OFFLINE forbids to fetch it.
        ValueError: no such format, a name for another task, or a file that is damaged; says what to do.
        OSError: a cache folder that cannot be written, or a download that failed everywhere (ConnectionError).
    """
    entries = load_registry(registry)
    entry = entries.get(str(weights))
    if entry is not None:
        if task not in (None, entry.task):
            fitting = sorted(name for name, other in entries.items() if other.task == task)
            raise WeightsError(
                f"{entry.name} is for the task {entry.task!r}, not {task!r}: take a file or one of {fitting}"
            )
        return _obtain(entry, entry.file(format))
    if Path(weights).is_file():
        return Path(weights)
    raise FileNotFoundError(f"no weights {str(weights)!r}: give a file or one of the registered names {sorted(entries)}")


def download(
    name: str,
    *,
    format: str | None = None,  # noqa: A002
    force: bool = False,
    registry: str | Path | None = None,
) -> Path:
    """Have a registered file here, e.g. before going offline; `resolve` does the same when it is needed.

    Args:
        name: registered name.
        format: e.g. "onnx"; None for the default of the name.
        force: throw the cached file away and fetch it again.
        registry: a registry file of your own.

    Raises:
        ValueError: an unknown name or format. Else as `resolve`.
    """
    entries = load_registry(registry)
    if name not in entries:
        raise WeightsError(f"no weights called {name!r}: registered are {sorted(entries)}")
    return _obtain(entries[name], entries[name].file(format), force=force)


def _obtain(entry: Weights, file: WeightsFile, *, force: bool = False) -> Path:
    for status, path in _places(entry, file):
        if path.is_file() and not (force and status == "cached"):
            if problem := damage(path, file):
                raise WeightsError(f"{path} is damaged: {problem}. {_cure(status, path, entry.name)}")
            return path
    urls = [source for source in file.sources if "://" in source]
    return fetch(urls, _cached(file), file, name=entry.name, force=force)


def _places(entry: Weights, file: WeightsFile) -> Iterator[tuple[str, Path]]:
    """Where the file may lie on this machine, best first."""
    yield "bundled", BUNDLED / file.name
    yield "cached", _cached(file)
    for source in file.sources:
        if "://" not in source:
            yield "local", entry.folder / Path(source).expanduser()


def _cached(file: WeightsFile) -> Path:
    """The digest in the name keeps versions apart: a new release never meets the old one's file."""
    name = Path(file.name)
    return cache_dir() / f"{name.stem}-{file.sha256[:8]}{name.suffix}"


def _cure(status: str, path: Path, name: str) -> str:
    return {
        "bundled": "Install gtpt again: pip install --force-reinstall --no-deps gtpt",
        "cached": f"Delete {path}, or run `gtpt weights download {name} --force`",
        "local": "Copy it again, or correct its sha256 and bytes in the registry",
    }[status]
