"""GTPT as the paper describes it, step by step in eager PyTorch: the named reference of every ratio in docs/benchmarks.md.

Nothing is skipped or folded: attention logits of all tokens in every layer, BatchNorm by itself, three groups of six
keypoint slots stacked in one tensor, with a padding slot in the first group and a mask over it, and all tokens through the
last layer. It borrows the weights of a `gtpt.model.GTPT` for 17 or 133 keypoints and gives the same logits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gtpt.model import GTPT, normalize
from gtpt.model.config import ENTIRE

SLOTS = 6  # keypoints per group; the first group has five, and a copy of its first one in front


class PaperForm(nn.Module):
    """(B, H, W, 3) uint8 or (B, 3, H, W) normalised float crops to x and y logits.

    Args:
        net: whose modules it calls, so it follows them when they are trained.
    """

    def __init__(self, net: GTPT):
        super().__init__()
        groups = net.config.groups
        if [len(g.keypoints) for g in groups] != [5, 6, 6]:
            raise ValueError("the paper's form knows three groups of 5, 6 and 6 coarse keypoints")
        self.net, self.config = net, net.config
        patches = net.config.num_patches
        mask = torch.zeros(1, 3, 1, patches + SLOTS, patches + 3 * SLOTS, dtype=torch.bool)
        mask[:, 0, :, 0] = True  # the padding slot asks nobody
        mask[..., 0] = True  # and answers nobody
        self.register_buffer("mask", mask)

    def forward(self, crops: Tensor, keep_rates: tuple[float, ...] | None = None) -> tuple[Tensor, Tensor]:
        images = normalize(crops) if crops.dtype == torch.uint8 else crops
        return self.encode(self.net.embed(images), keep_rates)

    def encode(self, tokens: Tensor, keep_rates: tuple[float, ...] | str | None = None) -> tuple[Tensor, Tensor]:
        """Visual tokens (B, N, D) to logits, with the config's keep rates or all of them 1 ("entire")."""
        counts = self.config.keep_counts(ENTIRE if keep_rates == "entire" else keep_rates)
        side, image, pos, logits = self.coarse(tokens, counts)
        return self.heads(self.group_layers(*self.split(side, image, pos, logits, counts[2]), counts))

    def coarse(self, image: Tensor, counts: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        net, batch = self.net, len(image)
        x = torch.cat([net.human_token.expand(batch, -1, -1), image], dim=1)
        pos = net.pos_embedding.expand(batch, -1, -1)
        side = 1
        for depth, layer in enumerate(net.coarse_encoder):
            if depth > 0:
                x = torch.cat([x[:, :side], x[:, side:] + pos], dim=1)
            q, k, v = heads(layer.attn.qkv(layer.attn_norm(x)), layer.attn.heads)
            logits = (q @ k.transpose(-1, -2)) * layer.attn.scale  # (B, h, T, T)
            x = x + layer.attn.proj(merge(logits.softmax(dim=-1) @ v))
            if (keep := counts[depth // 3]) != x.shape[1] - side:
                best = pool(logits[:, :, :side, side:]).topk(keep, dim=1).indices
                pos = gather(pos, best)
                x = torch.cat([x[:, :side], gather(x[:, side:], best)], dim=1)
            if depth == 3:
                x = torch.cat([x[:, :1] + net._side_tokens(), x[:, 1:]], dim=1)
                side = x.shape[1] - pos.shape[1]
            x = x + layer.mlp(layer.mlp_norm(x))
        return x[:, :side], x[:, side:], pos, logits[:, :, :side, side:]

    def split(
        self, side: Tensor, image: Tensor, pos: Tensor, logits: Tensor, count: int
    ) -> tuple[Tensor, Tensor, list[int]]:
        """Group tokens and their positions, both (B, 3, T, D), and the number of fine keypoints of each group."""
        net, parts = self.net, self.config.num_parts
        gates = net.group_gate(image).chunk(3, dim=-1)
        tokens, positions, part, fine = [], [], 0, 0
        for g, group in enumerate(self.config.groups):
            joints = range(parts + (0, 5, 11)[g], parts + (5, 11, 17)[g])
            slots = side[:, [joints[0], *joints] if g == 0 else list(joints)]
            asking = [*range(part, part + len(group.parts)), *joints]
            dense = []
            for _, points in group.parts:
                dense.append(side[:, part, None] + net.fine_keypoint_token[:, fine : fine + len(points)])
                part, fine = part + 1, fine + len(points)
            own, own_pos = image * gates[g], pos * gates[g]
            if (keep := count - len(group.fine)) != image.shape[1]:
                best = pool(logits[:, :, asking]).topk(keep, dim=1).indices
                own, own_pos = gather(own, best), gather(own_pos, best)
            tokens.append(torch.cat([slots, *dense, own], dim=1))
            nothing = own_pos.new_zeros(len(own), tokens[-1].shape[1] - own.shape[1], own.shape[2])
            positions.append(torch.cat([nothing, own_pos], dim=1))
        return torch.stack(tokens, dim=1), torch.stack(positions, dim=1), [len(g.fine) for g in self.config.groups]

    def group_layers(self, x: Tensor, pos: Tensor, fine: list[int], counts: tuple[int, ...]) -> Tensor:
        for depth, layer in enumerate(self.net.group_encoder):
            x = x + pos
            q, k, v = heads(layer.attn.qkv(layer.attn_norm(x)), layer.attn.heads)  # (B, 3, h, T, d)
            keys, values = (
                torch.cat(
                    [t[..., :SLOTS, :].transpose(1, 2).flatten(2, 3)[:, None].expand(-1, 3, -1, -1, -1), t[..., SLOTS:, :]],
                    dim=3,
                )
                for t in (k, v)
            )  # the slots of all groups, then the group's own other tokens
            logits = (q @ keys.transpose(-1, -2)) * layer.attn.scale
            mask = self.mask[..., : logits.shape[-2], : logits.shape[-1]]
            logits = logits.masked_fill(mask, -torch.finfo(logits.dtype).max)
            x = x + layer.attn.proj(merge(logits.softmax(dim=-1) @ values))
            if (keep := counts[2 + depth // 3]) != x.shape[2] - SLOTS:
                x, pos = self.prune(x, pos, logits, fine, keep)
            x = x + layer.mlp(layer.mlp_norm(x))
        return x

    def prune(self, x: Tensor, pos: Tensor, logits: Tensor, fine: list[int], keep: int) -> tuple[Tensor, Tensor]:
        tokens, positions = [], []
        for g, dense in enumerate(fine):
            start = SLOTS + dense
            asking = logits[:, g, :, :start, 3 * SLOTS + dense :]
            if g == 0:
                asking = torch.cat([torch.full_like(asking[:, :, :1], -1e5), asking[:, :, 1:]], dim=2)
            best = pool(asking).topk(keep - dense, dim=1).indices
            tokens.append(torch.cat([x[:, g, :start], gather(x[:, g, start:], best)], dim=1))
            positions.append(torch.cat([pos[:, g, :start], gather(pos[:, g, start:], best)], dim=1))
        return torch.stack(tokens, dim=1), torch.stack(positions, dim=1)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sparse = x[:, :, :SLOTS].flatten(1, 2)[:, 1:]  # without the padding slot
        dense = [x[:, g, SLOTS : SLOTS + len(group.fine)] for g, group in enumerate(self.config.groups)]
        keypoints = torch.cat([sparse, *dense], dim=1)[:, self.net.output_order]
        return self.net.head_x(keypoints), self.net.head_y(keypoints)


def heads(qkv: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """(..., T, 3 D) to three of (..., h, T, d)."""
    return tuple(part.unflatten(-1, (count, -1)).transpose(-2, -3) for part in qkv.chunk(3, dim=-1))


def merge(x: Tensor) -> Tensor:
    """(..., h, T, d) to (..., T, D)."""
    return x.transpose(-2, -3).flatten(-2)


def pool(logits: Tensor) -> Tensor:
    """Softmax-pooled logits (B, h, rows, N): one score per patch, (B, N)."""
    flat = logits.flatten(1, 2)
    return (flat.softmax(dim=1) * flat).sum(dim=1)


def gather(tokens: Tensor, index: Tensor) -> Tensor:
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))
