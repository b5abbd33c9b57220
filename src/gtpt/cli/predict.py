"""`gtpt predict`: photos, folders, videos, streams and cameras in; pictures and keypoint files out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer
from typer.models import ArgumentInfo

from gtpt.prediction.options import Help, Options, described

if TYPE_CHECKING:
    from gtpt.prediction.outputs import Summary

SHOWN = 4  # files of a source that are named on the terminal


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


def with_options(chosen: Callable[[Help], bool]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command those options of `Options` that are chosen in place of its `**options`."""
    return lambda function: _with_options(function, chosen)


def _with_options(function: Callable[..., None], chosen: Callable[[Help], bool]) -> Callable[..., None]:
    defaults = {field.name: field.default for field in fields(Options)}
    shown = {name: (hint, help_) for name, (hint, help_) in described().items() if chosen(help_)}
    options = [_option(name, hint, help_, defaults[name]) for name, (hint, help_) in shown.items()]
    signature = inspect.signature(function, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    arguments = [p for p in own if isinstance(p.default, ArgumentInfo)]
    first, last = arguments, [p.replace(kind=p.KEYWORD_ONLY) for p in own if p not in arguments]
    function.__signature__ = signature.replace(parameters=[*first, *options, *last])  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in (*first, *options, *last)}
    return function


@with_options(lambda help_: help_.shell)
def predict(
    sources: list[str] = typer.Argument([], help="Photos, folders of photos, videos, stream URLs, or a camera number."),
    as_json: bool = typer.Option(False, "--json", help="Print a summary as JSON and show no progress."),
    **options: Any,
) -> None:
    """Find people and their keypoints.

    OUT gets the drawn pictures or videos and one keypoint file per source. A photo in which nobody is found gives an empty
    result.
    """
    from gtpt.prediction.runner import predict as run

    if not sources and options["list"] is None:
        raise typer.BadParameter("give some, or --list FILE", param_hint="SOURCES")
    summary = run(sources, **options, quiet=as_json)
    show_summary(summary, as_json, what="poses", kept="what was done is kept, and the same command with --resume goes on")
    raise typer.Exit(summary.exit_code)


def show_summary(summary: Summary, as_json: bool, *, what: str, kept: str) -> None:
    """What a call did, as text or JSON.

    Args:
        summary: of the call.
        as_json: instead of text.
        what: was found.
        kept: what an interrupted call has left.
    """
    import json

    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
        return
    for source in summary.sources:
        files = f" -> {_listed(source.files)}" if source.files else ""
        before = f" ({source.resumed} of them known from before)" if source.resumed else ""
        typer.echo(f"{source.name}: {source.people} {what} in {source.frames} frames{before}{files}")
    for name, reason in summary.skipped:
        typer.secho(f"skipped {name}: {reason}", fg="yellow", err=True)
    if summary.interrupted:
        typer.secho(f"interrupted; {kept}", fg="yellow", err=True)


def _listed(files: list[str]) -> str:
    """The first files, and how many more there are and where: a folder of photos gives thousands."""
    if len(files) <= SHOWN:
        return ", ".join(files)
    return f"{', '.join(files[:SHOWN])} and {len(files) - SHOWN:,} more in {Path(files[0]).parent}"
