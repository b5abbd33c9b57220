"""One look for everything that takes long: a bar on stderr; into a file it writes its last state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

from gtpt.core.progress import Progress


@contextmanager
def progress_bar(unit: str, *, quiet: bool = False, size: Callable[[Any], int] = lambda _: 1) -> Iterator[Progress]:
    """A function that wraps an iterable and shows how far it is, and how fast.

    Args:
        unit: what is counted, e.g. "images".
        quiet: show nothing.
        size: how many of them an item is, such as the people of a batch.
    """
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]:.1f}/s"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:

        def wrap(items: Iterable[Any]) -> Iterable[Any]:
            total = sum(map(size, items)) if isinstance(items, Sized) else None
            task = bar.add_task(unit, total=total, rate=0.0)
            for item in items:
                yield item
                bar.advance(task, size(item))
                elapsed = bar.tasks[-1].elapsed or 1e-9  # rich's own speed needs several items
                bar.update(task, rate=bar.tasks[-1].completed / elapsed)

        yield wrap
