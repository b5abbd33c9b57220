"""GTPT as the paper describes it, step by step in eager PyTorch: the named reference of every ratio in docs/benchmarks.md.

Nothing is skipped, folded or put in a better order: attention of all tokens in every layer and only then a prune, gates of
all patches, all tokens through the last layer, and groups of keypoint slots in one tensor, where smaller groups begin with
padding slots that a mask keeps out of attention. It borrows the weights of a `gtpt.model.GTPT` and gives the same logits,
for any skeleton: the tests hold the network to it.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor, nn

from gtpt.model import GTPT, normalize


class PaperForm(nn.Module):
    """(B, H, W, 3) uint8 or (B, 3, H, W) normalised float crops to x and y logits.

    Args:
        net: whose modules it calls, so it follows them when they are trained.
    """

    def __init__(self, net: GTPT):
        super().__init__()
        self.net, self.config = net, net.config
        groups = net.config.groups
        sizes, patches = [len(g.keypoints) for g in groups], net.config.num_patches
        self.slots = slots = max(sizes)
        self.padding = [slots - size for size in sizes]
        self.starts = list(accumulate(sizes, initial=net.config.num_parts))  # among the side tokens
        mask = torch.zeros(1, len(groups), 1, patches + slots, patches + len(groups) * slots, dtype=torch.bool)
        for g, padding in enumerate(self.padding):
            mask[:, g, :, :padding] = True  # padding slots ask nobody
            mask[..., g * slots : g * slots + padding] = True  # and answer nobody
        self.register_buffer("mask", mask)
        made = [i for g in groups for i in g.keypoints] + [i for g in groups for i in g.fine]
        self.register_buffer("order", torch.tensor(made).argsort())

    def forward(self, crops: Tensor, keep_rates: tuple[float, ...] | None = None) -> tuple[Tensor, Tensor]:
        images = normalize(crops) if crops.dtype == torch.uint8 else crops
        return self.encode(self.net.embed(images), keep_rates)

    def encode(self, tokens: Tensor, keep_rates: tuple[float, ...] | str | None = None) -> tuple[Tensor, Tensor]:
        """Visual tokens (B, N, D) to logits, with the config's keep rates or all of them 1 ("entire")."""
        counts = self.config.keep_counts(self.config.choose_keep_rates(keep_rates))
        side, image, pos, logits = self.coarse(tokens, counts)
        return self.heads(self.group_layers(*self.split(side, image, pos, logits, counts[2]), counts))

    def coarse(self, image: Tensor, counts: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        net, batch, middle = self.net, len(image), self.config.coarse_layers // 2
        x = torch.cat([net.human_token.expand(batch, -1, -1), image], dim=1)
        pos = net.pos_embedding.expand(batch, -1, -1)
        side = 1
        for depth, layer in enumerate(net.coarse_encoder):
            if depth > 0:
                x = torch.cat([x[:, :side], x[:, side:] + pos], dim=1)
            q, k, v = heads(layer.attn.qkv(layer.attn_norm(x)), layer.attn.heads)
            logits = (q @ k.transpose(-1, -2)) * layer.attn.scale  # (B, h, T, T)
            x = x + layer.attn.proj(merge(logits.softmax(dim=-1) @ v))
            if (keep := counts[depth // middle]) != x.shape[1] - side:
                best = pool(logits[:, :, :side, side:]).topk(keep, dim=1).indices
                pos = gather(pos, best)
                x = torch.cat([x[:, :side], gather(x[:, side:], best)], dim=1)
            if depth == middle:
                tokens = [net.keypoint_token] if net.part_token is None else [net.part_token, net.keypoint_token]
                x = torch.cat([x[:, :1] + torch.cat(tokens, dim=1), x[:, 1:]], dim=1)
                side = x.shape[1] - pos.shape[1]
            x = x + layer.mlp(layer.mlp_norm(x))
        return x[:, :side], x[:, side:], pos, logits[:, :, :side, side:]

    def split(self, side: Tensor, image: Tensor, pos: Tensor, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Group tokens and their positions, both (B, G, T, D)."""
        net, groups = self.net, self.config.groups
        gates = net.group_gate(image).chunk(len(groups), dim=-1)
        tokens, positions, part, fine = [], [], 0, 0
        for g, group in enumerate(groups):
            joints = range(*self.starts[g : g + 2])
            slots = side[:, [joints[0]] * self.padding[g] + list(joints)]
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
        return torch.stack(tokens, dim=1), torch.stack(positions, dim=1)

    def group_layers(self, x: Tensor, pos: Tensor, counts: tuple[int, ...]) -> Tensor:
        slots, groups, middle = self.slots, x.shape[1], self.config.group_layers // 2
        for depth, layer in enumerate(self.net.group_encoder):
            x = x + pos
            q, k, v = heads(layer.attn.qkv(layer.attn_norm(x)), layer.attn.heads)  # (B, G, h, T, d)
            keys, values = (
                torch.cat(
                    [
                        t[..., :slots, :].transpose(1, 2).flatten(2, 3)[:, None].expand(-1, groups, -1, -1, -1),
                        t[..., slots:, :],
                    ],
                    dim=3,
                )
                for t in (k, v)
            )  # the slots of all groups, then the group's own other tokens
            logits = (q @ keys.transpose(-1, -2)) * layer.attn.scale
            mask = self.mask[..., : logits.shape[-2], : logits.shape[-1]]
            logits = logits.masked_fill(mask, -torch.finfo(logits.dtype).max)
            x = x + layer.attn.proj(merge(logits.softmax(dim=-1) @ values))
            if (keep := counts[2 + depth // middle]) != x.shape[2] - slots:
                x, pos = self.prune(x, pos, logits, keep)
            x = x + layer.mlp(layer.mlp_norm(x))
        return x

    def prune(self, x: Tensor, pos: Tensor, logits: Tensor, keep: int) -> tuple[Tensor, Tensor]:
        tokens, positions = [], []
        for g, group in enumerate(self.config.groups):
            fine, padding = len(group.fine), self.padding[g]
            start = self.slots + fine
            asking = logits[:, g, :, :start, logits.shape[-1] - (x.shape[2] - start) :]
            asking = torch.cat([torch.full_like(asking[:, :, :padding], -1e5), asking[:, :, padding:]], dim=2)
            best = pool(asking).topk(keep - fine, dim=1).indices
            tokens.append(torch.cat([x[:, g, :start], gather(x[:, g, start:], best)], dim=1))
            positions.append(torch.cat([pos[:, g, :start], gather(pos[:, g, start:], best)], dim=1))
        return torch.stack(tokens, dim=1), torch.stack(positions, dim=1)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sparse = [x[:, g, padding : self.slots] for g, padding in enumerate(self.padding)]
        dense = [x[:, g, self.slots : self.slots + len(group.fine)] for g, group in enumerate(self.config.groups)]
        keypoints = torch.cat([*sparse, *dense], dim=1)[:, self.order]
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
