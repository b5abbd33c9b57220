"""ViTPose (NeurIPS 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .layers import HEIGHT, WIDTH, Block, deconvolutions


class ViTPose(nn.Module):
    """Plain vision transformer on patches of 16, two transposed convolutions.

    ViTPose+ splits the last quarter of each second MLP layer by data set; with one data set it is the same network.
    """

    def __init__(self, dim: int, joints: int):
        super().__init__()
        self.grid = HEIGHT // 16, WIDTH // 16
        self.patches = nn.Conv2d(3, dim, 16, 16, 2)
        self.position = nn.Parameter(torch.zeros(1, math.prod(self.grid), dim))
        self.layers = nn.Sequential(*(Block(dim, 12, 4) for _ in range(12)), nn.LayerNorm(dim))
        self.head = deconvolutions(dim, 2, joints)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2) + self.position
        return self.head(self.layers(x).transpose(1, 2).unflatten(2, self.grid))
