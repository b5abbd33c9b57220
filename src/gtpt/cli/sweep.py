"""`gtpt sweep`: see `gtpt.sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def sweep(
    weights: str = typer.Argument(help="Registered name, *.safetensors, or an authors' *.pth."),
    annotations: Path = typer.Option(..., help="Ground truth (COCO JSON), e.g. crops.zip/annotations.json."),
    images: Path = typer.Option(..., help="Folder or zip of its images."),
    out: Path = typer.Option(..., "--out", "-o", help="Folder for the table, the plot and the exported files."),
    keep_rates: list[str] = typer.Option(
        None, help="A point, such as 1,.7,.3,.1 or fast. Can be given several times. Default: presets and a small grid."
    ),
    people: int = typer.Option(None, min=1, help="Measure AP on about so many people. Default: all."),
    flip: bool = typer.Option(False, help="AP with the flip test, which takes twice the time."),
    engine: str = typer.Option("onnxruntime", help="onnxruntime or openvino."),
    threads: int = typer.Option(1, min=1, help="CPU threads of the network."),
    repeats: int = typer.Option(40, min=3, help="Rounds of timing."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """AP and milliseconds per person for several keep rates of one network, and which of them are worth having.

    Stop it at any time: the same command goes on where it was. Rows with a * are the front: no other is at once faster and
    better. The folder gets sweep.json, sweep.csv, sweep.png (with matplotlib) and the ONNX file of each point.
    """
    import json

    from gtpt.cli.progress import progress_bar
    from gtpt.sweep import sweep as run

    with progress_bar("networks", quiet=as_json) as progress:
        found = run(
            weights,
            annotations,
            images,
            out,
            keep_rates=keep_rates or (),
            people=people,
            flip=flip,
            engine=engine,
            threads=threads,
            repeats=repeats,
            progress=progress,
        )
    typer.echo(json.dumps(found) if as_json else _table(found))


def _table(found: dict[str, Any]) -> str:
    lines = [f"{found['machine']}; {found['threads']} thread(s), medians of {found['repeats']} rounds"]
    lines.append(f"{'keep rates':<22}{'preset':<10}{'GMACs':>7}{'AP':>6}{'ms':>8}{'ratio':>7}")
    for row in found["rows"]:
        rates = ", ".join(f"{rate:g}" for rate in row["keep_rates"])
        figures = f"{row['gmacs']:>7.3f}{100 * row['ap']:>6.1f}{row['ms']:>8.2f}{row['ratio']:>7.2f}"
        lines.append(f"{rates:<22}{row['preset'] or '':<10}{figures}{' *' if row['front'] else ''}")
    return "\n".join(lines)
