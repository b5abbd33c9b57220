"""`gtpt weights`: what is registered, what is here, and fetching it."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Registered weights: list them, fetch them.")


@app.command("list")
def list_(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """Names, sizes, licences, and whether a file is bundled, cached or still to be fetched."""
    import json

    from gtpt.weights import list_weights

    rows = list_weights()
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        size = f"{row['bytes'] / 1e6:.1f} MB"
        typer.echo(f"{row['name']:<20} {row['format']:<12} {size:>9}  {row['status']:<8}  {row['licence']}")


@app.command()
def download(
    name: str = typer.Argument(help="A registered name; see `gtpt weights list`."),
    force: bool = typer.Option(False, "--force", help="Fetch again, also if it is here."),
) -> None:
    """Fetch a file into the cache folder, check its sha256, and print where it is."""
    from gtpt.weights import download as fetch

    typer.echo(fetch(name, force=force))
