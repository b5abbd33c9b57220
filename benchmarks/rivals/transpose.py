"""TransPose (ICCV 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .hrnet import HighResolution
from .layers import HEIGHT, WIDTH, deconvolutions
from .resnet import resnet


class Layer(nn.Module):
    """Post-norm transformer layer; queries and keys know their place, values do not."""

    def __init__(self, dim: int, hidden: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.proj = (nn.Linear(dim, dim) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        placed = x + position
        q, k, v = (y.unflatten(2, (self.heads, -1)).transpose(1, 2) for y in (self.q(placed), self.k(placed), self.v(x)))
        x = self.norm1(x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.mlp(x))


class TransPose(nn.Module):
    """Every cell of a convolutional network's features is a token of four layers."""

    def __init__(self, features: nn.Module, dim: int, hidden: int, heads: int, cell: int, head: nn.Module):
        super().__init__()
        self.features, self.head = features, head
        self.grid = HEIGHT // cell, WIDTH // cell
        # sines of the place, which nobody learns but their paper counts among the parameters
        self.position = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], dim), requires_grad=False)
        self.layers = nn.ModuleList(Layer(dim, hidden, heads) for _ in range(4))

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, self.position)
        return self.head(x.transpose(1, 2).unflatten(2, self.grid))


def transpose_r(joints: int) -> nn.Module:
    """R-A4: half of a ResNet-50, to an eighth of the size, and one transposed convolution back to a quarter."""
    features = nn.Sequential(resnet(50, stages=2), nn.Conv2d(512, 256, 1, bias=False))
    return TransPose(features, 256, 1024, heads=8, cell=8, head=deconvolutions(256, 1, joints))


def transpose_h(joints: int) -> nn.Module:
    """H-S: three stages of HRNet-W32, at a quarter of the size."""
    features = nn.Sequential(HighResolution(32, stages=3), nn.Conv2d(32, 64, 1, bias=False))
    return TransPose(features, 64, 128, heads=1, cell=4, head=nn.Conv2d(64, joints, 1))
