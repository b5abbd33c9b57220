"""`gtpt train` and `gtpt test`: one experiment file, one command each."""

from __future__ import annotations

from pathlib import Path

import typer

from gtpt.core.errors import InputError

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

    from gtpt.train.run import train as run

    logging.getLogger("gtpt").setLevel(logging.INFO)
    try:
        best = run(load_experiment(cfg, overrides), progress=not quiet)
    except KeyboardInterrupt:
        typer.secho("gtpt: interrupted; the same command goes on from the last checkpoint", fg="yellow", err=True)
        raise typer.Exit(130) from None
    rank_zero_only(typer.echo)(best)  # every process of a run comes here


def test(
    cfg: Path = CFG,
    overrides: list[str] = OVERRIDES,
    checkpoint: str = typer.Option(
        ..., "--checkpoint", help="Registered name, *.safetensors, an authors' *.pth, or an exported *.onnx."
    ),
    branch: str = typer.Option("ema", help="Of an authors' file: ema or live."),
    flip: bool = typer.Option(True, help="Average with the mirrored crops."),
    entire: bool = typer.Option(False, "--entire", help="Without pruning."),
    batch_size: int = typer.Option(64, min=1, help="Crops at once."),
    device: str = typer.Option("cpu", help="cpu or cuda."),
    engine: str = typer.Option(None, help="Of an exported file: onnxruntime or openvino."),
    precision: str = typer.Option("float32", help="Of an exported file: float32, or bfloat16 (openvino)."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Measure a checkpoint on the validation data of an experiment (official protocol), per part for whole-body.

    The boxes are those of data.boxes (detector results), or the ground truth's if there is none; the report says which.
    """
    import json

    from gtpt.core.extras import require

    require("faster_coco_eval", "eval")
    from gtpt.cli.progress import progress_bar
    from gtpt.evaluate import test as run
    from gtpt.train.config import load_experiment

    data = load_experiment(cfg, overrides).data
    if data.val is None:
        raise InputError(f"{cfg} names no validation data: set data.val to {{annotations, images}}")
    with progress_bar("batches", quiet=as_json) as progress:
        report = run(
            checkpoint,
            data.val.annotations,
            data.val.images,
            boxes=data.boxes,
            branch=branch,
            flip=flip,
            entire=entire,
            batch_size=batch_size,
            device=device,
            engine=engine,
            precision=precision,
            progress=progress,
        )
    typer.echo(json.dumps(report.to_dict()) if as_json else str(report))
