"""Starting a network from another one's checkpoint: from 17 to 133 keypoints (the paper's curriculum) or another size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from gtpt.model.network import GTPT
from gtpt.model.official import load_any


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
    """Copy every entry of a checkpoint that fits: same name and shape, and tokens by the name of their keypoint or part.

    The position embedding stays that of the new network's grid, unless both have the same.

    Args:
        model: changed in place.
        checkpoint: ours (*.safetensors) or an authors' *.pth (its ema branch).

    Raises:
        ValueError: nothing fits, since the widths differ; `model` is as it was.
    """
    source = load_any(checkpoint)
    if source.config.dim != model.config.dim:
        raise ValueError(f"{checkpoint} is a {source.config.name}, which a {model.config.name} cannot start from")
    state, theirs = model.state_dict(), source.state_dict()
    names, their_names = _token_names(model), _token_names(source)
    fitting = [k for k, v in theirs.items() if k in state and state[k].shape == v.shape and k not in names]
    for key in fitting:
        state[key].copy_(theirs[key])
    for key in names.keys() & their_names.keys():
        rows = [(i, their_names[key].index(name)) for i, name in enumerate(names[key]) if name in their_names[key]]
        if rows:
            mine, other = map(list, zip(*rows, strict=True))
            state[key][:, mine] = theirs[key][:, other]
            fitting.append(key)
    return Transfer(tuple(fitting), tuple(k for k in state if k not in fitting))


def _token_names(model: GTPT) -> dict[str, list[str]]:
    """What the rows of each token entry stand for."""
    assert model.skeleton is not None
    groups, keypoint = model.config.groups, model.skeleton.keypoints
    tokens = {"keypoint_token": [keypoint[i] for g in groups for i in g.keypoints]}
    if model.part_token is not None:
        tokens["part_token"] = [part for g in groups for part, _ in g.parts]
        tokens["fine_keypoint_token"] = [keypoint[i] for g in groups for i in g.fine]
    return tokens
