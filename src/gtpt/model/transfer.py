"""Starting a network from another one's checkpoint: from 17 to 133 keypoints (the paper's curriculum) or another size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from gtpt.model.checkpoint import load
from gtpt.model.network import GTPT
from gtpt.model.official import load_official


@dataclass(frozen=True)
class Transfer:
    """Names of state-dict entries of the new network: taken over, and left at their random start."""

    taken: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        fresh = ", ".join(self.fresh) if self.fresh else "nothing"
        return f"took over {len(self.taken)} of {len(self.taken) + len(self.fresh)} tensors; left fresh: {fresh}"


@torch.no_grad()
def start_from(model: GTPT, checkpoint: str | Path) -> Transfer:
    """Copy every entry of a checkpoint that fits: same name and shape, keypoint tokens by keypoint name.

    The position embedding stays that of the new network's grid, unless both have the same.

    Args:
        model: changed in place.
        checkpoint: ours (*.safetensors) or an authors' *.pth (its ema branch).

    Raises:
        ValueError: nothing fits, since the widths differ.
    """
    source = load_official(checkpoint) if Path(checkpoint).suffix in (".pth", ".pt") else load(checkpoint)
    state, theirs = model.state_dict(), source.state_dict()
    fitting = [k for k, v in theirs.items() if k in state and state[k].shape == v.shape and k != "keypoint_token"]
    for key in fitting:
        state[key].copy_(theirs[key])
    rows = _common_keypoints(model, source)
    if rows and theirs["keypoint_token"].shape[-1] == state["keypoint_token"].shape[-1]:
        mine, other = zip(*rows, strict=True)
        state["keypoint_token"][:, list(mine)] = theirs["keypoint_token"][:, list(other)]
        fitting.append("keypoint_token")
    if "human_token" not in fitting:
        raise ValueError(f"{checkpoint} is a {source.config.name}, which a {model.config.name} cannot start from")
    return Transfer(tuple(fitting), tuple(k for k in state if k not in fitting))


def _common_keypoints(model: GTPT, source: GTPT) -> list[tuple[int, int]]:
    """Rows of the coarse keypoint tokens of both networks that stand for the same keypoint."""

    def coarse(net: GTPT) -> list[str]:
        assert net.skeleton is not None
        return [net.skeleton.keypoints[i] for g in net.config.groups for i in g.keypoints]

    mine, theirs = coarse(model), coarse(source)
    return [(i, theirs.index(name)) for i, name in enumerate(mine) if name in theirs]
