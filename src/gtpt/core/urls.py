"""URLs as they may be shown and stored."""

from __future__ import annotations

import re
from urllib.parse import urlsplit
from urllib.request import url2pathname


def without_file_scheme(source: str) -> str:
    """The path of a URL such as file:///home/me/my%20photo.jpg, as browsers give it; others as they are."""
    if re.match("file://(localhost)?/", source, re.IGNORECASE) is None:
        return source
    return url2pathname(urlsplit(source.replace("?", "%3F").replace("#", "%23")).path)


def without_secrets(url: str) -> str:
    """Without the user and password that cameras want in a URL, and its query, where services want tokens.

    Also of URLs that are not quite correct, such as with an @ or a ? in the password. Other texts stay as they are.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    host, slash, path = rest.partition("/")
    if "@" in host:
        rest = host.rpartition("@")[2] + slash + path
    elif "@" in path and re.search(r":(?!\d*$)[^\]]*$", host):  # no port but a password with a slash in it
        rest = path.rpartition("@")[2]
    shown = re.sub("[?#].*", "", rest, flags=re.DOTALL)
    return f"{scheme}://{shown}"
