"""Photos by their URL; videos and streams are FFmpeg's."""

from __future__ import annotations

import base64
import time
from http.client import HTTPException
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from gtpt.core.errors import SourceError
from gtpt.core.urls import without_secrets
from gtpt.io.sources.photos import IMAGE_SUFFIXES
from gtpt.io.sources.video import STREAM_TIMEOUT

MAX_BYTES = 1 << 28  # of a photo
MAX_SECONDS = 60  # for all of it: a server may send a byte now and then for ever
CHUNK = 1 << 16


def fetch_photo(url: str) -> tuple[bytes, str] | None:
    """Content and file name of a photo on the web; None where the URL is, or may be, a video or a stream.

    A URL that ends like a photo, or like nothing, is asked for; the answer's content type decides.

    Raises:
        SourceError: no answer, or too much of it.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SourceError(f"cannot open {without_secrets(url)}: {error}") from None
    path = PurePosixPath(unquote(parts.path))
    if parts.scheme.lower() not in ("http", "https") or path.suffix.lower() not in (*IMAGE_SUFFIXES, ""):
        return None
    try:
        with urlopen(_request(url), timeout=STREAM_TIMEOUT) as answer:  # noqa: S310  # http and https only, see above
            kind = answer.headers.get_content_type()
            unsaid = kind in ("application/octet-stream", "text/plain", "binary/octet-stream")
            if not kind.startswith("image/") and not (unsaid and path.suffix):
                return None
            return _read(answer, url), path.name or "photo"
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        reason = error if isinstance(error, OSError) else "it is no valid URL, or its server gives no valid answer"
        raise SourceError(f"cannot open {without_secrets(url)}: {reason}") from None  # other errors show the whole URL


def _request(url: str) -> Request:
    """With user and password of the URL where they belong."""
    parts = urlsplit(url)
    account, _, host = parts.netloc.rpartition("@")
    request = Request(urlunsplit(parts._replace(netloc=host)), headers={"User-Agent": "gtpt", "Accept": "*/*"})  # noqa: S310
    if account:
        token = base64.b64encode(unquote(account).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _read(answer: object, url: str) -> bytes:
    data, until = bytearray(), time.monotonic() + MAX_SECONDS
    while chunk := answer.read1(CHUNK):  # type: ignore[attr-defined]
        data += chunk
        if len(data) > MAX_BYTES or time.monotonic() > until:
            limit = f"{MAX_BYTES >> 20} MB" if len(data) > MAX_BYTES else f"{MAX_SECONDS} seconds"
            raise SourceError(f"cannot open {without_secrets(url)} as a photo: it takes more than {limit}")
    return bytes(data)
