"""URLs as they may be shown and stored."""

from __future__ import annotations

import re


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
