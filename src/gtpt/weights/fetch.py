"""Downloads that survive cut connections, dead mirrors and neighbours: resumed, locked, checked, then moved into place."""

from __future__ import annotations

import errno
import hashlib
import http.client
import logging
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from gtpt.weights.registry import WeightsFile

logger = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds without a byte
CONNECTIONS = 10  # to one source, each going on where the last one broke off
BLOCK = 1 << 18
UNREACHABLE = (urllib.error.URLError, http.client.HTTPException, OSError)


class _SourceFailed(Exception):
    """This source cannot give the file; the next one may."""


def fetch(sources: Sequence[str], target: Path, file: WeightsFile, *, name: str, force: bool = False) -> Path:
    """Download a file and check it; two processes that want it at the same time download it once.

    The environment variable GTPT_MIRROR names a folder on a web server (https://...) that is tried first, by file name;
    HF_ENDPOINT replaces https://huggingface.co. Certificates are always verified.

    Args:
        sources: https://... or hf://owner/repository/file, tried in this order.
        target: where the file goes; a `.part` file beside it is resumed.
        file: length and sha256 that it must have.
        name: registered name, for messages.
        force: fetch also if `target` is there.

    Raises:
        FileNotFoundError: GTPT_OFFLINE is set, or there is no source.
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
    with _writing(target), _lock(target.with_name(f"{target.name}.lock")):
        if target.is_file() and not force and not damage(target, file):
            return target  # another process brought it while this one waited
        part = target.with_name(f"{target.name}.part")
        for url in urls:
            try:
                _download(url, part, file, name)
            except _SourceFailed as error:
                failures.append(f"{url}: {error}")
                logger.info("%s", failures[-1])
            else:
                os.replace(part, target)
                return target
    reasons = "\n  ".join(failures)
    raise ConnectionError(f"could not download {name}:\n  {reasons}\nTry again (it resumes), or {by_hand}")


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
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _address(source: str, file: WeightsFile) -> str:
    if source == os.environ.get("GTPT_MIRROR"):
        return f"{source.rstrip('/')}/{file.name}"
    kind, _, rest = source.partition("://")
    if kind != "hf":
        return source
    owner, repository, path = rest.split("/", 2)
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    return f"{hub}/{owner}/{repository}/resolve/main/{path}"


def _download(url: str, part: Path, file: WeightsFile, name: str) -> None:
    """Bring `part` to its full length and check it. A cut connection is taken up again if that brings bytes."""
    logger.info("downloading %s (%.1f MB) from %s", name, file.bytes / 1e6, url)
    resumed = _length(part) > 0
    for _ in range(CONNECTIONS):
        before = _length(part)
        if before < file.bytes:
            _transfer(url, part, file, name)
        if _length(part) <= before:
            break
    if _length(part) < file.bytes:
        raise _SourceFailed(f"the connection broke off after {_length(part)} of {file.bytes} bytes")
    if problem := damage(part, file):
        part.unlink()
        if not resumed:
            raise _SourceFailed(f"not the registered file, {problem}")
        _download(url, part, file, name)  # the beginning may have come from elsewhere: once more from scratch


def _transfer(url: str, part: Path, file: WeightsFile, name: str) -> None:
    """Append to `part` what one connection gives. Errors of the network end it silently, errors of the disk are raised."""
    start = _length(part)
    headers = {"User-Agent": "gtpt", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  # the registry allows http, https, hf only
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        raise _SourceFailed(f"HTTP {error.code} {error.reason}") from error
    except (*UNREACHABLE, ValueError) as error:
        raise _SourceFailed(str(getattr(error, "reason", error)) or type(error).__name__) from error
    goes_on = response.status == http.HTTPStatus.PARTIAL_CONTENT
    with response, part.open("ab" if goes_on else "wb") as out, _progress(name, file.bytes) as advance:
        length = start if goes_on else 0
        advance(length)
        for block in _blocks(response):
            length += len(block)
            if length > file.bytes:
                out.truncate(0)
                raise _SourceFailed(f"not the registered file, it has more than {file.bytes} bytes")
            out.write(block)
            advance(len(block))


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    with suppress(*UNREACHABLE):
        while block := response.read1(BLOCK):
            yield block


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Make the folder, and say what to do where it cannot be written."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write to the cache folder {target.parent} ({error.strerror}): make room or give permission there, or "
            f"choose another folder with the environment variable GTPT_CACHE",
        ) from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock. The system frees it when its holder dies; the empty file stays."""
    with path.open("ab") as file:
        if sys.platform == "win32":
            import msvcrt

            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError as error:
                    if error.errno != errno.EDEADLOCK:  # that one says: still held after ten seconds
                        break
        else:
            import fcntl

            with suppress(OSError):  # some network file systems have no locks: then it works as for a single process
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if that is a terminal; yields a function that takes the number of new bytes."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total)
        yield lambda count: bar.advance(task, count)
