"""Our training step against the plain form of it, on the CPU: `python benchmarks/training_step.py`.

Both make the official step: a pruned and an entire pass, the global perceived loss, Adam, averaged weights. The plain form
runs the paper form twice from the pixels, loops over the joints for the loss, and averages by walking the state dict.
Seconds are medians of pairs measured in turn; peak memory is that of a process that makes such steps only. With --data, a
COCO crop zip, the time in which one loader process makes a batch from it stands beside the step that it feeds.
"""

from __future__ import annotations

import copy
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import typer
from loss import looped
from paper_form import PaperForm
from speed import kaiming_stem
from torch import Tensor

from gtpt.benchmark import machine, median, median_ratio, paired_seconds
from gtpt.core.skeleton import load_skeleton
from gtpt.data.augment import AugmentConfig
from gtpt.data.coco import open_stores, read_coco
from gtpt.data.dataset import Collate, CropDataset
from gtpt.model import GTPT, build
from gtpt.train.config import TrainConfig
from gtpt.train.module import PoseTraining, update_ema
from gtpt.train.optim import make_optimizer

Batch = dict[str, Tensor]
MOMENTUM = 0.996


def main(
    network: str = typer.Option("gtpt-t"),
    skeleton: str = typer.Option("coco17"),
    batch: int = typer.Option(16, min=2),
    threads: int = typer.Option(2, min=1),
    repeats: int = typer.Option(7, min=3, help="Pairs."),
    data: Path = typer.Option(None, help="COCO crop zip, to time the loader too."),
    only: str = typer.Option(None, hidden=True, help="Make three steps of one form and print the peak memory."),
) -> None:
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # as `gtpt train` does
    people = random_batch(build(network, skeleton=skeleton), batch)
    if only:
        step = FORMS[only](network, skeleton)[1]
        for _ in range(3):
            step(people)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    (plain_loss, plain), (our_loss, ours) = (form(network, skeleton) for form in FORMS.values())
    a, b = plain_loss(people).item(), our_loss(people).item()
    if not abs(a - b) <= 1e-5:
        raise RuntimeError(f"the losses differ: plain {a}, ours {b}")
    mine, theirs = paired_seconds(lambda: ours(people), lambda: plain(people), repeats)
    command = [sys.executable, __file__, "--network", network, "--skeleton", skeleton, "--batch", str(batch)]
    memory = [
        float(subprocess.run([*command, "--only", form], capture_output=True, text=True, check=True).stdout)
        for form in FORMS
    ]
    print(f"{machine()}; {threads} threads; {network} {skeleton}, 192x256, batch {batch}; medians of {repeats} pairs\n")
    print("| form | s per step | peak MiB | loss |\n|---|---:|---:|---:|")
    for form, seconds, peak, loss in (("plain", theirs, memory[0], a), ("ours", mine, memory[1], b)):
        print(f"| {form} | {median(seconds):.2f} | {peak:.0f} | {loss:.7f} |")
    print(f"\nratio {median_ratio(mine, theirs):.2f}")
    if data is not None:
        loading = median(loader_seconds(data, batch, repeats))
        print(f"one loader process makes a batch in {loading:.2f} s, {loading / median(mine):.0%} of the step")


def loader_seconds(data: Path, batch: int, repeats: int) -> list[float]:
    """To decode, augment (official recipe) and collate a batch, at 192x256."""
    skeleton = load_skeleton("coco17")
    persons = read_coco(data / "annotations.json", skeleton)
    dataset = CropDataset(persons, open_stores([data]), skeleton, (192, 256), AugmentConfig())
    collate, seconds = Collate((192, 256), 2), []
    for start in range(0, repeats * batch, batch):
        began = time.perf_counter()
        collate([dataset[0, i % len(dataset)] for i in range(start, start + batch)])
        seconds.append(time.perf_counter() - began)
    return seconds


def random_batch(net: GTPT, size: int) -> Batch:
    """Random pixels and joints; a quarter of the joints is not labelled."""
    generator = np.random.default_rng(0)
    (width, height), joints = net.config.input_size, net.config.num_keypoints
    items = [
        {
            "crop": generator.integers(0, 256, (height, width, 3), dtype=np.uint8),
            "joints": generator.uniform(0, (width, height), (joints, 2)),
            "visible": (generator.random(joints) < 0.75).astype(np.float32),
        }
        for _ in range(size)
    ]
    return Collate(net.config.input_size, net.config.simcc_split)(items)


def start(network: str, skeleton: str) -> GTPT:
    torch.manual_seed(0)
    net = build(network, skeleton=skeleton).train()
    kaiming_stem(net)
    return net


def ours(network: str, skeleton: str) -> tuple[Callable[[Batch], Tensor], Callable[[Batch], None]]:
    """The loss of a batch, and a whole step on it."""
    module = PoseTraining(start(network, skeleton), TrainConfig(), dataset=None).train()  # type: ignore[arg-type]
    optimizer = make_optimizer(list(module.net.named_parameters()), "adam", 1e-3, 0.0)

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        module.losses(batch).total.backward()
        optimizer.step()
        update_ema(module.ema, module.net, MOMENTUM)

    return lambda batch: module.losses(batch).total, step


def plain(network: str, skeleton: str) -> tuple[Callable[[Batch], Tensor], Callable[[Batch], None]]:
    net = start(network, skeleton)
    paper, average = PaperForm(net), copy.deepcopy(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def loss(batch: Batch) -> Tensor:
        passes = [paper(batch["crop"], rates) for rates in (None, "entire")]
        return looped(*passes, [batch["target_x"], batch["target_y"]], batch["weight"])

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        loss(batch).backward()
        optimizer.step()
        state = net.state_dict()
        averaged = {k: v * MOMENTUM + state[k] * (1 - MOMENTUM) for k, v in average.state_dict().items()}
        average.load_state_dict(averaged)

    return loss, step


FORMS: dict[str, Callable[[str, str], tuple[Callable[[Batch], Tensor], Callable[[Batch], None]]]] = {
    "plain": plain,
    "ours": ours,
}

if __name__ == "__main__":
    typer.run(main)
