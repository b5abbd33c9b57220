"""The command `gtpt`: one file per verb, imported when it is used, so that `gtpt --help` is instant."""

from gtpt.cli.app import main

__all__ = ["main"]
