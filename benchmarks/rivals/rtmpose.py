"""RTMPose (arXiv 2303.07399)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import HEIGHT, WIDTH
from .layers import conv as any_conv

conv = partial(any_conv, act=nn.SiLU)


class NextBlock(nn.Module):
    """CSPNeXt: 3x3, then a separable 5x5."""

    def __init__(self, dim: int, shortcut: bool):
        super().__init__()
        self.body = nn.Sequential(conv(dim, dim, 3), conv(dim, dim, 5, groups=dim), conv(dim, dim))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class CrossStage(nn.Module):
    """Half of the channels through the blocks, half past them, and channel attention over both."""

    def __init__(self, dim: int, blocks: int, shortcut: bool):
        super().__init__()
        half = dim // 2
        self.past, self.through = (
            conv(dim, half),
            nn.Sequential(conv(dim, half), *(NextBlock(half, shortcut) for _ in range(blocks))),
        )
        self.attention, self.merge = nn.Conv2d(dim, dim, 1), conv(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.through(x), self.past(x)], dim=1)
        return self.merge(x * F.hardsigmoid(self.attention(x.mean(dim=(2, 3), keepdim=True))))


class PoolPyramid(nn.Module):
    """Maxima over 5, 9 and 13 cells beside the features."""

    def __init__(self, dim: int):
        super().__init__()
        self.reduce, self.merge = conv(dim, dim // 2), conv(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        return self.merge(torch.cat([x, *(F.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13))], dim=1))


class ScaleNorm(nn.Module):
    """Divide by the length of the vector; one learnt factor."""

    def __init__(self, dim: int):
        super().__init__()
        self.size, self.gain = dim**-0.5, nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.norm(dim=-1, keepdim=True) * self.size).clamp(min=1e-5) * self.gain


class GatedAttention(nn.Module):
    """Gated attention unit over the keypoints, with squared ReLU instead of a softmax."""

    def __init__(self, dim: int = 256, keys: int = 128):
        super().__init__()
        self.sizes = [2 * dim, 2 * dim, keys]
        self.norm, self.mix, self.out = (
            ScaleNorm(dim),
            nn.Linear(dim, sum(self.sizes), bias=False),
            nn.Linear(2 * dim, dim, bias=False),
        )
        self.gamma, self.beta = nn.Parameter(torch.rand(2, keys)), nn.Parameter(torch.rand(2, keys))
        self.residual = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        gate, value, base = F.silu(self.mix(self.norm(x))).split(self.sizes, dim=2)
        q, k = (base[:, :, None] * self.gamma + self.beta).unbind(2)
        attention = F.relu(q @ k.transpose(1, 2) * self.sizes[2] ** -0.5).square()
        return x * self.residual + self.out(gate * (attention @ value))


class RTMPose(nn.Module):
    """CSPNeXt, one wide convolution to a map per joint, gated attention, SimCC."""

    def __init__(self, deepen: float, widen: float, joints: int):
        super().__init__()
        c = [round(widen * n) for n in (64, 128, 256, 512, 1024)]
        layers = [conv(3, c[0] // 2, 3, 2), conv(c[0] // 2, c[0] // 2, 3), conv(c[0] // 2, c[0], 3)]
        for i, blocks in enumerate((3, 6, 6, 3)):
            layers.append(conv(c[i], c[i + 1], 3, 2))
            if i == 3:
                layers.append(PoolPyramid(c[4]))
            layers.append(CrossStage(c[i + 1], max(1, round(blocks * deepen)), shortcut=i < 3))
        self.backbone = nn.Sequential(*layers)
        self.maps = nn.Conv2d(c[4], joints, 7, padding=3)
        cells = (HEIGHT // 32) * (WIDTH // 32)
        self.mlp = nn.Sequential(ScaleNorm(cells), nn.Linear(cells, 256, bias=False))
        self.attention = GatedAttention()
        self.head_x, self.head_y = (nn.Linear(256, 2 * size, bias=False) for size in (WIDTH, HEIGHT))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.attention(self.mlp(self.maps(self.backbone(images)).flatten(2)))
        return self.head_x(x), self.head_y(x)
