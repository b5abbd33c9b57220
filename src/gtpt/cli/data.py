"""`gtpt data`: find what is wrong with a data set before a long run does, and read those of other tools."""

from __future__ import annotations

from pathlib import Path

import typer


def check(
    cfg: Path = typer.Option(..., "--cfg", help="Experiment file (YAML)."),
    overrides: list[str] = typer.Argument(None, metavar="[KEY=VALUE]...", help="Changes to it, e.g. data.val=null."),
    decode: bool = typer.Option(True, help="Read every image; --no-decode only looks whether it exists."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Missing and unreadable images, boxes outside, wrong keypoints and categories, duplicate ids.

    Exit code 3 if something was found that training would skip or stumble over.
    """
    from gtpt.cli.progress import progress_bar
    from gtpt.data.check import check_data
    from gtpt.train.config import load_experiment

    experiment = load_experiment(cfg, overrides)
    with progress_bar("images", quiet=as_json) as progress:
        report = check_data(experiment.data, experiment.model.skeleton, decode=decode, progress=progress)
    typer.echo(report.to_json() if as_json else str(report))
    if any(finding.effect != "is used" for finding in report.findings):
        raise typer.Exit(3)


def from_yolo(
    config: Path = typer.Argument(..., help="data.yaml of a YOLO-pose data set."),
    out: Path = typer.Option(..., "--out", "-o", help="Folder for COCO files, skeleton and experiment."),
    object_class: str = typer.Option(None, "--class", help="Whose keypoints to learn, where there are several classes."),
) -> None:
    """Convert a YOLO-pose data set to COCO files, a skeleton, and an experiment that `gtpt train` takes as it is."""
    from gtpt.cli.progress import progress_bar
    from gtpt.data.yolo import from_yolo as convert

    with progress_bar("images") as progress:
        typer.echo(convert(config, out, object_class=object_class, progress=progress))
