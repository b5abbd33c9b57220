"""Commands that take options of `gtpt.prediction.options.Options`, which is imported when one of them is used."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import typer
from typer.core import TyperGroup
from typer.models import ArgumentInfo

if TYPE_CHECKING:
    from gtpt.prediction.options import Help

Command = Callable[..., None]


def with_options(chosen: Callable[[Help], bool]) -> Callable[[Command], Command]:
    """Gives a command those options of `Options` that are chosen in place of its `**options`, as soon as it is used."""

    def decorate(function: Command) -> Command:
        parameters = inspect.signature(function, eval_str=True).parameters.values()
        own = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
        function.complete = partial(_complete, function, own, chosen)  # type: ignore[attr-defined]
        _sign(function, own, [])
        return function

    return decorate


class Commands(TyperGroup):
    """A group that completes its commands when they are used: `gtpt --help` lists them in a third of the time."""

    _listing = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        super().format_help(ctx, formatter)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        complete = getattr(getattr(command, "callback", None), "complete", None)
        if complete is None or self._listing:
            return command
        alone = typer.Typer(add_completion=False)
        alone.command(cmd_name)(complete())
        return typer.main.get_command(alone)


def _complete(function: Command, own: list[inspect.Parameter], chosen: Callable[[Help], bool]) -> Command:
    from gtpt.prediction.options import Options, described

    defaults = {field.name: field.default for field in fields(Options)}
    shown = {name: (hint, help_) for name, (hint, help_) in described().items() if chosen(help_)}
    _sign(function, own, [_option(name, hint, help_, defaults[name]) for name, (hint, help_) in shown.items()])
    return function


def _sign(function: Command, own: list[inspect.Parameter], options: list[inspect.Parameter]) -> None:
    """Sets the signature that typer reads: the function's own arguments, these options, then its own options."""
    first = [p for p in own if isinstance(p.default, ArgumentInfo)]
    last = [p.replace(kind=p.KEYWORD_ONLY) for p in own if p not in first]
    signature = inspect.Signature([*first, *options, *last], return_annotation=None)
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}


def _option(name: str, hint: Any, help_: Help, default: Any) -> inspect.Parameter:
    """An option of `Options` as one of the command line: what is not a number or a switch is a text there."""
    kind = next((t for t in (bool, int, float) if t in (hint, *get_args(hint))), str)
    names = [f"--{name.replace('_', '-')}"] if kind is not bool or default is False else []
    info = typer.Option(
        default if default is None else kind(default),
        *names,
        *([help_.short] if help_.short else []),
        min=help_.least,
        max=help_.most,
        help=help_.text,
    )
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=kind)
