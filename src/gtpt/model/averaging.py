"""The mean of several trainings' weights, which is often better than each of them (a "model soup")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from gtpt.core.errors import WeightsError
from gtpt.model.checkpoint import save
from gtpt.model.network import GTPT
from gtpt.model.official import load_any


@torch.no_grad()
def average(checkpoints: Sequence[str | Path], out: str | Path | None = None) -> GTPT:
    """The network whose weights and norm statistics are the means of those of several; the same as `gtpt average`.

    It pays for trainings that started from the same weights, with other data, order or settings. Weights that have nothing
    in common average to noise, so measure what comes out. (Wortsman et al., "Model soups", ICML 2022; not in GTPT's paper.)

    Args:
        checkpoints: two or more *.safetensors, registered names or authors' *.pth (their ema branch), all of one network.
        out: where to write it, a *.safetensors; without calibration, which would be that of another network.

    Returns:
        The average, in evaluation mode.

    Raises:
        FileNotFoundError, ValueError: fewer than two, no such file, or networks or skeletons that differ.
    """
    if len(checkpoints) < 2:
        raise WeightsError(f"an average needs at least two checkpoints, got {len(checkpoints)}")
    if out is not None and Path(out).suffix != ".safetensors":
        raise WeightsError(f"an average is written as *.safetensors, got {out}")
    networks = [load_any(checkpoint) for checkpoint in checkpoints]
    first = networks[0]
    for checkpoint, other in zip(checkpoints, networks, strict=True):
        if _kind(other) != _kind(first):
            raise WeightsError(
                f"{checkpoint} is another network than {checkpoints[0]}: size, input, keep rates and skeleton must be "
                f"the same"
            )
    states = [network.state_dict() for network in networks]
    for name, value in states[0].items():
        if value.is_floating_point():  # all but counts of batches
            value.copy_(torch.stack([state[name].double() for state in states]).mean(0))
    if out is not None:
        save(first, out)
    return first


def _kind(network: GTPT) -> tuple[object, object]:
    """What networks must share to be averaged."""
    return network.config, network.skeleton
