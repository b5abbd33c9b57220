"""TokenPose (ICCV 2021) and what grew out of it: PPT (ECCV 2022), which drops tokens, and DistilPose (CVPR 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .hrnet import HighResolution
from .layers import HEIGHT, WIDTH, Block, stem

DIM, LAYERS = 192, 12
CELLS = HEIGHT // 4, WIDTH // 4
PATCHES = 16, 16  # of 4x3 cells each


class TokenPose(nn.Module):
    """Features at a quarter of the size, 256 patches of them and one token per joint through 12 layers.

    Args:
        features: image to (B, channels, 64, 48).
        head: what becomes of the joints' tokens (B, joints, 192).
        pruning: layers (from 0) that drop 30 % of the patches.
    """

    def __init__(self, features: nn.Module, channels: int, joints: int, head: nn.Module, pruning: tuple[int, ...] = ()):
        super().__init__()
        self.features = features
        self.embed = nn.Linear(channels * CELLS[0] * CELLS[1] // (PATCHES[0] * PATCHES[1]), DIM)
        self.register_buffer("position", torch.zeros(1, PATCHES[0] * PATCHES[1], DIM))  # sines of the place
        self.tokens = nn.Parameter(torch.zeros(1, joints, DIM))
        self.layers = nn.Sequential(*(PruningBlock(joints) if i in pruning else block() for i in range(LAYERS)))
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images).unflatten(3, (PATCHES[1], -1)).unflatten(2, (PATCHES[0], -1))  # (B, C, 16, 4, 16, 3)
        x = self.embed(x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)) + self.position
        tokens = self.tokens.expand(len(images), -1, -1)
        return self.head(self.layers(torch.cat([tokens, x], dim=1))[:, : tokens.shape[1]])


def block() -> Block:
    return Block(DIM, heads=8, ratio=3, bias=False)


class PruningBlock(Block):
    """PPT: the patches that the joints attend to most stay, between attention and MLP."""

    def __init__(self, joints: int, keep: float = 0.7):
        super().__init__(DIM, heads=8, ratio=3, bias=False)
        self.joints, self.keep = joints, keep

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.queries_keys_values(x).unbind(0)
        attention = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).softmax(dim=3)  # (B, H, N, N)
        x = x + self.proj((attention @ v).transpose(1, 2).flatten(2))
        scores = attention[:, :, : self.joints, self.joints :].sum(dim=(1, 2))
        kept = scores.topk(int(self.keep * scores.shape[1])).indices[:, :, None].expand(-1, -1, DIM)
        x = torch.cat([x[:, : self.joints], x[:, self.joints :].gather(1, kept)], dim=1)
        return x + self.mlp(self.norm2(x))


def backbone(width: int | None) -> tuple[nn.Module, int]:
    """HRNet's stem, or its first three stages of that width; and the channels."""
    return (HighResolution(width, stages=3), width) if width else (nn.Sequential(*stem()), 256)


def token_pose(width: int | None, joints: int, pruning: tuple[int, ...] = ()) -> nn.Module:
    """A heat map of 64x48 from each joint's token."""
    hidden = 2 * DIM
    head = [nn.LayerNorm(DIM), nn.Linear(DIM, hidden), nn.LayerNorm(hidden), nn.Linear(hidden, CELLS[0] * CELLS[1])]
    return TokenPose(*backbone(width), joints, nn.Sequential(*head, nn.Unflatten(2, CELLS)), pruning)


def ppt(width: int | None, joints: int) -> nn.Module:
    return token_pose(width, joints, pruning=(3, 6, 9))


def distil_pose(width: int | None, joints: int) -> nn.Module:
    """As it infers: x, y and a score from each joint's token. What it learns from, the simulated heat maps, is gone."""
    return TokenPose(*backbone(width), joints, nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, 3)))
