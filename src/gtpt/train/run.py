"""`gtpt train`: read, check, train, resume. Linear on purpose.

    gtpt train --cfg configs/coco/gtpt_t_256x192.yaml                                       # 4 GPUs, as published
    gtpt train --cfg configs/coco/gtpt_t_256x192.yaml train.devices=1 train.batch_size=256  # the same steps on one
    gtpt train --cfg mine.yaml train.accelerator=cpu train.devices=1 train.batch_size=32

The same command again resumes a run that was stopped or killed, at the step where its last checkpoint was made. Ctrl-C,
SIGTERM and SIGHUP save one first.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import yaml
from filelock import FileLock, Timeout
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tqdm.contrib.logging import logging_redirect_tqdm

from gtpt.core.errors import InputError
from gtpt.core.skeleton import Skeleton, load_skeleton
from gtpt.data.check import unpaired_sides
from gtpt.data.coco import Persons, open_stores, read_coco
from gtpt.data.config import DataConfig, Source
from gtpt.data.dataset import CropDataset
from gtpt.data.images import FileStore
from gtpt.data.synthetic import ensure_synthetic
from gtpt.data.teacher import TeacherMaps, teacher_of
from gtpt.evaluate.coco import evaluate_coco
from gtpt.evaluate.run import evaluation_set
from gtpt.model.checkpoint import build, replace_atomically, save
from gtpt.model.transfer import start_from
from gtpt.train.checkpoints import BEST, FINAL, LAST, AtomicCheckpoints, CheckpointKeeper
from gtpt.train.config import Experiment, TrainConfig, load_experiment
from gtpt.train.interrupt import SaveOnSignal
from gtpt.train.module import PoseTraining

logger = logging.getLogger(__name__)
SURE = 0.3  # score from which a teacher's keypoint counts: 83 % of them on COCO, at an OKS of 0.84


def train(experiment: Experiment, *, progress: bool = True) -> Path:
    """Train as the experiment says, or go on where an earlier call stopped.

    Args:
        experiment: resolved configuration; its `out` folder gets `last.ckpt` (resumable), `best.safetensors` (averaged
            weights with the best AP so far and their calibration), `final.safetensors`, `config.yaml` and logs.
        progress: show a progress bar.

    Returns:
        The checkpoint to use: the best one, or the final one if nothing was validated.

    Raises:
        FileNotFoundError, ValueError: data or settings that cannot work, before any work starts.
    """
    config, out = experiment.train, experiment.out
    _check_devices(config)
    _check_same_experiment(experiment)
    lightning.seed_everything(config.seed, verbose=False)
    skeleton = load_skeleton(experiment.model.skeleton)
    if skeleton.unpaired:
        rank_zero_only(logger.warning)("%s", unpaired_sides(skeleton))
    dataset = training_set(experiment)
    _check_validation(experiment.data, skeleton)
    changes = experiment.model.model_dump(exclude={"name", "skeleton"}, exclude_none=True)
    net = build(experiment.model.name, skeleton, **changes)
    resume = out / LAST
    if config.convolutions == "kaiming":
        net.apply(draw_convolutions)
    if config.init and not resume.is_file():
        rank_zero_only(logger.info)("%s", start_from(net, config.init))
    module = PoseTraining(net, config, dataset, experiment.data.workers)
    keeper = CheckpointKeeper(experiment)
    stopper = SaveOnSignal(resume)
    trainer = _make_trainer(experiment, [keeper, stopper], progress)
    with _alone_in(out) if trainer.is_global_zero else nullcontext():
        if trainer.is_global_zero:
            _prepare_folder(experiment)
        with stopper:
            _fit(trainer, module, resume if resume.is_file() else None)
        if trainer.is_global_zero:
            save(module.ema, out / FINAL, {"step": trainer.global_step, **keeper.metadata})  # the last epoch was validated
    return out / (BEST if (out / BEST).is_file() else FINAL)


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Two runs in one folder would overwrite each other's checkpoints. The system frees the lock of a run that is killed.

    Raises:
        InputError: another process trains there.
    """
    (out / "logs").mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / "logs" / "train.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(f"another training is running in {out}: wait until it is done, or set another `out=`") from None
    except NotImplementedError:  # some network file systems have no locks: then it works as for a single process
        logger.warning("%s has no file locks: do not train there twice at the same time", out)
    try:
        yield
    finally:
        lock.release()


def _fit(trainer: lightning.Trainer, module: PoseTraining, resume: Path | None) -> None:
    with warnings.catch_warnings(), logging_redirect_tqdm():
        warnings.simplefilter("ignore", PossibleUserWarning)  # e.g. that these loaders cannot resume: they can
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)  # Lightning's own doing
        warnings.filterwarnings("ignore", "Grad strides do not match bucket")  # where a side is 1, strides mean nothing
        torch.set_flush_denormal(True)  # averages of gradients that have become zero fade into denormals: slow on a CPU
        try:
            trainer.fit(module, ckpt_path=resume)
        except SystemExit:
            if not trainer.interrupted:
                raise
        except (ValueError, OSError) as error:
            if "Original Traceback" not in str(error):
                raise
            # a loader process said what is wrong; PyTorch put its traceback around it
            kind = type(error)
            raise kind(re.split(rf"\n[\w.]*\b{kind.__name__}: ", str(error))[-1].strip()) from error
        finally:
            torch.set_flush_denormal(False)  # the process is the caller's
    if trainer.interrupted:
        raise KeyboardInterrupt  # Lightning made a silent exit of Ctrl-C


def draw_convolutions(module: torch.nn.Module) -> None:
    """Draw a convolution's weights at the size that keeps the variance of ReLU features (He et al., 2015)."""
    if isinstance(module, torch.nn.Conv2d):
        torch.nn.init.kaiming_normal_(module.weight)


def training_set(experiment: Experiment) -> CropDataset:
    """All training sources of an experiment as one set of crops."""
    data, skeleton = experiment.data, load_skeleton(experiment.model.skeleton)
    if not data.train:
        raise InputError("the experiment names no training data: set data.train to a list of {annotations, images}")
    own = [load_skeleton(s.skeleton or skeleton) for s in data.train]
    for source, its in zip(data.train, own, strict=True):
        if source.synthetic is not None:
            ensure_synthetic(source.images, source.synthetic, its)
    parts = [read_coco(s.annotations, o, labelled=s.labels) for s, o in zip(data.train, own, strict=True)]
    stores = open_stores([s.images for s in data.train])
    for source, persons, store in zip(data.train, parts, stores, strict=True):
        if not len(persons):
            raise InputError(f"no usable person in {source.annotations}; see `gtpt data check`")
        _check_image(source, persons, store)
    teachers = tuple(teacher_of(s, p, o, skeleton) for s, p, o in zip(data.train, parts, own, strict=True))
    parts = [p.in_skeleton(o, skeleton) for p, o in zip(parts, own, strict=True)]
    parts = [teach(p, t) if t else p for p, t in zip(parts, teachers, strict=True)]
    return CropDataset(
        Persons.concatenate(parts),
        stores,
        skeleton,
        experiment.model.input_size,
        data.augment,
        experiment.train.seed,
        data.cache,
        teachers,
        experiment.model.simcc_split,
    )


def teach(persons: Persons, teacher: TeacherMaps) -> Persons:
    """Persons who also have the keypoints that only the teacher sees; their visibility is how sure it is, below 1."""
    rows = [teacher.row(i) for i in persons.ids]
    visible = persons.visible.copy()
    keypoints = persons.keypoints.copy()
    for number, row in enumerate(rows):
        if row is not None:
            _, _, found, scores = teacher.about(row)
            taught = (visible[number] == 0) & (scores >= SURE)
            keypoints[number, taught] = found[taught]
            visible[number, taught] = np.minimum(scores[taught], 0.99)
    return replace(persons, keypoints=keypoints, visible=visible)


def _make_trainer(experiment: Experiment, keepers: list[Callback], progress: bool) -> lightning.Trainer:
    config, out = experiment.train, experiment.out
    for chatty in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    run = f"run{len(list((out / 'logs').glob('run*')))}"  # a resumed run would erase the CSV file of the one before
    return lightning.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy="ddp" if config.devices * config.nodes > 1 else "auto",
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        max_epochs=config.epochs,
        gradient_clip_val=config.clip or None,
        use_distributed_sampler=False,  # EpochBatches shares the data out, so that resuming is exact
        limit_val_batches=0,
        enable_checkpointing=False,  # CheckpointKeeper
        enable_model_summary=False,
        enable_progress_bar=progress,
        log_every_n_steps=config.log_every,
        logger=[CSVLogger(out, "logs", version=run), TensorBoardLogger(out, "logs", version=run)],
        callbacks=[*keepers, *([ProgressBar(refresh_rate=10)] if progress else [])],
        plugins=[AtomicCheckpoints()],
    )


class ProgressBar(TQDMProgressBar):
    """Lightning's, which in an epoch that is resumed in its middle knows neither its length nor where it began."""

    def on_train_start(self, trainer: Any, module: Any) -> None:
        super().on_train_start(trainer, module)
        bar, batches = self.train_progress_bar, module.batches
        if batches.start:
            bar.reset(len(batches))
            bar.initial = bar.n = batches.start
            bar.set_description(f"Epoch {trainer.current_epoch}")


def _check_devices(config: TrainConfig) -> None:
    """Ask for GPUs and machines that are there."""
    found, wanted = torch.cuda.device_count(), config.devices
    if config.accelerator == "gpu" and not found:
        raise InputError("train.accelerator=gpu, but PyTorch sees no GPU; use cpu, or install a CUDA build of torch")
    if config.accelerator != "cpu" and found and wanted > found:
        same = config.batch_size * wanted // found
        raise InputError(
            f"train.devices={wanted}, but there are {found} GPUs: train.devices={found} train.batch_size={same} makes the "
            f"same steps"
        )
    _check_launcher(config)


def _check_launcher(config: TrainConfig) -> None:
    """As many processes as whoever started this one has started; a number that differs would wait for ever."""
    world, here = (int(os.environ.get(name, 0)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if here and "TORCHELASTIC_RUN_ID" in os.environ and (config.devices, config.nodes) != (here, world // here):
        raise InputError(
            f"torchrun started {here} processes on each of {world // here} machines, which is not train.devices="
            f"{config.devices} train.nodes={config.nodes}: give train.devices={here} train.nodes={world // here}"
        )
    if config.nodes > 1 and not {"TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "NODE_RANK"} & set(os.environ):
        raise InputError(
            f"train.nodes={config.nodes}: start the command on each machine with torchrun or srun, see docs/training.md"
        )


def _check_validation(data: DataConfig, skeleton: Skeleton) -> None:
    """Ask for what validation needs, and refuse what it would refuse, now and not after the first epochs."""
    if data.val is not None:
        own = load_skeleton(data.val.skeleton or skeleton)
        people = evaluation_set(data.val.annotations, data.val.images, data.boxes, skeleton, (192, 256), own)
        evaluate_coco(data.val.annotations, [], own)
        if len(people):
            _check_image(data.val, people.persons, people.stores[0])


def _check_image(source: Source, persons: Persons, store: FileStore) -> None:
    """Find images that lie elsewhere by the first one."""
    if not store.exists(persons.files[0]):
        raise FileNotFoundError(f"{source.images} has no {persons.files[0]}, which {source.annotations} names")


def _check_same_experiment(experiment: Experiment) -> None:
    """A folder belongs to one experiment: resuming another one into it would lose the first."""
    path = experiment.out / "config.yaml"
    if not (experiment.out / LAST).is_file() or not path.is_file():
        return
    try:
        before = load_experiment(path)
    except ValueError as error:
        raise InputError(
            f"{error}\nIt describes the run that {experiment.out} holds: mend it, or set another `out=`"
        ) from error
    for what, old, new in (
        ("network", before.model, experiment.model),
        ("optimizer", before.train.optimizer, experiment.train.optimizer),
        ("train.dense", _heads(before.train), _heads(experiment.train)),
    ):
        if old != new:
            raise InputError(f"{experiment.out} holds a run of another {what} ({old}, now {new}); set another `out=`")


def _heads(config: TrainConfig) -> str:
    """What `train.dense` adds to the weights of a run: its value may change, but not whether there are heads."""
    return "above 0" if config.dense else "0"


def _prepare_folder(experiment: Experiment) -> None:
    """Record the resolved configuration, and sweep up what a kill left half-written."""
    out = experiment.out
    out.mkdir(parents=True, exist_ok=True)
    for leftover in out.glob(".*.partial"):
        leftover.unlink()
    text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
    replace_atomically(out / "config.yaml", lambda temporary: temporary.write_text(text))
