"""`gtpt info`: what each variant costs."""

from __future__ import annotations

import typer


def info(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """Parameters, MACs and tokens per layer of each variant, beside the published figures."""
    from gtpt.core.extras import require

    require("torch", "torch")
    from gtpt.model.info import info_json, info_table

    typer.echo(info_json() if as_json else info_table())
