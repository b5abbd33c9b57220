"""`gtpt average`: see `gtpt.model.average`."""

from __future__ import annotations

from pathlib import Path

import typer


def average(
    checkpoints: list[str] = typer.Argument(help="Two or more: *.safetensors, authors' *.pth, or registered names."),
    out: Path = typer.Option(..., "--out", "-o", help="*.safetensors; an existing file is replaced."),
) -> None:
    """Average the weights of several trainings of one network, started from the same weights: often better than each.

    Measure it with `gtpt test`. It has no calibration of its score, and `train.init` of further trainings takes it.
    """
    from gtpt.core.extras import require

    require("torch", "torch")
    from gtpt.model import average as run

    model = run(checkpoints, out)
    skeleton = model.skeleton.name if model.skeleton else ""
    typer.echo(f"{out}: {model.config.name} {skeleton}, the average of {len(checkpoints)}")
