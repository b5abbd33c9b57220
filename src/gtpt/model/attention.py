"""Multi-head attention, which the encoders of `gtpt.model.network` take apart to prune before anything is asked."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gtpt.model.pruning import patch_scores, top_patches


class Attention(nn.Module):
    """In pieces: keys and values stand on their own, since groups share them and pruned patches still answer.

    Attributes:
        operator: what computes it from queries, keys and values; an export puts another in the place of `attention`.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.scale = dim**-0.5  # of the whole width, not of a head: as the official weights were trained
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self.operator = attention

    def queries(self, x: Tensor) -> Tensor:
        """Queries (..., T, D) of normed tokens (..., T, D), the heads one after the other."""
        return F.linear(x, self.qkv.weight[: self.proj.in_features])

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, in the same way."""
        dim = self.proj.in_features
        return F.linear(x, self.qkv.weight[dim : 2 * dim]), F.linear(x, self.qkv.weight[2 * dim :])

    def logits(self, asking: Tensor, keys: Tensor) -> Tensor:
        """Scaled dot products before the softmax, (B, h, rows, N), of (B, rows, D) on (B, N, D): what pruning reads."""
        return logits(split_heads(self.queries(asking), self.heads), split_heads(keys, self.heads), self.scale)

    def most_looked_at(self, asking: Tensor, keys: Tensor, keep: int) -> Tensor:
        """Which `keep` of the patches with keys (B, N, D) the tokens (B, rows, D) look at most: columns (B, keep)."""
        return top_patches(patch_scores(self.logits(asking, keys)), keep)

    def forward(self, asking: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """What tokens (..., rows, D) learn from keys and values (..., T, D)."""
        q, k, v = (t.flatten(0, -3) for t in (self.queries(asking), keys, values))  # (B or B * G, T, D)
        return self.proj(self.operator(q, k, v, self.heads, self.scale).view(asking.shape))


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float) -> Tensor:
    """What queries (B, rows, D) learn from keys and values (B, T, D): (B, rows, D)."""
    if q.requires_grad and q.device.type == "cpu" and q.dtype == torch.bfloat16:
        # the backward pass of the fused operator takes several times as long there as these three steps
        return three_step_attention(q, k, v, heads, scale)
    q, k, v = (split_heads(t, heads) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2).flatten(2)


def three_step_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float) -> Tensor:
    """`attention` without a fused operator."""
    q, k, v = (split_heads(t, heads) for t in (q, k, v))
    weights = logits(q, k, scale).softmax(dim=-1).to(v.dtype)  # (B, h, rows, T)
    return (weights @ v).transpose(1, 2).flatten(2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)  # (B, T, D) -> (B, h, T, d)


def logits(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Scaled dot products of queries (B, h, rows, d) and keys (B, h, T, d): (B, h, rows, T)."""
    return (q * scale) @ k.transpose(2, 3)
