"""The page that finds poses in a browser: a folder of static files that any host, or none, can serve."""

from gtpt.web.folder import WebFolder, write_web

__all__ = ["WebFolder", "write_web"]
