"""Weights of a trained network rewritten for deployment: the same function from fewer and larger operations.

As in RepVGG, what is linear at inference becomes one layer: each BatchNorm goes into the convolution beside it. The stem
neither shuffles nor splits channels: each convolution writes them where they are read. One convolution embeds the patches,
so that no feature map is rearranged.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gtpt.core.errors import InputError
from gtpt.model.network import GTPT
from gtpt.model.stem import PlainStem


@torch.no_grad()
def reparameterize(model: GTPT) -> GTPT:
    """A copy of a network for deployment, on the CPU in float32; its logits agree to about 1e-5.

    Stem, patch norm and patch embedding are others, so it has no norms to train with, and `save` refuses it.

    Args:
        model: stays as it is, and training it further does not reach the copy.

    Raises:
        InputError: not a GTPT, or one that was reparameterized before.
    """
    if not isinstance(model, GTPT):
        raise InputError(f"only a gtpt.model.GTPT can be reparameterized, got {type(model).__name__}")
    if isinstance(model.stem, Stem):
        raise InputError("this network was reparameterized before: take the one that it was made of")
    fast = copy.deepcopy(model).cpu().float()
    fast.stem = stem = Stem(fast.stem)
    fast.patch_embed = PatchConvolution(fast, stem.order)  # type: ignore[assignment]
    fast.patch_norm = nn.Identity()  # type: ignore[assignment]
    return fast.eval().requires_grad_(False)


class PatchConvolution(nn.Conv2d):
    """`patch_norm` and `patch_embed` as one convolution over whole patches, for a feature map with channels in `order`."""

    def __init__(self, model: GTPT, order: Sequence[int]):
        patch, embed = model.config.patch, model.patch_embed
        super().__init__(len(order), model.config.dim, patch, patch)
        gain, shift = gain_and_shift(model.patch_norm)
        weight = embed.weight.unflatten(1, (*patch, -1)).double()  # (D, rows, columns, C)
        self.weight.copy_((weight * gain).permute(0, 3, 1, 2)[:, list(order)])
        self.bias.copy_(embed.bias + (weight * shift).sum(dim=(1, 2, 3)))  # type: ignore[union-attr]

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features).flatten(2).transpose(1, 2)  # (B, N, D)


class Stem(nn.Module):
    """A stem without norms and shuffles; `order` tells which of the original channels each output channel is."""

    def __init__(self, stem: Any):  # PlainStem or PyramidStem
        super().__init__()
        plain = isinstance(stem, PlainStem)
        self.conv = fold(*stem.conv[:2])
        order: Sequence[int] = range(self.conv.out_channels)
        self.down, self.upsample, self.fuse = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        skips = []
        for stage in [stem.stage] if plain else stem.down:
            self.down.append(shrinking := Stage(stage, order))
            order = shrinking.chain.order
            skips.append(order)
        for skip, upsample, fuse in () if plain else zip(skips[-2::-1], stem.upsample, stem.fuse, strict=True):
            enter, *units = fuse
            inputs = [*skip, *range(len(skip), 2 * len(skip))]
            self.upsample.append(channels(fold_upsample(upsample), inputs=order))
            self.fuse.append(chain := Chain([channels(fold(*enter[:2]), inputs=inputs)], units))
            order = chain.order
        self.order = order

    def forward(self, images: Tensor) -> Tensor:
        maps = [F.relu(self.conv(images))]
        for stage in self.down:
            maps.append(stage(maps[-1]))
        x = maps.pop()
        for upsample, fuse in zip(self.upsample, self.fuse, strict=True):
            x = fuse(torch.cat([maps.pop(), F.pixel_shuffle(F.relu(upsample(x)), 2)], dim=1))
        return x


class Stage(nn.Module):
    """A unit of stride 2 and the units of stride 1 after it, for an input with channels in `order`."""

    def __init__(self, stage: Any, order: Sequence[int]):
        super().__init__()
        first, *units = stage
        (shrink, made), (enter, depthwise, leave) = first.shortcut, first.branch
        self.shrink = channels(fold(*shrink), outputs=order)  # depthwise: outputs are inputs
        self.enter = channels(fold(*enter[:2]), inputs=order)
        self.depthwise = fold(*depthwise)
        self.chain = Chain([channels(fold(*made[:2]), inputs=order), fold(*leave[:2])], units)

    def forward(self, x: Tensor) -> Tensor:
        return self.chain(self.shrink(x), self.depthwise(F.relu(self.enter(x))))


class Chain(nn.Module):
    """ShuffleNetV2 units of stride 1 without shuffles and splits.

    Shuffles and splits only decide who reads a channel, and each is read once: by one later unit or by what follows the
    chain. So the 1x1 convolutions that make channels are cut by reader, and readers concatenate what was made for them.

    Args:
        makers: 1x1 convolutions, ReLU after them, whose outputs enter the first unit: one, or two that are interleaved.
        units: the others.

    Attributes:
        order: original channel of each output channel.
    """

    makers: Any  # ModuleList of ModuleDict: reader -> convolution

    def __init__(self, makers: list[nn.Conv2d], units: Sequence[Any]):
        super().__init__()
        self.entries = len(makers)
        makers = [*makers, *(fold(*unit.branch[2][:2]) for unit in units)]
        made = [[(maker, channel) for channel in range(conv.out_channels)] for maker, conv in enumerate(makers)]
        flow = interleave(*made[:2]) if self.entries == 2 else made[0]
        reads = []
        for new in made[self.entries :]:
            passed, read = flow[: len(flow) // 2], flow[len(flow) // 2 :]
            reads.append(read)
            flow = interleave(passed, new)
        reads.append(flow)
        orders = [sorted(range(len(read)), key=lambda i: read[i][0]) for read in reads]  # one block per maker; stable
        self.makers = nn.ModuleList(
            nn.ModuleDict(
                {
                    str(reader): channels(conv, outputs=[c for m, c in read if m == maker])
                    for reader, read in enumerate(reads)
                    if any(m == maker for m, _ in read)
                }
            )
            for maker, conv in enumerate(makers)
        )
        self.enter = nn.ModuleList(
            channels(fold(*unit.branch[0][:2]), inputs=order) for unit, order in zip(units, orders, strict=False)
        )
        self.depthwise = nn.ModuleList(fold(*unit.branch[1]) for unit in units)
        self.order = orders[-1]

    def forward(self, *entries: Tensor) -> Tensor:
        blocks: list[list[Tensor]] = [[] for _ in range(len(self.enter) + 1)]  # per reader
        for maker, parts in enumerate(self.makers):
            if (unit := maker - self.entries) < 0:
                x = entries[maker]
            else:
                x = self.depthwise[unit](F.relu(self.enter[unit](torch.cat(blocks[unit], dim=1))))
            for reader, conv in parts.items():
                blocks[int(reader)].append(F.relu(conv(x)))
        return torch.cat(blocks[-1], dim=1)


def interleave(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    return [x for pair in zip(first, second, strict=True) for x in pair]


def gain_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Gain and shift per channel of a BatchNorm in evaluation, float64."""
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return gain, norm.bias.double() - norm.running_mean.double() * gain


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution and the BatchNorm after it as one convolution."""
    folded = copy.deepcopy(conv)
    gain, shift = gain_and_shift(norm)
    folded.weight.copy_(conv.weight * gain[:, None, None, None])
    folded.bias.copy_(conv.bias * gain + shift)  # type: ignore[union-attr, operator]
    return folded


def fold_upsample(upsample: Any) -> nn.Conv2d:
    """`fold` across a pixel shuffle: BatchNorm treats the four outputs alike that become one channel."""
    conv, shuffle, norm, _ = upsample
    wide = copy.deepcopy(norm)
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(wide, name).data = getattr(norm, name).repeat_interleave(shuffle.upscale_factor**2)
    return fold(conv, wide)


def channels(conv: nn.Conv2d, *, outputs: Sequence[int] | None = None, inputs: Sequence[int] | None = None) -> nn.Conv2d:
    """A convolution with these of its output channels, for an input with channels in this order."""
    picked = copy.deepcopy(conv)
    if outputs is not None:
        picked.weight, picked.bias = (nn.Parameter(t[list(outputs)]) for t in picked.parameters())
        picked.out_channels = len(outputs)
    if inputs is not None:
        picked.weight = nn.Parameter(picked.weight[:, list(inputs)])
    return picked
