"""`gtpt train`: read, check, train, resume. Linear on purpose.

    gtpt train --cfg configs/coco/gtpt_t_256x192.yaml                          # one GPU, or the CPU
    gtpt train --cfg configs/coco/gtpt_t_256x192.yaml train.devices=4          # four
    gtpt train --cfg configs/coco/gtpt_t_256x192.yaml train.precision=bf16 train.batch_size=32

The same command again resumes a run that was stopped or killed, at the step where its last checkpoint was made.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from gtpt.data.coco import Persons, open_stores, read_coco
from gtpt.data.dataset import CropDataset
from gtpt.evaluate.run import evaluate_network
from gtpt.model.checkpoint import build, replace_atomically, save
from gtpt.model.transfer import start_from
from gtpt.skeleton import load_skeleton
from gtpt.train.config import Experiment
from gtpt.train.module import PoseTraining

logger = logging.getLogger(__name__)
LAST, BEST, FINAL = "last.ckpt", "best.safetensors", "final.safetensors"


def train(experiment: Experiment, *, progress: bool = True) -> Path:
    """Train as the experiment says, or go on where an earlier call stopped.

    Args:
        experiment: resolved configuration; its `out` folder gets `last.ckpt` (resumable), `best.safetensors` (averaged
            weights with the best AP so far), `final.safetensors`, `config.yaml` and logs.
        progress: show a progress bar.

    Returns:
        The checkpoint to use: the best one, or the final one if nothing was validated.

    Raises:
        FileNotFoundError, ValueError: data or settings that cannot work, before any work starts.
    """
    config, out = experiment.train, experiment.out
    _check_devices(config.accelerator, config.devices)
    _check_same_experiment(experiment)
    # Tails of sharp SimCC vectors and squares of small gradients are denormal numbers, on which a CPU is 5 times slower.
    # Set before the first parallel operation: worker threads inherit it.
    torch.set_flush_denormal(True)
    lightning.seed_everything(config.seed, verbose=False)
    skeleton = load_skeleton(experiment.model.skeleton)
    dataset = training_set(experiment)
    changes = experiment.model.model_dump(exclude={"name", "skeleton"}, exclude_none=True)
    net = build(experiment.model.name, skeleton, **changes)
    resume = out / LAST
    if config.init and not resume.is_file():
        logger.info("%s", start_from(net, config.init))
    module = PoseTraining(net, config, dataset)
    module.dataset_workers = experiment.data.workers
    keeper = CheckpointKeeper(experiment)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))
    trainer = lightning.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        strategy="ddp" if config.devices > 1 else "auto",
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        max_epochs=config.epochs,
        gradient_clip_val=config.clip or None,
        use_distributed_sampler=False,  # EpochBatches shares the data out, so that resuming is exact
        limit_val_batches=0,
        enable_checkpointing=False,  # CheckpointKeeper
        enable_model_summary=False,
        enable_progress_bar=progress,
        log_every_n_steps=config.log_every,
        logger=[CSVLogger(out, "logs", version=""), TensorBoardLogger(out, "logs", version="")],
        callbacks=[keeper, *([TQDMProgressBar(refresh_rate=10)] if progress else [])],
        plugins=[AtomicCheckpoints()],
    )
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer.fit(module, ckpt_path=str(resume) if resume.is_file() else None, weights_only=False)
    return out / (BEST if (out / BEST).is_file() else FINAL)


def training_set(experiment: Experiment) -> CropDataset:
    """All training sources of an experiment as one set of crops."""
    data, skeleton = experiment.data, load_skeleton(experiment.model.skeleton)
    if not data.train:
        raise ValueError("the experiment names no training data: set data.train to a list of {annotations, images}")
    persons = Persons.concatenate([read_coco(s.annotations, skeleton) for s in data.train])
    if not len(persons):
        raise ValueError(f"no usable person in {[str(s.annotations) for s in data.train]}; see `gtpt data check`")
    stores = open_stores([s.images for s in data.train])
    size = experiment.model.input_size
    return CropDataset(persons, stores, skeleton, size, data.augment, experiment.train.seed, data.cache)


class AtomicCheckpoints(TorchCheckpointIO):
    """A checkpoint replaces the last one in one step: a kill while writing leaves the older one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        replace_atomically(Path(path), lambda temporary: torch.save(checkpoint, temporary))


class CheckpointKeeper(Callback):
    """Saves every N steps and epochs, validates every M epochs, and keeps the best averaged weights."""

    def __init__(self, experiment: Experiment):
        self.experiment, self.best_ap = experiment, -1.0

    def state_dict(self) -> dict[str, Any]:
        return {"best_ap": self.best_ap}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_ap = state["best_ap"]

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.global_step % self.experiment.train.checkpoint_every == 0:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        config, data, epoch = self.experiment.train, self.experiment.data, trainer.current_epoch
        if data.val and config.validate_every and (epoch + 1) % config.validate_every == 0 and trainer.is_global_zero:
            report = evaluate_network(module.ema, data.val.annotations, data.val.images, boxes=data.boxes)
            ap, overall = report.ap, next(reversed(report.figures.values()))
            module.log_dict({f"val/{k}": v for k, v in overall.items()}, rank_zero_only=True)
            line = {"epoch": epoch, "step": trainer.global_step, **overall}
            with (self.experiment.out / "validation.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            logger.info("epoch %d: AP %.3f (best %.3f)", epoch, ap, max(ap, self.best_ap))
            if ap > self.best_ap:
                self.best_ap = ap
                save(module.ema, self.experiment.out / BEST, {"epoch": epoch, "step": trainer.global_step, "AP": ap})
        trainer.strategy.barrier()
        self._save(trainer)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        if trainer.is_global_zero:
            save(module.ema, self.experiment.out / FINAL, {"step": trainer.global_step})

    def _save(self, trainer: Any) -> None:
        trainer.save_checkpoint(self.experiment.out / LAST)


def _check_devices(accelerator: str, devices: int) -> None:
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ValueError("train.accelerator=gpu, but PyTorch sees no GPU; use cpu, or install a CUDA build of torch")
    found = torch.cuda.device_count()
    if accelerator != "cpu" and found and devices > found:
        raise ValueError(f"train.devices={devices}, but there are {found} GPUs")


def _check_same_experiment(experiment: Experiment) -> None:
    """A folder belongs to one experiment: resuming another network into it would lose the first one."""
    path = experiment.out / "config.yaml"
    if not (experiment.out / LAST).is_file() or not path.is_file():
        return
    before = Experiment.model_validate(yaml.safe_load(path.read_text()))
    if before.model != experiment.model:
        raise ValueError(f"{experiment.out} holds a run of another network ({before.model}); set another `out=`")
