"""Starting a network from another one's checkpoint: from 17 to 133 keypoints (the paper's curriculum) or another size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from gtpt.core.errors import WeightsError
from gtpt.model.network import GTPT
from gtpt.model.official import load_any


@dataclass(frozen=True)
class Transfer:
    """What of the new network was taken over, and what was left at its random start.

    State-dict entries by name; where some tokens of an entry were taken and others not, each by the name of its keypoint
    or part: "keypoint_token[left_eye]".
    """

    taken: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        fresh = ", ".join(self.fresh) if self.fresh else "nothing"
        count = len(self.taken) + len(self.fresh)
        return f"took over {len(self.taken)} of {count} tensors and tokens; left fresh: {fresh}"


@torch.no_grad()
def start_from(model: GTPT, checkpoint: str | Path) -> Transfer:
    """Copy every entry of a checkpoint that fits: same name and shape, and tokens by the name of their keypoint or part.

    The position embedding stays that of the new network's grid, unless both have the same.

    Args:
        model: changed in place.
        checkpoint: ours (*.safetensors or a registered name) or an authors' *.pth (its ema branch).

    Raises:
        ValueError: nothing fits, since the widths differ; `model` is as it was.
    """
    source = load_any(checkpoint)
    if source.config.dim != model.config.dim:
        raise WeightsError(f"{checkpoint} is a {source.config.name}, which a {model.config.name} cannot start from")
    state, theirs = model.state_dict(), source.state_dict()
    names, their_names = _token_names(model), _token_names(source)
    taken, fresh = [], []
    for key, value in state.items():
        if key in names:
            known = their_names.get(key, [])
            found = [name for name in names[key] if name in known]
            for name in found:
                value[:, names[key].index(name)] = theirs[key][:, known.index(name)]
            if 0 < len(found) < len(names[key]):
                taken += [f"{key}[{name}]" for name in found]
                fresh += [f"{key}[{name}]" for name in names[key] if name not in known]
            else:
                (taken if found else fresh).append(key)
        elif key in theirs and value.shape == theirs[key].shape:
            value.copy_(theirs[key])
            taken.append(key)
        else:
            fresh.append(key)
    return Transfer(tuple(taken), tuple(fresh))


def _token_names(model: GTPT) -> dict[str, list[str]]:
    """What the rows of each token entry stand for."""
    assert model.skeleton is not None
    groups, keypoint = model.config.groups, model.skeleton.keypoints
    tokens = {"keypoint_token": [keypoint[i] for g in groups for i in g.keypoints]}
    if model.part_token is not None:
        tokens["part_token"] = [part for g in groups for part, _ in g.parts]
        tokens["fine_keypoint_token"] = [keypoint[i] for g in groups for i in g.fine]
    return tokens
