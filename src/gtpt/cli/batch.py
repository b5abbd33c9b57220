"""`gtpt batch`: very many photos and films, on one machine or a Ray cluster."""

from __future__ import annotations

from typing import Any

import typer

from gtpt.cli.options import with_options
from gtpt.cli.progress import progress_bar


@with_options(lambda help_: help_.batch)
def batch(
    input: str = typer.Argument(help="Folder of photos and films, *.parquet, or an address such as s3://bucket/photos."),  # noqa: A002
    output: str = typer.Argument(help="Folder or address for poses/*.parquet, errors/*.parquet and manifest.json."),
    workers: int = typer.Option(None, min=1, help="Processes. Default: one for every THREADS cores, or for every GPU."),
    as_json: bool = typer.Option(False, "--json", help="Print a summary as JSON and show no progress."),
    **options: Any,
) -> None:
    """Find the people of very many photos and films; what OUTPUT holds already is not done again.

    Needs the extra "ray". RAY_ADDRESS names a cluster; without it everything runs on this machine. Inputs that cannot be
    used are in OUTPUT/errors and in the exit code, 3.
    """
    import json

    from gtpt.batch.run import batch as run

    with progress_bar("parts", quiet=as_json) as wrap:
        summary = run(input, output, workers=workers, progress=wrap, **options)
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        before = f" ({summary.done_before:,} done before)" if summary.done_before else ""
        typer.echo(f"{summary.images:,} images of {summary.inputs:,} inputs{before}: {summary.people:,} people -> {output}")
        if summary.errors:
            typer.secho(
                f"errors of {summary.errors:,} inputs or frames, listed in {output.rstrip('/')}/errors",
                fg="yellow",
                err=True,
            )
    raise typer.Exit(summary.exit_code)
