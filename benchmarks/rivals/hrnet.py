"""HRNet (CVPR 2019)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Fusion, conv, stem


class BasicBlock(nn.Module):
    """ResNet's two 3x3 with a shortcut."""

    def __init__(self, dim: int):
        super().__init__()
        self.body = nn.Sequential(conv(dim, dim, 3), conv(dim, dim, 3, act=nn.Identity))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Exchange(nn.Module):
    """HRNet's module: four blocks in each branch, then every output is the sum of all branches at its size.

    Args:
        widths: channels of each branch; the next one has half the size.
        outputs: how many branches go on.
    """

    def __init__(self, widths: list[int], outputs: int):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(*(BasicBlock(width) for _ in range(4))) for width in widths)
        self.fuse = Fusion(widths, outputs, lambda cin, cout, act: conv(cin, cout, 3, 2, act=act))

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        return self.fuse([blocks(x) for blocks, x in zip(self.blocks, branches, strict=True)])


class HighResolution(nn.Module):
    """One to `stages` branches of falling size that exchange what they have; gives the largest, a quarter of the size."""

    def __init__(self, width: int, stages: int = 4):
        super().__init__()
        w = [width * 2**i for i in range(4)]
        self.stem = nn.Sequential(*stem())
        self.first = conv(256, w[0], 3)
        entries = (256, w[1], w[2])[: stages - 1]  # what a new branch is made of: the smallest one so far
        self.enter = nn.ModuleList(conv(cin, w[i + 1], 3, 2) for i, cin in enumerate(entries))
        counts = ((2, 1), (3, 4), (4, 3))[: stages - 1]
        self.stages = nn.ModuleList(
            nn.ModuleList(Exchange(w[:n], 1 if (n, i) == (stages, count - 1) else n) for i in range(count))
            for n, count in counts
        )

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        branches, smallest = [self.first(x)], x
        for enter, stage in zip(self.enter, self.stages, strict=True):
            branches = [*branches, enter(smallest)]
            for module in stage:
                branches = module(branches)
            smallest = branches[-1]
        return branches[0]


def hrnet(width: int, joints: int) -> nn.Module:
    return nn.Sequential(HighResolution(width), nn.Conv2d(width, joints, 1))
