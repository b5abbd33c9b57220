"""Which visual tokens stay: pure functions, no state. The numbers kept are known before the network runs."""

from __future__ import annotations

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
    """Rows of tokens (B, N, C), or entries of ids (B, N), at index (B, keep)."""
    if tokens.dim() == 2:
        return tokens.gather(1, index)
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
