"""The training step as a Lightning module: two passes over one set of visual tokens, averaged weights, exact resume."""

from __future__ import annotations

import copy
import itertools
import math
import sys
from dataclasses import asdict
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader

from gtpt.core.errors import InputError
from gtpt.data.dataset import Collate, CropDataset, EpochBatches
from gtpt.engines.torch import torch_network
from gtpt.model.network import GTPT, Encoded, normalize
from gtpt.train.config import TrainConfig
from gtpt.train.dense import DenseHeads
from gtpt.train.interrupt import leave_to_trainer
from gtpt.train.loss import LossParts, ema_momentum, global_perceived_loss, pointing_loss
from gtpt.train.optim import make_optimizer


class DivergedError(InputError):
    """A loss or weights that are not finite: the settings or an annotation are to blame."""


class PoseTraining(lightning.LightningModule):
    """Trains `net` and keeps its average `ema`, which is what is measured and shipped.

    The learning rate and the momentum of the average are functions of the step alone, and the data of (seed, epoch,
    index) alone, so nothing but weights, optimizer and step count has to survive a kill.

    Args:
        net: the network.
        config: the recipe.
        dataset: training crops.
        workers: loader processes.
    """

    def __init__(self, net: GTPT, config: TrainConfig, dataset: CropDataset, workers: int = 0):
        super().__init__()
        self.net, self.config, self.dataset, self.workers = net, config, dataset, workers
        self.dense = DenseHeads(net.config) if config.dense else None
        self.ema = copy.deepcopy(net).requires_grad_(False)
        self.batches: EpochBatches | None = None

    def train_dataloader(self) -> DataLoader[Any]:
        self.batches = self._epoch_batches()
        self.batches.epoch, self.batches.start = divmod(self.global_step, len(self.batches))
        return DataLoader(
            self.dataset,  # type: ignore[arg-type]  # map-style, without torch
            batch_sampler=self.batches,
            collate_fn=Collate(
                self.net.config.input_size, self.net.config.simcc_split, self.config.sigma, self.config.teacher
            ),
            num_workers=self.workers,
            worker_init_fn=leave_to_trainer if self.workers else None,
            # A forked worker shares the data set's memory and ends when its parent is killed; one of a fork server, the
            # default from Python 3.14 on, does not notice and stays for ever.
            multiprocessing_context="fork" if self.workers and sys.platform == "linux" else None,
            persistent_workers=self.workers > 0,
        )

    def _epoch_batches(self) -> EpochBatches:
        world, rank, config = self.trainer.world_size, self.trainer.global_rank, self.config
        return EpochBatches(len(self.dataset), config.batch_size, config.seed, True, rank, world)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["steps_per_epoch"] = len(self._epoch_batches())
        checkpoint["batch"] = self._batch()
        checkpoint["skeleton"] = self._meaning()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse what would go on with other weights than it has, or with the same for something else."""
        again = "resume with the settings it was made with, or start a new `out` with train.init=.../best.safetensors"
        if (before := checkpoint.get("skeleton", self._meaning())) != self._meaning():
            odd = [key for key, value in self._meaning().items() if before.get(key) != value]
            raise InputError(f"the checkpoint was made with another skeleton, whose {', '.join(odd)} differ: {again}")
        mine, theirs = ({k: tuple(v.shape) for k, v in s.items()} for s in (self.state_dict(), checkpoint["state_dict"]))
        if odd := sorted(k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k)):
            some = ", ".join(odd[:3]) + (f" and {len(odd) - 3} more" if len(odd) > 3 else "")
            raise InputError(f"the checkpoint was made with another network, whose {some} differ: {again}")
        now = len(self._epoch_batches())
        if (before := checkpoint.get("steps_per_epoch", now)) != now:
            raise InputError(
                f"the checkpoint was made with {before} steps per epoch, these settings give {now}: the data, "
                f"train.batch_size or train.devices are others; {again}"
            )
        if (made := list(checkpoint.get("batch", self._batch()))) != self._batch():
            old, new = (f"{world} x {size} persons" for world, size in (made, self._batch()))
            raise InputError(
                f"the checkpoint was made with {old} in a step (processes x train.batch_size), these settings give {new}, "
                f"which would end with other weights: {again}"
            )

    def setup(self, stage: str) -> None:
        """Refuse machines that do not see the same folder: one would resume and the others begin anew."""
        strategy, there = self.trainer.strategy, self.trainer.ckpt_path is not None
        if strategy.reduce_boolean_decision(there, all=False) != strategy.reduce_boolean_decision(there, all=True):
            raise InputError(
                "some machines see a checkpoint in `out` and others do not: put `out` on a disk that all of them share"
            )

    def _batch(self) -> list[int]:
        """Processes, and persons of each in a step: BatchNorm sees those of one process."""
        return [self.trainer.world_size, self.config.batch_size]

    def _meaning(self) -> dict[str, Any]:
        """What the outputs of the network stand for; sigmas and edges may be mended during a run."""
        skeleton = self.net.skeleton
        assert skeleton is not None
        groups = [asdict(group) for group in skeleton.groups]  # a list: their order counts
        return {"keypoints": skeleton.keypoints, "flip_pairs": skeleton.flip_pairs, "groups": groups}

    def on_train_epoch_end(self) -> None:
        assert self.batches is not None
        self.batches.epoch, self.batches.start = self.current_epoch + 1, 0

    def training_step(self, batch: dict[str, torch.Tensor], _index: int) -> torch.Tensor:
        loss = self.losses(batch)
        self._require_finite(loss.total, batch["index"])
        self.log("loss", loss.total.detach() * 1000, prog_bar=True)  # KL per bin is small: shown in thousandths
        parts = ("entire", "pruned", "distill") if self.config.passes == "both" else (self.config.passes,)
        self.log_dict({f"loss/{part}": getattr(loss, part).detach() * 1000 for part in parts})
        self.log("lr", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return loss.total

    def losses(self, batch: dict[str, torch.Tensor]) -> LossParts:
        """Forward pass(es) and loss of a batch of `gtpt.data.dataset.Collate`, on this module's device."""
        features = self.net.features(normalize(batch["crop"]))
        tokens = self.net.tokenize(features)
        pruned = self.net.encode(tokens, self._keep_rates()) if self.config.passes != "entire" else None
        entire = self.net.encode(tokens, "entire") if self.config.passes != "pruned" else None
        targets = (batch["target_x"], batch["target_y"])
        loss = global_perceived_loss(_float_logits(pruned), _float_logits(entire), targets, batch["weight"])
        total = loss.total
        if self.config.guidance:
            passes = [p for p in (pruned, entire) if p is not None]
            total = total + self.config.guidance * sum(self._guidance(p, batch) for p in passes)
        if self.dense is not None:
            seen = entire or pruned  # the entire pass if there is one: it has all patches
            assert seen is not None
            dense = self.dense.loss(features, seen.person.image, seen.person.ids, batch["joints"], batch["weight"])
            total = total + self.config.dense * dense
        return loss._replace(total=total)

    def _keep_rates(self) -> tuple[float, ...]:
        """Of this step, the same in every process and after a resume."""
        lowest = self.net.config.keep_rates
        if self.config.keep_rates == "fixed":
            return lowest
        share = np.random.default_rng((self.config.seed, self.global_step)).random()
        return tuple(rate + share * (1 - rate) for rate in lowest)

    def _require_finite(self, loss: torch.Tensor, index: torch.Tensor) -> None:
        """Stop before one bad step spoils the weights; in every process, since the others wait for its gradients."""
        finite = bool(torch.isfinite(loss))
        if self.trainer.strategy.reduce_boolean_decision(finite, all=True):
            return
        if finite:
            where = "in another process"
        else:
            files = dict.fromkeys(str(name) for name in self.dataset.persons.files[index.cpu().numpy()])
            where = f"for people of {', '.join(list(files)[:5])}{', ...' if len(files) > 5 else ''}"
        raise self.diverged(f"the loss of step {self.global_step} is {loss.item():g} {where}")

    def require_sound_weights(self) -> None:
        """DivergedError if the averaged weights, which are what is kept, can no longer answer anything."""
        width, height = self.net.config.input_size
        crop = np.full((1, height, width, 3), 128, np.uint8)
        values = itertools.chain(self.net.state_dict().values(), self.ema.state_dict().values())
        if not all(torch.isfinite(value).all() for value in values if value.is_floating_point()):
            raise self.diverged(f"the weights of step {self.global_step} are not finite")
        if not all(np.isfinite(logits).all() for logits in torch_network(self.ema)(crop)):
            raise self.diverged(f"the network of step {self.global_step} gives no finite answer to a grey crop")

    def diverged(self, what: str) -> DivergedError:
        """What is said of a run that cannot go on; checkpoints written before are as they were."""
        return DivergedError(
            f"the training diverged: {what}. Checkpoints of earlier steps are kept; go on from them with a smaller "
            f"train.lr (now {self.config.lr:g}) or with train.clip=1 (now {self.config.clip:g})"
        )

    def _guidance(self, out: Encoded, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        config = self.net.config
        coarse = [i for g in config.groups for i in g.keypoints]
        return pointing_loss(
            out.person.attention[:, :, config.num_parts :].mean(dim=1),
            out.person.ids,
            batch["joints"][:, coarse],
            batch["weight"][:, coarse],
            config.grid,
            config.input_size,
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        learnt = [p for p in self.named_parameters() if p[1].requires_grad]
        return make_optimizer(learnt, self.config.optimizer, self.config.lr, self.config.weight_decay)

    def on_train_batch_start(self, _batch: Any, _index: int) -> None:
        assert self.batches is not None
        rate = learning_rate(self.config, self.global_step, len(self.batches))
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = rate

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Update the average together with the weights: a checkpoint between the two would resume without it."""
        super().optimizer_step(*args, **kwargs)
        assert self.batches is not None
        # the step is that of this update: the trainer counts on afterwards
        update_ema(self.ema, self.net, averaging_momentum(self.config, self.global_step, len(self.batches)))


@torch.no_grad()
def update_ema(ema: GTPT, net: GTPT, momentum: float) -> None:
    """ema = momentum * ema + (1 - momentum) * net, for parameters and BatchNorm statistics; counters are copied."""
    pairs = list(zip(ema.state_dict().values(), net.state_dict().values(), strict=True))
    averaged = [(a, b) for a, b in pairs if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in averaged], [b for _, b in averaged], 1 - momentum)
    for a, b in pairs:
        if not a.is_floating_point():
            a.copy_(b)


def averaging_momentum(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """How much of the average stays at an optimizer step, counted from 0."""
    if config.ema == "official":
        return ema_momentum(step, config.epochs * steps_per_epoch)
    return min(float(config.ema), (step + 1) / (step + 10))  # a young average forgets its random start


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Of an optimizer step, counted from 0.

    "steps" is the official schedule: the scheduler is stepped at the start of each epoch, so the milestones 200 and 260
    take effect in epochs 199 and 259 (counted from 0).
    """
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "cosine":
        progress = step / (config.epochs * steps_per_epoch)
        return config.lr * warmup * max(0.01, 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
    epoch = step // steps_per_epoch
    return config.lr * warmup * 0.1 ** sum(epoch + 1 >= milestone for milestone in config.milestones)


def _float_logits(out: Encoded | None) -> tuple[torch.Tensor, torch.Tensor] | None:
    return None if out is None else (out.x.float(), out.y.float())
