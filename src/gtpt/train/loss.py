"""The global perceived loss: both passes learn from the ground truth, the pruned one also from the entire one."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class LossParts(NamedTuple):
    """Scalars; `total` is what is minimised."""

    total: Tensor
    entire: Tensor
    pruned: Tensor
    distill: Tensor


def simcc_kl(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """KL divergence of SimCC vectors, mean over bins and batch, weighted per joint, mean over joints.

    All joints at once: the weighted mean over bins is linear in t * (log t - log softmax(z)).

    Args:
        logits: (B, K, L).
        target: (B, K, L) a distribution, need not sum to one; zero entries count nothing.
        weight: (B, K); joints of weight 0 stay in the denominator (official).

    Returns:
        Scalar: sum over axis and batch of weight * KL, divided by L * B * K.
    """
    batch, joints, bins = logits.shape
    per_joint = (torch.xlogy(target, target) - target * logits.log_softmax(dim=-1)).sum(dim=-1)
    return (per_joint * weight).sum() / (bins * batch * joints)


def global_perceived_loss(
    pruned: tuple[Tensor, Tensor],
    entire: tuple[Tensor, Tensor] | None,
    targets: tuple[Tensor, Tensor],
    weight: Tensor,
) -> LossParts:
    """Section 3.5: ground truth for both passes, and the entire pass (detached) as teacher of the pruned one.

    Args:
        pruned, entire: x and y logits (B, K, W * split), (B, K, H * split); entire None trains a single pass.
        targets: Gaussians of `gtpt.codec.simcc_targets`, same shapes.
        weight: (B, K) joint weights.
    """

    def against(logits: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]) -> Tensor:
        return simcc_kl(logits[0], target[0], weight) + simcc_kl(logits[1], target[1], weight)

    learned = against(pruned, targets)
    if entire is None:
        nothing = torch.zeros((), device=weight.device)
        return LossParts(learned, nothing, learned, nothing)
    teacher = against(entire, targets)
    soft = (entire[0].detach().softmax(dim=-1), entire[1].detach().softmax(dim=-1))
    distill = against(pruned, soft)
    return LossParts(learned + teacher + distill, teacher, learned, distill)


def ema_momentum(step: int, total_steps: int, base: float = 0.996) -> float:
    """Official momentum of the averaged weights: from `base` to 1 on a half cosine."""
    return 1 + 0.5 * (base - 1) * (1 + math.cos(math.pi * step / total_steps))
