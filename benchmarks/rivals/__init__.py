"""The rivals of docs/benchmarks.md as plain PyTorch networks with random weights, written from their papers' descriptions.

They exist to be timed: normalised float images (B, 3, H, W) in; heat maps, SimCC logits or coordinates out. That they are
the networks they claim to be shows in their parameters and multiply-accumulates, which a test compares with the published
ones, counted as each paper counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .hrnet import hrnet
from .layers import HEIGHT, WIDTH
from .lite_hrnet import LiteHRNet
from .resnet import deep_pose, simple_baseline
from .rtmpose import RTMPose
from .tokenpose import distil_pose, ppt, token_pose
from .transpose import transpose_h, transpose_r
from .vitpose import ViTPose


class Cost(NamedTuple):
    """Million parameters, and GMACs of one image (convolutions and matrix products)."""

    params: float
    gmacs: float
    attention: float  # of them, products of tokens with tokens
    transposed: float  # what counting transposed convolutions at the size of their output would add
    norms: float  # numbers that go through BatchNorm


def without_attention(cost: Cost) -> float:
    return cost.gmacs - cost.attention


def with_norms(cost: Cost) -> float:
    return cost.gmacs + cost.norms


def transposed_at_output(cost: Cost) -> float:
    return cost.gmacs + cost.transposed


def in_binary_units(cost: Cost) -> float:
    """In 2^30 instead of 10^9, and transposed convolutions at the size of their output: SimpleBaseline and HRNet."""
    return transposed_at_output(cost) / 1.024**3


class Rival(NamedTuple):
    """Published: AP on COCO val2017 (whole AP on COCO-WholeBody for 133 points), GMACs, million parameters if stated.

    `counted` turns what `cost` counts into what the publication counted.
    """

    make: Callable[[], nn.Module]
    ap: float
    gmacs: float | None = None
    params: float | None = None
    counted: Callable[[Cost], float] = lambda cost: cost.gmacs
    size: tuple[int, int] = (HEIGHT, WIDTH)


LARGE = 384, 288
BODY = {
    "SimpleBaseline-R50": Rival(lambda: simple_baseline(50, 17), 70.4, 8.9, 34.0, in_binary_units),
    "SimpleBaseline-R101": Rival(lambda: simple_baseline(101, 17), 71.4, 12.4, 53.0, in_binary_units),
    "SimpleBaseline-R152": Rival(lambda: simple_baseline(152, 17), 72.0, 15.7, 68.6, in_binary_units),
    "HRNet-W32": Rival(lambda: hrnet(32, 17), 74.4, 7.10, 28.5, in_binary_units),
    "HRNet-W48": Rival(lambda: hrnet(48, 17), 75.1, 14.6, 63.6, in_binary_units),
    "Lite-HRNet-18": Rival(lambda: LiteHRNet((2, 4, 2), 17), 64.8, 0.2052, 1.1, with_norms),
    "Lite-HRNet-30": Rival(lambda: LiteHRNet((3, 8, 3), 17), 67.2, 0.3192, 1.76, with_norms),
    "ViTPose-S": Rival(lambda: ViTPose(384, 17), 73.9, 5.4, 24, without_attention),
    "ViTPose-B": Rival(lambda: ViTPose(768, 17), 75.7, 17.9, 90, without_attention),
    "TransPose-R-A4": Rival(lambda: transpose_r(17), 72.6, 8.9, 6.0, transposed_at_output),
    "TransPose-H-S": Rival(lambda: transpose_h(17), 74.2, 10.2, 8.0),
    "TokenPose-S": Rival(lambda: token_pose(None, 17), 72.5, 2.4, 6.6, without_attention),
    "TokenPose-B": Rival(lambda: token_pose(32, 17), 74.7, 6.0, 13.5, without_attention),
    "PPT-S": Rival(lambda: ppt(None, 17), 72.2, 2.0, 6.6, without_attention),
    "PPT-B": Rival(lambda: ppt(32, 17), 74.4, 5.6, 13.5, without_attention),
    "DistilPose-S": Rival(lambda: distil_pose(None, 17), 71.6, 2.38, 5.36, without_attention),
    "DistilPose-L": Rival(lambda: distil_pose(48, 17), 74.4, 10.3, 21.3, without_attention),
    "RTMPose-t": Rival(lambda: RTMPose(0.167, 0.375, 17), 68.2, 0.36, 3.34),
    "RTMPose-s": Rival(lambda: RTMPose(0.33, 0.5, 17), 71.6, 0.68, 5.47),
    "RTMPose-m": Rival(lambda: RTMPose(0.67, 0.75, 17), 74.6, 1.93, 13.59),
}
WHOLE_BODY = {
    "DeepPose-R101 288x384": Rival(lambda: deep_pose(101, 133), 33.5, 17.3, size=LARGE),
    "SimpleBaseline-R50": Rival(lambda: simple_baseline(50, 133), 52.1),
    "SimpleBaseline-R50 288x384": Rival(lambda: simple_baseline(50, 133), 57.3, 20.4, None, in_binary_units, LARGE),
    "HRNet-W32": Rival(lambda: hrnet(32, 133), 53.6),
    "HRNet-W32 288x384": Rival(lambda: hrnet(32, 133), 58.6, 16.0, None, in_binary_units, LARGE),
    "HRNet-W48": Rival(lambda: hrnet(48, 133), 57.9),
    "HRNet-W48 288x384": Rival(lambda: hrnet(48, 133), 63.2, size=LARGE),
    "ViTPose+-S": Rival(lambda: ViTPose(384, 133), 54.4, 5.4, None, without_attention),
    "RTMPose-m": Rival(lambda: RTMPose(0.67, 0.75, 133), 58.2, 2.22),
    "RTMPose-l": Rival(lambda: RTMPose(1, 1, 133), 61.1, 4.52),
}


def cost(network: nn.Module, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Cost:
    network = network.to("meta").eval()
    transposed, norms = [], []

    def add(layer: nn.Module, given: tuple[Tensor], made: Tensor) -> None:
        if isinstance(layer, nn.ConvTranspose2d):
            transposed.append(layer.weight.numel() * (made[0, 0].numel() - given[0][0, 0].numel()))
        elif isinstance(layer, nn.BatchNorm2d):
            norms.append(made.numel())

    for layer in network.modules():
        layer.register_forward_hook(add)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, *size, device="meta"))
    counts = counter.get_flop_counts()["Global"]
    attention = sum(count for kind, count in counts.items() if "bmm" in str(kind) or "attention" in str(kind))
    params = sum(p.numel() for p in network.parameters()) / 1e6
    return Cost(params, sum(counts.values()) / 2e9, attention / 2e9, sum(transposed) / 1e9, sum(norms) / 1e9)
