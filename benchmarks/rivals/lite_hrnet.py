"""Lite-HRNet (CVPR 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Fusion, conv

WIDTHS = [40, 80, 160, 320]  # channels of the branches, from a quarter of the size down


def separable(cin: int, cout: int, stride: int = 1, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """3x3 of each channel, then 1x1."""
    return nn.Sequential(conv(cin, cin, 3, stride, groups=cin, act=nn.Identity), conv(cin, cout, act=act))


def fusion(widths: list[int]) -> Fusion:
    """HRNet's, of separable convolutions."""
    return Fusion(widths, len(widths), lambda cin, cout, act: separable(cin, cout, 2, act))


def shuffled(*halves: Tensor) -> Tensor:
    """Both halves' channels in turns."""
    return torch.stack(halves, dim=2).flatten(1, 2)


class Stem(nn.Module):
    """To a quarter of the size: 3x3, then ShuffleNetV2's block of stride 2, both with 32 channels."""

    def __init__(self):
        super().__init__()
        self.first = conv(3, 32, 3, 2)
        self.short = separable(32, 16, 2)
        self.long = nn.Sequential(conv(32, 16), separable(16, 16, 2))

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(images)
        return shuffled(self.short(x), self.long(x))


class Excitation(nn.Module):
    """A weight for each channel from the means of all."""

    def __init__(self, dim: int):
        super().__init__()
        self.weights = nn.Sequential(nn.Conv2d(dim, dim // 4, 1), nn.ReLU(), nn.Conv2d(dim // 4, dim, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weights(x.mean(dim=(2, 3), keepdim=True))


class Weighting(nn.Module):
    """Conditional channel weighting: half of each branch's channels: weighted by all branches, filtered, weighted again."""

    def __init__(self, widths: list[int]):
        super().__init__()
        self.halves = [width // 2 for width in widths]
        total = sum(self.halves)
        self.across = nn.Sequential(conv(total, total // 8), conv(total // 8, total, act=nn.Sigmoid))
        self.filters = nn.ModuleList(
            nn.Sequential(conv(half, half, 3, groups=half, act=nn.Identity), Excitation(half)) for half in self.halves
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        resting, worked = zip(*(x.chunk(2, dim=1) for x in branches), strict=True)
        scales = [2 ** (len(branches) - 1 - i) for i in range(len(branches))]  # of each branch to the smallest
        pooled = torch.cat([F.avg_pool2d(x, scale) for x, scale in zip(worked, scales, strict=True)], dim=1)
        weights = self.across(pooled).split(self.halves, dim=1)
        worked = [x * F.interpolate(w, scale_factor=scale) for x, w, scale in zip(worked, weights, scales, strict=True)]
        return [shuffled(a, f(b)) for a, b, f in zip(resting, worked, self.filters, strict=True)]


class Head(nn.Module):
    """From the smallest branch up: 3x3 and 1x1 to the next one's channels, added to it; a map per joint of the largest.

    Their table of the architecture ends before it, but both networks' published counts need it.
    """

    def __init__(self, joints: int):
        super().__init__()
        self.steps = nn.ModuleList(separable(cin, cout) for cin, cout in zip(WIDTHS, [WIDTHS[0], *WIDTHS], strict=False))
        self.maps = nn.Conv2d(WIDTHS[0], joints, 1)

    def forward(self, branches: list[Tensor]) -> Tensor:
        x = self.steps[-1](branches[-1])
        for branch, step in zip(branches[-2::-1], self.steps[-2::-1], strict=False):
            x = step(branch + F.interpolate(x, scale_factor=2))
        return self.maps(x)


class LiteHRNet(nn.Module):
    """Two to four branches; each module is two weightings and a fusion.

    Args:
        modules: of the stages with two, three and four branches.
    """

    def __init__(self, modules: tuple[int, int, int], joints: int):
        super().__init__()
        self.stem, self.first = Stem(), separable(32, WIDTHS[0])
        entries = zip([32, *WIDTHS[1:]], WIDTHS[1:], strict=False)  # a new branch is made of the smallest one so far
        self.enter = nn.ModuleList(separable(cin, cout, 2) for cin, cout in entries)
        self.stages = nn.ModuleList(
            nn.Sequential(*(layer for _ in range(count) for layer in (Weighting(w), Weighting(w), fusion(w))))
            for count, w in zip(modules, (WIDTHS[:2], WIDTHS[:3], WIDTHS), strict=True)
        )
        self.head = Head(joints)

    def forward(self, images: Tensor) -> Tensor:
        smallest = self.stem(images)
        branches = [self.first(smallest)]
        for enter, stage in zip(self.enter, self.stages, strict=True):
            branches = stage([*branches, enter(smallest)])
            smallest = branches[-1]
        return self.head(branches)
