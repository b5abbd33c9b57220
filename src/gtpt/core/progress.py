"""How work that takes long lets its caller look on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

# Wraps an iterable of steps and gives the same steps, such as a progress bar does; `iter` shows nothing.
Progress = Callable[[Iterable[Any]], Iterable[Any]]
