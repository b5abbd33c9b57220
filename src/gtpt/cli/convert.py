"""`gtpt convert`: checkpoints from the authors' form to ours and back."""

from __future__ import annotations

from pathlib import Path

import typer


def convert(
    source: Path = typer.Argument(help="An authors' *.pth, or one of our *.safetensors."),
    target: Path = typer.Argument(help="*.safetensors (ours) or *.pth (theirs)."),
    branch: str = typer.Option("ema", help="Which weights of an authors' file: ema (averaged, tested) or live."),
) -> None:
    """Convert a checkpoint; the variant is inferred from the tensors.

    Ours keep the configuration and the skeleton in the header. Written as *.pth, both branches of the authors' file get
    the same weights.
    """
    from gtpt.core.extras import require

    require("torch", "torch")
    from gtpt.model import convert as run

    model = run(source, target, branch)  # type: ignore[arg-type]
    typer.echo(f"{target}: {model.config.name} {model.skeleton.name}")  # type: ignore[union-attr]
