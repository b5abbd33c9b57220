"""Checkpoints of a run: one to go on from, the best averaged weights with the calibration of their scores."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from gtpt.core.errors import WeightsError
from gtpt.core.skeleton import Skeleton, load_skeleton
from gtpt.data.coco import Persons
from gtpt.data.config import Source
from gtpt.evaluate.calibration import fit_isotonic, judge
from gtpt.evaluate.run import Estimates, evaluate_network
from gtpt.model.checkpoint import replace_atomically, require_finite, save
from gtpt.model.official import read_pickle
from gtpt.train.config import Experiment

logger = logging.getLogger(__name__)
LAST, BEST, FINAL = "last.ckpt", "best.safetensors", "final.safetensors"


class CheckpointKeeper(Callback):
    """Saves every N steps and epochs, validates every M epochs, and keeps the best averaged weights."""

    def __init__(self, experiment: Experiment):
        self.experiment, self.best_ap = experiment, -1.0
        self.metadata: dict[str, Any] = {}  # the calibration of the last validation, as the header of a checkpoint keeps it

    def state_dict(self) -> dict[str, Any]:
        return {"best_ap": self.best_ap, "metadata": self.metadata}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_ap, self.metadata = state["best_ap"], state.get("metadata", {})

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.global_step % self.experiment.train.checkpoint_every == 0 and not trainer.is_last_batch:
            module.require_sound_weights()
            self._save(trainer)  # after the last one `on_train_epoch_end` validates first

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        every, epoch = self.experiment.train.validate_every, trainer.current_epoch
        due = every and ((epoch + 1) % every == 0 or epoch + 1 == self.experiment.train.epochs)
        module.require_sound_weights()
        if (val := self.experiment.data.val) and due and trainer.is_global_zero:
            self._validate(trainer, module, val)
        trainer.strategy.barrier()
        self._save(trainer)

    def _validate(self, trainer: Any, module: Any, val: Source) -> None:
        epoch = trainer.current_epoch
        boxes = self.experiment.data.boxes
        skeleton = load_skeleton(val.skeleton or module.ema.skeleton)
        report, persons, found = evaluate_network(module.ema, val.annotations, val.images, boxes=boxes, skeleton=skeleton)
        self.metadata = {} if boxes else calibration_of(found, persons, skeleton)
        ap, overall = report.ap, next(reversed(report.figures.values()))
        module.log_dict({f"val/{k}": v for k, v in overall.items()}, rank_zero_only=True)
        line = {"epoch": epoch, "step": trainer.global_step, **overall}
        with (self.experiment.out / "validation.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        logger.info("epoch %d: AP %.3f (best %.3f)", epoch, ap, max(ap, self.best_ap))
        if ap > self.best_ap:
            self.best_ap = ap
            metadata = {"epoch": epoch, "step": trainer.global_step, "AP": ap, **self.metadata}
            save(module.ema, self.experiment.out / BEST, metadata)

    def _save(self, trainer: Any) -> None:
        trainer.save_checkpoint(self.experiment.out / LAST)


def calibration_of(found: Estimates, persons: Persons, skeleton: Skeleton) -> dict[str, Any]:
    """Header entry with the table of a network's score, from estimates in ground-truth boxes; empty if nobody is labelled.

    The estimates are those of the flip test, which lowers scores a little: not enough to run the network once more.
    """
    raw, right = judge(found, persons, skeleton.sigmas)
    return {"calibration": fit_isotonic(raw, right).to_dict()} if len(raw) else {}


class AtomicCheckpoints(TorchCheckpointIO):
    """A checkpoint replaces the last one in one step: a kill while writing leaves the older one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        replace_atomically(Path(path), lambda temporary: torch.save(checkpoint, temporary))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Never runs code from the file, which Lightning would.

        Raises:
            WeightsError: a file that was not written whole, or that is no checkpoint of a run; says how to go on.
        """
        path = Path(path)
        try:
            checkpoint: dict[str, Any] = read_pickle(path)
            _require_checkpoint(checkpoint, str(path))
        except ValueError as error:
            best = next((f for name in (BEST, FINAL) if (f := path.with_name(name)).is_file()), None)
            keeps = f" and give train.init={best}, which keeps what it learnt" if best else ""
            raise WeightsError(f"cannot resume: {error} To begin anew, move it away{keeps}.") from error
        return checkpoint


def _require_checkpoint(content: Any, path: str) -> None:
    """ValueError unless this is what Lightning and this module wrote, with weights that are finite."""
    kinds = {"global_step": int, "epoch": int, "state_dict": dict, "optimizer_states": list, "loops": dict}
    if not isinstance(content, dict) or not all(isinstance(content.get(key), kind) for key, kind in kinds.items()):
        raise WeightsError(f"{path} is no checkpoint of a training run, which has the entries {', '.join(kinds)}.")
    optimizers = content["optimizer_states"]
    if len(optimizers) != 1 or not isinstance(optimizers[0], dict) or not {"state", "param_groups"} <= set(optimizers[0]):
        raise WeightsError(f"{path} lacks the state of the optimizer.")
    if not all(isinstance(value, torch.Tensor) for value in content["state_dict"].values()):
        raise WeightsError(f"{path} holds more than tensors in its state dict.")
    require_finite(content["state_dict"], path)
