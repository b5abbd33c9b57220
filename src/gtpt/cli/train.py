"""`gtpt train` and `gtpt test`: one experiment file, one command each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

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

    from gtpt._extras import require
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
    checkpoint: Path = typer.Option(..., "--checkpoint", help="*.safetensors, an authors' *.pth, or an exported *.onnx."),
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

    from gtpt._extras import require

    require("faster_coco_eval", "eval")
    from gtpt.cli.progress import progress_bar
    from gtpt.evaluate.run import evaluate_engine, evaluate_network
    from gtpt.train.config import load_experiment

    data = load_experiment(cfg, overrides).data
    if data.val is None:
        raise ValueError(f"{cfg} names no validation data: set data.val to {{annotations, images}}")
    settings: dict[str, Any] = {"boxes": data.boxes, "flip_test": flip, "batch_size": batch_size}
    where = data.val.annotations, data.val.images
    exported = checkpoint.suffix == ".onnx"
    if exported and entire:
        raise ValueError("--entire needs a network in PyTorch: an exported file always prunes")
    if not exported and (engine or precision != "float32"):
        raise ValueError(f"--engine and --precision are for exported *.onnx files, not {checkpoint.name}")
    network = _open_exported(checkpoint, engine, device, precision) if exported else _load(checkpoint, branch, device)
    with progress_bar("batches", quiet=as_json) as progress:
        if exported:
            report = evaluate_engine(network, *where, **settings, progress=progress)
        else:
            rates = "entire" if entire else None
            report = evaluate_network(network, *where, **settings, keep_rates=rates, progress=progress)
    typer.echo(json.dumps(report.to_dict()) if as_json else str(report))


def _open_exported(path: Path, engine: str | None, device: str, precision: str) -> Any:
    from gtpt.runtime import open_engine

    return open_engine(path, engine, device=device, precision=precision)


def _load(path: Path, branch: str, device: str) -> Any:
    from gtpt._extras import require

    torch = require("torch", "torch")
    from gtpt.model import load, load_official

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda, but PyTorch sees no GPU")
    official = path.suffix in (".pth", ".pt")
    return (load_official(path, branch) if official else load(path)).to(device)  # type: ignore[arg-type]
