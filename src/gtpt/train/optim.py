"""Optimizers: Adam as in the official code, AdamW, and Muon for the matrices of the transformer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

# Newton-Schulz coefficients of Muon (K. Jordan, 2024): push all singular values towards 1 in a few matrix products.
_A, _B, _C = 3.4445, -4.7750, 2.0315

# The loss is a mean over hundreds of bins, so gradients can be far below Adam's usual 1e-8, which would then damp them.
# The official recipe ("adam") keeps 1e-8.
EPS = 1e-12


class MuonAdamW(Optimizer):
    """Muon steps for the weight matrices of hidden layers, AdamW steps for everything else.

    `torch.optim.Muon` orthogonalises one matrix at a time in bfloat16, which costs seconds per step on a CPU without
    bfloat16 units; here matrices of one shape go together, in float32. Steps are scaled so that learning rate and weight
    decay mean the same for both kinds of parameters (root mean square 0.2, "Muon is scalable", 2025).

    Args:
        matrices: 2-D parameters of hidden layers.
        others: convolutions, norms, biases, tokens, heads.
        lr, weight_decay: decoupled, of both.
        momentum: Nesterov momentum of the matrices.
        iterations: Newton-Schulz iterations.
    """

    def __init__(
        self,
        matrices: list[nn.Parameter],
        others: list[nn.Parameter],
        *,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        iterations: int = 5,
    ):
        groups = [{"params": matrices, "muon": True}, {"params": others, "muon": False}]
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "iterations": iterations}
        super().__init__([g for g in groups if g["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            (self._muon if group["muon"] else self._adam)(params, group)
        return loss

    def _muon(self, params: list[Tensor], group: dict[str, Any]) -> None:
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
            shapes[p.shape].append(p)
        for shape, same in shapes.items():
            buffers = [self.state[p]["momentum"] for p in same]
            grads = [p.grad for p in same if p.grad is not None]
            torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
            nesterov = torch._foreach_lerp(grads, buffers, group["momentum"])
            steps = orthogonalize(torch.stack(list(nesterov)), group["iterations"])
            torch._foreach_add_(same, list(steps.unbind(0)), alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)

    def _adam(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for p in params:
            if not self.state[p]:
                zeros = {key: torch.zeros_like(p) for key in ("exp_avg", "exp_avg_sq")}
                self.state[p] = {"step": torch.zeros(()), **zeros}
        adamw(
            params,
            [p.grad for p in params if p.grad is not None],
            [self.state[p]["exp_avg"] for p in params],
            [self.state[p]["exp_avg_sq"] for p in params],
            [],
            [self.state[p]["step"] for p in params],
            foreach=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=EPS,
            maximize=False,
        )


def orthogonalize(matrices: Tensor, iterations: int) -> Tensor:
    """Nearest semi-orthogonal matrices, roughly (singular values 0.7 to 1.2): (n, rows, columns), same dtype."""
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)  # A x + (B g + C g g) x
    return x if wide else x.mT


def make_optimizer(named: list[tuple[str, nn.Parameter]], name: str, lr: float, weight_decay: float) -> Optimizer:
    """An optimizer of named parameters by its name in the experiment file: "adam", "adamw" or "muon"."""
    if name == "adam":
        return torch.optim.Adam([p for _, p in named], lr=lr, weight_decay=weight_decay)
    if name == "adamw":
        return torch.optim.AdamW([p for _, p in named], lr=lr, weight_decay=weight_decay, eps=EPS)
    hidden = ("encoder", "patch_embed", "group_gate")
    matrices = [p for n, p in named if p.ndim == 2 and any(h in n for h in hidden)]
    chosen = {id(p) for p in matrices}
    return MuonAdamW(matrices, [p for _, p in named if id(p) not in chosen], lr=lr, weight_decay=weight_decay)
