"""Which visual tokens stay: pure functions, no state. The numbers kept are known before the network runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def patch_scores(logits: Tensor) -> Tensor:
    """How much the keypoints look at each patch: softmax-pooled attention logits (section 3.2).

    For every patch all its logits `a` (each head, each keypoint token that asks) become sum(softmax(a) * a).

    Args:
        logits: (B, heads, R keypoint rows, N patches), scaled and before the attention's softmax.

    Returns:
        (B, N), larger is kept.
    """
    flat = logits.flatten(1, 2).float()  # (B, heads * R, N); half precision would blur near ties
    return (flat.softmax(dim=1) * flat).sum(dim=1)


def top_patches(scores: Tensor, keep: int) -> Tensor:
    """Columns of the `keep` best patches, (B, N) -> (B, keep), in no particular order: a patch carries its position."""
    return scores.topk(keep, dim=1, sorted=False).indices


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens (B, N, C) at index (B, keep): a lookup in all tokens of the batch, which copies whole rows."""
    batch, count, _ = tokens.shape
    starts = torch.arange(batch, device=index.device)[:, None] * count  # (B, 1)
    return F.embedding(starts + index, tokens.flatten(0, 1))


def prune(tokens: Tensor, index: Tensor, side: int) -> Tensor:
    """The first `side` of the tokens (B, T, C), and those at index (B, keep) of the others: (B, side + keep, C)."""
    return torch.cat([tokens[:, :side], take(tokens[:, side:], index)], dim=1)


def rows(tokens: Tensor, index: Sequence[int], dim: int) -> Tensor:
    """The same rows of everybody's tokens, along one axis: a slice, which copies nothing, where they follow each other."""
    if list(index) == list(range(index[0], index[-1] + 1)):
        return tokens.narrow(dim, index[0], len(index))
    return tokens.index_select(dim, torch.tensor(index, device=tokens.device))
