"""The global perceived loss: both passes learn from the ground truth, the pruned one also from the entire one."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

FAR = 1e4  # cells; beyond it one place is as far as another


class LossParts(NamedTuple):
    """Scalars; `total` is what is minimised."""

    total: Tensor
    entire: Tensor
    pruned: Tensor
    distill: Tensor


def simcc_kl(log_probabilities: Tensor, target: Tensor, negative_entropy: Tensor | None = None) -> Tensor:
    """KL divergence of SimCC vectors, mean over bins.

    All joints at once, and of t * (log t - log softmax(z)) the sum of the second term is a product of vectors.

    Args:
        log_probabilities: (B, K, L), log softmax of the logits.
        target: (B, K, L) a distribution, need not sum to one; zero entries count nothing.
        negative_entropy: (B, K) sums of t * log t, if they are known: logarithms take most of the time here.

    Returns:
        (B, K).
    """
    if negative_entropy is None:
        negative_entropy = torch.xlogy(target, target).sum(dim=-1)
    return (negative_entropy - torch.linalg.vecdot(target, log_probabilities)) / target.shape[-1]


def global_perceived_loss(
    pruned: tuple[Tensor, Tensor] | None,
    entire: tuple[Tensor, Tensor] | None,
    targets: tuple[Tensor, Tensor],
    weight: Tensor,
) -> LossParts:
    """Section 3.5: ground truth for both passes, and the entire pass (detached) as teacher of the pruned one.

    Args:
        pruned, entire: x and y logits (B, K, W * split), (B, K, H * split), float32; None for a pass that was not run,
            whose parts are then 0.
        targets: Gaussians of `gtpt.core.simcc.encode`, same shapes.
        weight: (B, K) joint weights.
    """
    sums = {part: torch.zeros_like(weight) for part in ("entire", "pruned", "distill")}
    with torch.autocast(weight.device.type, enabled=False):  # which would multiply vectors in bfloat16
        for axis, target in enumerate(targets):
            negative_entropy = torch.xlogy(target, target).sum(dim=-1)
            logs = {
                name: logits[axis].log_softmax(dim=-1)
                for name, logits in (("entire", entire), ("pruned", pruned))
                if logits is not None
            }
            for name, log_probabilities in logs.items():
                sums[name] = sums[name] + simcc_kl(log_probabilities, target, negative_entropy)
            if len(logs) == 2:
                teacher = logs["entire"].detach()
                soft = teacher.exp()
                kl = simcc_kl(logs["pruned"], soft, torch.linalg.vecdot(soft, teacher))
                sums["distill"] = sums["distill"] + kl
    # mean over batch and joints; joints of weight 0 stay in the denominator (official)
    parts = {name: (weight * part).mean() for name, part in sums.items()}
    return LossParts(total=parts["entire"] + parts["pruned"] + parts["distill"], **parts)


def pointing_loss(
    logits: Tensor, ids: Tensor, joints: Tensor, weight: Tensor, grid: tuple[int, int], input_size: tuple[int, int]
) -> Tensor:
    """Cross-entropy between the cells that something points at and those where the keypoints are (ours; not in the paper).

    Attention of a young network is flat, and learning to point takes most of a short training; here the answer is told.

    Args:
        logits: (B, K, N) of keypoints on cells, such as attention before its softmax.
        ids: (B, N) cell numbers, row-major over the grid.
        joints: (B, K, 2) crop pixels.
        weight: (B, K) joint weights; joints whose cell is not among `ids` do not count.
        grid: rows, columns of cells.
        input_size: width, height of the crop.
    """
    rows, columns = grid
    scale = joints.new_tensor([columns / input_size[0], rows / input_size[1]])
    cells = (joints * scale - 0.5).clamp(-FAR, FAR)  # one without label may be anywhere, and infinity would spoil the sum
    x, y = cells.float()[:, :, None].unbind(dim=-1)  # (B, K, 1) in cells, from the center of the first
    distance = (ids % columns)[:, None].sub(x).square() + (ids // columns)[:, None].sub(y).square()  # (B, K, N)
    target = (-distance).softmax(dim=-1)  # a Gaussian of 0.7 cells
    weight = weight * (distance.amin(dim=-1) < 2)
    with torch.autocast(ids.device.type, enabled=False):  # which would multiply vectors in bfloat16
        per_joint = -torch.linalg.vecdot(target, logits.float().log_softmax(dim=-1))
    return (per_joint * weight).mean()


def ema_momentum(step: int, total_steps: int, base: float = 0.996) -> float:
    """Official momentum of the averaged weights: from `base` to 1 on a half cosine."""
    return 1 + 0.5 * (base - 1) * (1 + math.cos(math.pi * step / total_steps))
