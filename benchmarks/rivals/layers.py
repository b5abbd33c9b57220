"""What several rivals are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEIGHT = 192, 256


def conv(
    cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: type[nn.Module] = nn.ReLU
) -> nn.Module:
    """Convolution, BatchNorm, activation."""
    layer = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(cout), act())


def deconvolutions(cin: int, count: int, joints: int) -> nn.Sequential:
    """The classic heat-map head: each transposed convolution doubles the size; 256 channels; one map per joint."""
    layers: list[nn.Module] = []
    for i in range(count):
        layers += [
            nn.ConvTranspose2d(256 if i else cin, 256, 4, 2, 1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(256, joints, 1))


class Bottleneck(nn.Module):
    """ResNet's 1x1, 3x3, 1x1 with a shortcut."""

    def __init__(self, cin: int, mid: int, stride: int = 1):
        super().__init__()
        cout = 4 * mid
        self.body = nn.Sequential(conv(cin, mid), conv(mid, mid, 3, stride), conv(mid, cout, act=nn.Identity))
        same = cin == cout and stride == 1
        self.shortcut = nn.Identity() if same else conv(cin, cout, 1, stride, act=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def stem() -> list[nn.Module]:
    """HRNet's first layers: to a quarter of the size and 256 channels."""
    return [conv(3, 64, 3, 2), conv(64, 64, 3, 2), Bottleneck(64, 64), *(Bottleneck(256, 64) for _ in range(3))]


class Fusion(nn.Module):
    """HRNet's exchange: every branch becomes the sum of all at its size.

    Args:
        widths: channels of each branch; the next one has half the size.
        outputs: how many branches go on.
        halve: makes a layer of (channels in, channels out, activation) that halves the size.
    """

    def __init__(self, widths: list[int], outputs: int, halve: Callable[[int, int, type[nn.Module]], nn.Module]):
        super().__init__()

        def path(source: int, target: int) -> nn.Module:
            cin, cout, down = widths[source], widths[target], target - source
            if down == 0:
                return nn.Identity()
            if down < 0:
                return nn.Sequential(conv(cin, cout, act=nn.Identity), nn.Upsample(scale_factor=2**-down))
            return nn.Sequential(*(halve(cin, cin, nn.ReLU) for _ in range(down - 1)), halve(cin, cout, nn.Identity))

        sources = range(len(widths))
        self.paths = nn.ModuleList(nn.ModuleList(path(s, target) for s in sources) for target in range(outputs))

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        return [F.relu(sum(path(x) for path, x in zip(paths, branches, strict=True))) for paths in self.paths]


class Block(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, dim: int, heads: int, ratio: int, bias: bool = True):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=bias), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))

    def queries_keys_values(self, x: Tensor) -> Tensor:
        return self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, H, N, C / H)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.queries_keys_values(x).unbind(0)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))
