"""One look for everything that takes long: a bar on stderr; into a file it writes its last state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Wrap = Callable[[Iterable[Any]], Iterable[Any]]


@contextmanager
def progress_bar(unit: str, *, quiet: bool = False) -> Iterator[Wrap]:
    """A function that wraps an iterable and shows how far it is.

    Args:
        unit: what is counted, e.g. "images".
        quiet: show nothing.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:

        def wrap(items: Iterable[Any]) -> Iterable[Any]:
            total = len(items) if hasattr(items, "__len__") else None  # type: ignore[arg-type]
            return bar.track(items, total=total, description=unit)

        yield wrap
