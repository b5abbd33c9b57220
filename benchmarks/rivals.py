"""The rivals of docs/benchmarks.md as plain PyTorch networks with random weights, written from their papers' descriptions.

They exist to be timed: normalised float images (B, 3, 256, 192) in; heat maps or SimCC logits out. That they are the
networks they claim to be shows in their parameters and multiply-accumulates, which a test compares with the published ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEIGHT = 192, 256


def conv(
    cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: type[nn.Module] = nn.SiLU
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
        self.body = nn.Sequential(
            conv(cin, mid, act=nn.ReLU), conv(mid, mid, 3, stride, act=nn.ReLU), conv(mid, cout, act=nn.Identity)
        )
        same = cin == cout and stride == 1
        self.shortcut = nn.Identity() if same else conv(cin, cout, 1, stride, act=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def simple_baseline(joints: int, third: int = 6, second: int = 4) -> nn.Module:
    """SimpleBaseline (ECCV 2018): ResNet-50 (or deeper in its second and third stage) and three transposed convolutions."""
    layers = [conv(3, 64, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    cin = 64
    for mid, count, stride in ((64, 3, 1), (128, second, 2), (256, third, 2), (512, 3, 2)):
        for i in range(count):
            layers.append(Bottleneck(cin, mid, 1 if i else stride))
            cin = 4 * mid
    return nn.Sequential(*layers, deconvolutions(cin, 3, joints))


class BasicBlock(nn.Module):
    """ResNet's two 3x3 with a shortcut."""

    def __init__(self, dim: int):
        super().__init__()
        self.body = nn.Sequential(conv(dim, dim, 3, act=nn.ReLU), conv(dim, dim, 3, act=nn.Identity))

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
        self.paths = nn.ModuleList(
            nn.ModuleList(self.path(widths, source, target) for source in range(len(widths))) for target in range(outputs)
        )

    @staticmethod
    def path(widths: list[int], source: int, target: int) -> nn.Module:
        cin, cout, down = widths[source], widths[target], target - source
        if down == 0:
            return nn.Identity()
        if down < 0:
            return nn.Sequential(conv(cin, cout, act=nn.Identity), nn.Upsample(scale_factor=2**-down))
        halvings = [conv(cin, cin, 3, 2, act=nn.ReLU) for _ in range(down - 1)]
        return nn.Sequential(*halvings, conv(cin, cout, 3, 2, act=nn.Identity))

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        branches = [blocks(x) for blocks, x in zip(self.blocks, branches, strict=True)]
        return [F.relu(sum(path(x) for path, x in zip(paths, branches, strict=True))) for paths in self.paths]


class HRNet(nn.Module):
    """HRNet (CVPR 2019): one to four branches of falling size that exchange what they have, heat maps of the largest."""

    def __init__(self, width: int, joints: int):
        super().__init__()
        w = [width * 2**i for i in range(4)]
        stem = [conv(3, 64, 3, 2, act=nn.ReLU), conv(64, 64, 3, 2, act=nn.ReLU)]
        self.stem = nn.Sequential(*stem, Bottleneck(64, 64), *(Bottleneck(256, 64) for _ in range(3)))
        self.first = conv(256, w[0], 3, act=nn.ReLU)
        entries = (256, w[1], w[2])  # what a new branch is made of: the smallest one so far
        self.enter = nn.ModuleList(conv(cin, w[i + 1], 3, 2, act=nn.ReLU) for i, cin in enumerate(entries))
        self.stages = nn.ModuleList(
            nn.ModuleList(Exchange(w[:n], 1 if (n, i) == (4, 2) else n) for i in range(count))
            for n, count in ((2, 1), (3, 4), (4, 3))
        )
        self.head = nn.Conv2d(w[0], joints, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        branches, smallest = [self.first(x)], x
        for enter, stage in zip(self.enter, self.stages, strict=True):
            branches = [*branches, enter(smallest)]
            for module in stage:
                branches = module(branches)
            smallest = branches[-1]
        return self.head(branches[0])


class Block(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, dim: int, heads: int, ratio: int, bias: bool = True):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=bias), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class ViTPose(nn.Module):
    """ViTPose (NeurIPS 2022): plain vision transformer on patches of 16, two transposed convolutions."""

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


class TokenPose(nn.Module):
    """TokenPose-S-v1 (ICCV 2021): ResNet-like stem, 256 patches of 4x3 and one token per joint through 12 layers."""

    def __init__(self, joints: int):
        super().__init__()
        dim = 192
        stem = [conv(3, 64, 3, 2, act=nn.ReLU), conv(64, 64, 3, 2, act=nn.ReLU)]
        self.stem = nn.Sequential(*stem, Bottleneck(64, 64), *(Bottleneck(256, 64) for _ in range(3)))
        self.embed = nn.Linear(4 * 3 * 256, dim)
        self.position = nn.Parameter(torch.zeros(1, 256, dim))
        self.tokens = nn.Parameter(torch.zeros(1, joints, dim))
        self.layers = nn.Sequential(*(Block(dim, 8, 3, bias=False) for _ in range(12)))
        hidden = 384
        self.head = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.LayerNorm(hidden), nn.Linear(hidden, HEIGHT * WIDTH // 16)
        )

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).unflatten(3, (16, 3)).unflatten(2, (16, 4))  # (B, C, 16, 4, 16, 3)
        x = self.embed(x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)) + self.position
        tokens = self.tokens.expand(len(images), -1, -1)
        x = self.layers(torch.cat([tokens, x], dim=1))[:, : tokens.shape[1]]
        return self.head(x).unflatten(2, (HEIGHT // 4, WIDTH // 4))


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
    """RTMPose (arXiv 2303.07399): CSPNeXt, one wide convolution to a map per joint, gated attention, SimCC."""

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


class Rival(NamedTuple):
    """Published: AP on COCO val2017 (whole AP on COCO-WholeBody for 133 points), GMACs, million parameters if stated."""

    make: Callable[[], nn.Module]
    ap: float
    gmacs: float
    params: float | None = None


BODY = {
    # their paper counts 3.5 GMACs more for each
    "SimpleBaseline-R50": Rival(lambda: simple_baseline(17), 70.4, 8.9, 34.0),
    "SimpleBaseline-R101": Rival(lambda: simple_baseline(17, 23), 71.4, 12.4, 53.0),
    "SimpleBaseline-R152": Rival(lambda: simple_baseline(17, 36, 8), 72.0, 15.7, 68.6),
    "HRNet-W32": Rival(lambda: HRNet(32, 17), 74.4, 7.10, 28.5),
    "HRNet-W48": Rival(lambda: HRNet(48, 17), 75.1, 14.6, 63.6),
    "ViTPose-S": Rival(lambda: ViTPose(384, 17), 73.9, 5.4, 24),
    "ViTPose-B": Rival(lambda: ViTPose(768, 17), 75.7, 17.9, 90),
    "TokenPose-S": Rival(lambda: TokenPose(17), 72.5, 2.4, 6.6),
    "RTMPose-t": Rival(lambda: RTMPose(0.167, 0.375, 17), 68.2, 0.36, 3.34),
    "RTMPose-s": Rival(lambda: RTMPose(0.33, 0.5, 17), 71.6, 0.68, 5.47),
    "RTMPose-m": Rival(lambda: RTMPose(0.67, 0.75, 17), 74.6, 1.93, 13.59),
}
WHOLE_BODY = {
    "RTMPose-m": Rival(lambda: RTMPose(0.67, 0.75, 133), 58.2, 2.22),
    "RTMPose-l": Rival(lambda: RTMPose(1, 1, 133), 61.1, 4.52),
}


def cost(network: nn.Module) -> tuple[float, float]:
    """Million parameters, and GMACs of one image (convolutions and matrix products)."""
    from torch.utils.flop_counter import FlopCounterMode

    network = network.to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, HEIGHT, WIDTH, device="meta"))
    return sum(p.numel() for p in network.parameters()) / 1e6, counter.get_total_flops() / 2e9
