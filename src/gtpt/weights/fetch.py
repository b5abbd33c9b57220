"""Downloads by pooch: from the first source that gives the registered file, checked by sha256, then moved into place."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gtpt.core.errors import WeightsError
from gtpt.core.urls import without_secrets
from gtpt.weights.registry import WeightsFile

logger = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds without a byte, after which the next source is tried
BLOCK = 1 << 18


def fetch(sources: Sequence[str], target: Path, file: WeightsFile, *, name: str, force: bool = False) -> Path:
    """Download a file and check it. What is at `target` stays until the new file is complete and is the right one.

    The environment variable GTPT_MIRROR names a folder on a web server (https://...) that is tried first, by file name;
    HF_ENDPOINT replaces https://huggingface.co. Certificates are always verified.

    Args:
        sources: https://... or hf://owner/repository/file, tried in this order.
        target: where the file goes.
        file: length and sha256 that it must have.
        name: registered name, for messages.
        force: fetch also if `target` is there.

    Raises:
        FileNotFoundError: GTPT_OFFLINE is set, or there is no source.
        WeightsError: an address that is not on the web, such as file://.
        ConnectionError: every source failed; names each with its reason.
        OSError: the folder cannot be written, or the disk is full.
    """
    by_hand = f"copy {file.name} (sha256 {file.sha256}) to {target}, or give the path of such a file instead of the name"
    if is_offline():
        raise FileNotFoundError(f"{name} is not on this machine and GTPT_OFFLINE is set: unset it, or {by_hand}")
    urls = [_address(source, file) for source in (os.environ.get("GTPT_MIRROR"), *sources) if source]
    if not urls:
        raise FileNotFoundError(f"{name} is not on this machine and is registered without a web address: {by_hand}")
    failures = []
    place = target.with_name(f"{target.name}.new") if force else target
    with _writing(target):
        for url in urls:
            if problem := _download(url, place, file, name):
                failures.append(f"{without_secrets(url)}: {problem}")
                logger.info("%s", failures[-1])
                continue
            os.replace(place, target)
            return target
    reasons = "\n  ".join(failures)
    raise ConnectionError(f"could not download {name}:\n  {reasons}\nTry again, or {by_hand}")


def is_offline() -> bool:
    """Whether the environment variable GTPT_OFFLINE forbids downloads."""
    return os.environ.get("GTPT_OFFLINE", "0").lower() not in ("", "0", "false", "no")


def damage(path: Path, file: WeightsFile) -> str | None:
    """What is wrong with a file; None if it is the right one. Its content is read once per process and version."""
    stat = path.stat()
    if stat.st_size != file.bytes:
        return f"it has {stat.st_size} bytes instead of {file.bytes}"
    digest = _sha256(path, stat.st_size, stat.st_mtime_ns)
    return None if digest == file.sha256 else f"its sha256 is {digest} instead of {file.sha256}"


@lru_cache(maxsize=64)
def _sha256(path: Path, _size: int, _modified: int) -> str:
    import pooch

    digest: str = pooch.file_hash(str(path))
    return digest


def _address(source: str, file: WeightsFile) -> str:
    if source == os.environ.get("GTPT_MIRROR"):
        source = f"{source.rstrip('/')}/{file.name}"
    if urlsplit(source).scheme == "hf":
        owner, repository, path = source.removeprefix("hf://").split("/", 2)
        hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        source = f"{hub}/{owner}/{repository}/resolve/main/{path}"
    if urlsplit(source).scheme not in ("https", "http"):
        raise WeightsError(
            f"{without_secrets(source)} is no web address: GTPT_MIRROR and HF_ENDPOINT must begin with https:// (or http://)"
        )
    return source


def _download(url: str, place: Path, file: WeightsFile, name: str) -> str | None:
    """Why this source cannot give the file, None if it did. Errors of the disk are raised."""
    import pooch
    import requests

    logger.info("downloading %s (%.1f MB) from %s", name, file.bytes / 1e6, without_secrets(url))
    pooch.get_logger().setLevel(logging.WARNING)  # it would say so again, on stderr
    with _Bar(name, file.bytes) as bar:
        headers = {"User-Agent": "gtpt", "Accept-Encoding": "identity"}  # the bytes as they are
        get = pooch.HTTPDownloader(
            progressbar=bar, chunk_size=BLOCK, timeout=TIMEOUT, headers=headers, hooks=_no_more_than(file)
        )
        try:
            pooch.retrieve(url, f"sha256:{file.sha256}", place.name, place.parent, downloader=get)
        except requests.RequestException as error:  # before OSError, of which it is one
            reason = str(error).replace(url, without_secrets(url)) or type(error).__name__
            return re.sub(r"(url: \S*?)\?\S*", r"\1", reason)  # the query of a path alone, too
        except _TooLongError:
            return f"it sends more than the {file.bytes} bytes of the registered file"
        except ValueError:  # pooch has thrown it away
            return f"not the registered file, its sha256 is not {file.sha256}"
    return None


class _TooLongError(ValueError):
    """A server that does not stop, which would fill the disk."""


def _no_more_than(file: WeightsFile) -> dict[str, Callable[..., None]]:
    """A hook of requests that breaks off an answer longer than the registered file."""

    def limit(response: Any, *_: Any, **__: Any) -> None:
        read = response.iter_content

        def limited(*args: Any, **kwargs: Any) -> Iterator[bytes]:
            left = file.bytes
            for block in read(*args, **kwargs):
                left -= len(block)
                if left < 0:
                    raise _TooLongError
                yield block

        response.iter_content = limited

    return {"response": limit}


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Make the folder, and say what to do where it cannot be written."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write to the cache folder {target.parent} ({error.strerror or error}): make room or give permission "
            f"there, or choose another folder with the environment variable GTPT_CACHE",
        ) from error


class _Bar:
    """A bar of rich on stderr, if that is a terminal, with the methods that pooch wants of one."""

    def __init__(self, name: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(name, total=total)
        self.total = total  # pooch sets it to what the server says

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, count: int) -> None:
        self._bar.advance(self._task, count)

    def reset(self) -> None:
        self._bar.reset(self._task)

    def close(self) -> None:
        self._bar.stop()
