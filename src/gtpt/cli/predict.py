"""`gtpt predict`: photos, folders, videos, streams and cameras in; pictures and keypoint files out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gtpt.cli.options import with_options

if TYPE_CHECKING:
    from gtpt.prediction.outputs import Summary

SHOWN = 4  # files of a source that are named on the terminal


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
