"""`gtpt merge`: shards into what one call of `gtpt predict` would have written."""

from __future__ import annotations

from pathlib import Path

import typer

from gtpt.cli.predict import show_summary


def merge(
    shards: list[Path] = typer.Argument(help="Folders of shards, or folders that hold them."),
    out: Path | None = typer.Option(None, "--out", "-o", help="Default: the folder that holds the first shard."),
    as_json: bool = typer.Option(False, "--json", help="Print a summary as JSON."),
) -> None:
    """Join the shards of `gtpt predict ... --shard i/n`.

    OUT gets exactly what one call would have written. Shards that are missing, there twice, not finished, damaged, or of
    other options or photos are refused before anything is written.
    """
    from gtpt.prediction.merge import merge as run

    summary = run(shards, out)
    show_summary(summary, as_json, what="poses", kept="what was done is kept")
    raise typer.Exit(summary.exit_code)
