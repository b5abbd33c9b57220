"""`gtpt train` and `gtpt test`: one experiment file, one command each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gtpt.core.errors import InputError

if TYPE_CHECKING:
    from gtpt.data.config import DataConfig, Source

CFG = typer.Option(..., "--cfg", help="Experiment file (YAML), e.g. configs/coco/gtpt_t_256x192.yaml.")
OVERRIDES = typer.Argument(None, metavar="[KEY=VALUE]...", help="Changes to it, e.g. train.lr=0.0005.")


def train(
    cfg: Path = CFG,
    overrides: list[str] = OVERRIDES,
    quiet: bool = typer.Option(False, "--quiet", help="No progress bar."),
) -> None:
    """Train, or resume a run that was stopped or killed: the same command goes on where it was.

    The folder `out` of the experiment gets last.ckpt (resumable), best.safetensors, final.safetensors, logs for
    TensorBoard and as CSV, validation.jsonl and the resolved config.yaml.
    """
    import logging

    from gtpt.core.extras import require
    from gtpt.train.config import load_experiment

    require("lightning", "train")
    from lightning.pytorch.utilities import rank_zero_only

    from gtpt.train.checkpoints import LAST
    from gtpt.train.run import train as run

    logging.getLogger("gtpt").setLevel(logging.INFO)
    experiment = load_experiment(cfg, overrides)
    try:
        best = run(experiment, progress=not quiet)
    except KeyboardInterrupt:
        last = experiment.out / LAST
        kept = f"the same command goes on from {last}" if last.is_file() else "there is no checkpoint yet"
        typer.secho(f"gtpt: interrupted; {kept}", fg="yellow", err=True)
        raise typer.Exit(130) from None
    rank_zero_only(typer.echo)(best)  # every process of a run comes here


def test(
    cfg: Path = typer.Option(None, "--cfg", help="Experiment file (YAML) that names the data, or the options below do."),
    overrides: list[str] = OVERRIDES,
    checkpoint: str = typer.Option(
        ..., "--checkpoint", help="Registered name, *.safetensors, an authors' *.pth, or an exported *.onnx."
    ),
    branch: str = typer.Option("ema", help="Of an authors' file: ema or live."),
    flip: bool = typer.Option(True, help="Average with the mirrored crops."),
    keep_rates: str = typer.Option(
        None, help="Of a checkpoint: four rates, such as 1,.7,.3,.1, or entire, accurate, balanced, fast. Default: its own."
    ),
    annotations: Path = typer.Option(None, help="Ground truth (COCO JSON), instead of that of --cfg."),
    images: Path = typer.Option(None, help="Folder or zip of its images."),
    boxes: Path = typer.Option(None, help="Boxes of a detector (COCO results). Default: data.boxes or the ground truth's."),
    skeleton: str = typer.Option(None, help="Of --annotations, if it is not the network's: built-in name or YAML file."),
    out: Path = typer.Option(None, "--out", "-o", help="Also write the measured COCO results to this *.json."),
    batch_size: int = typer.Option(None, min=1, help="Crops at once. Default: 16 on the CPU, 64 on a GPU."),
    threads: int = typer.Option(None, min=1, help="CPU threads of the network. Default: the engine's choice."),
    device: str = typer.Option("cpu", help="cpu or cuda."),
    engine: str = typer.Option(None, help="Of an exported file: onnxruntime or openvino."),
    precision: str = typer.Option("float32", help="Of an exported file: float32, bfloat16 (openvino), or auto."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Measure a checkpoint on the validation data of an experiment (official protocol), per part for whole-body.

    The data are those of --cfg, or --annotations and --images. The report says which boxes were used. A registered name is
    measured as its exported file on the CPU, unless --engine torch or --keep-rates asks for the network itself.
    """
    import json

    from gtpt.core.extras import require

    require("faster_coco_eval", "eval")
    from gtpt.cli.progress import progress_bar
    from gtpt.core.skeleton import load_skeleton
    from gtpt.evaluate import test as run
    from gtpt.train.config import load_experiment

    experiment = load_experiment(cfg, overrides) if cfg else None
    source, found = _test_data(experiment.data if experiment else None, annotations, images, boxes, skeleton)
    model = experiment.model if experiment else None
    with progress_bar("people", quiet=as_json, size=len) as progress:
        report = run(
            checkpoint,
            source.annotations,
            source.images,
            boxes=found,
            skeleton=source.skeleton,
            branch=branch,
            flip=flip,
            keep_rates=keep_rates,
            batch_size=batch_size,
            device=device,
            engine=engine,
            precision=precision,
            threads=threads,
            out=out,
            expected=(model.name, load_skeleton(model.skeleton).name, model.input_size) if model else None,
            progress=progress,
        )
    typer.echo(json.dumps(report.to_dict()) if as_json else str(report))


def _test_data(
    data: DataConfig | None, annotations: Path | None, images: Path | None, boxes: Path | None, skeleton: str | None
) -> tuple[Source, Path | None]:
    """Ground truth with its images, and boxes: what is given by itself goes before the experiment's."""
    from gtpt.data.config import Source

    val = data.val if data else None
    truth, pictures = annotations or (val and val.annotations), images or (val and val.images)
    if not truth or not pictures:
        raise InputError("there are no data to test on: give --cfg with data.val, or --annotations and --images")
    if data and val and not annotations:  # boxes and skeleton belong to their annotations
        boxes, skeleton = boxes or data.boxes, skeleton or val.skeleton
    return Source(annotations=truth, images=pictures, skeleton=skeleton), boxes
