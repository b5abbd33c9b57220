"""`gtpt data`: look at data sets before a long run, read those of other tools, and render people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gtpt.core.errors import InputError
from gtpt.core.extras import require

if TYPE_CHECKING:
    from gtpt.data.dataset import CropDataset


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


def synthesize(
    out: Path = typer.Argument(..., help="Zip to write."),
    people: int = typer.Option(..., min=1, help="How many."),
    skeleton: str = typer.Option("coco17", help="Built-in skeleton or YAML file: which keypoints."),
    surroundings: Path = typer.Option(
        None, help="Folder or zip of pictures to set people into; labelled people in them are painted out."
    ),
    height: int = typer.Option(290, min=64, max=2048, help="Of the largest crop, in pixels."),
    seed: int = typer.Option(0, min=0, help="Of everything."),
    quiet: bool = typer.Option(False, "--quiet", help="No progress bar."),
) -> None:
    """Render people with exact keypoints, for training: a zip of crops with annotations.json in COCO form.

    An interrupted call loses little: the same command goes on where it was.
    """
    from gtpt.cli.progress import progress_bar
    from gtpt.core.skeleton import load_skeleton
    from gtpt.data.synthetic import SyntheticConfig, write_synthetic

    config = SyntheticConfig(people=people, surroundings=surroundings, height=height, seed=seed)
    with progress_bar("hundreds of people", quiet=quiet) as progress:
        write_synthetic(out, config, load_skeleton(skeleton), progress)


def preview(
    data: Path = typer.Argument(..., help="Experiment file (YAML), or a folder or zip with annotations.json."),
    out: Path = typer.Argument(..., help="Picture to write, e.g. sheet.jpg."),
    people: int = typer.Option(48, min=1, help="How many, spread evenly over the data set."),
    columns: int = typer.Option(8, min=1, help="People in a row."),
    skeleton: str = typer.Option("coco17", help="Of an archive; an experiment names its own."),
    labels: bool = typer.Option(True, help="Draw keypoints; --no-labels shows the crops alone."),
) -> None:
    """A sheet of people as training sees them (of an experiment: with its augmentation), keypoints drawn."""
    import cv2
    import numpy as np

    from gtpt.viz import Picture
    from gtpt.viz.sheet import contact_sheet

    if not cv2.haveImageWriter(str(out)):
        raise InputError(f"{out}: no picture can be written under this name; use .jpg, .png or .webp")
    crops = _crops(data, skeleton)
    chosen = np.unique(np.linspace(0, len(crops) - 1, people).astype(int))
    items = [crops[0, int(i)] for i in chosen]
    joints, visible = (np.stack([item[key] for item in items]) for key in ("joints", "visible"))
    pictures = [item["crop"] for item in items]
    sheet = contact_sheet(pictures, joints, visible, crops.skeleton, columns=columns, labels=labels)
    Picture.of(sheet).save(out)


def _crops(data: Path, skeleton: str) -> CropDataset:
    """The training set of an experiment, or an archive's people as they are at test time."""
    from gtpt.core.skeleton import load_skeleton
    from gtpt.data.coco import open_stores, read_coco
    from gtpt.data.dataset import CropDataset

    if data.suffix.lower() in (".yaml", ".yml"):
        require("lightning", "train")
        from gtpt.train.config import load_experiment
        from gtpt.train.run import training_set

        return training_set(load_experiment(data))
    keypoints = load_skeleton(skeleton)
    persons = read_coco(data / "annotations.json", keypoints)
    if not len(persons):
        raise InputError(f"{data}: no person with keypoints in annotations.json")
    return CropDataset(persons, open_stores([data]), keypoints, (192, 256))
