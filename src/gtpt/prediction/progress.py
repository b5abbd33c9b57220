"""The bar of `predict`, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from gtpt.io.sources import Source

T = TypeVar("T")


def show_progress(results: Iterator[T], opened: Source, quiet: bool, count: Callable[[T], int]) -> Iterator[T]:
    """A bar with frames per second and people, whom `count` counts."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[people]} people, {task.fields[rate]:.1f} frames/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task(opened.kind, total=opened.frame_count, people=0, rate=0.0)
        people = 0
        for frames, result in enumerate(results, start=1):
            yield result
            people += count(result)
            elapsed = bar.tasks[0].elapsed or 1e-9  # rich's own speed needs several frames
            bar.update(task, completed=frames, people=people, rate=frames / elapsed)
