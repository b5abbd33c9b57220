"""SimpleBaseline (ECCV 2018) and DeepPose (CVPR 2014, with a ResNet)."""

from __future__ import annotations

from torch import nn

from .layers import Bottleneck, conv, deconvolutions

STAGES = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet(depth: int, stages: int = 4) -> nn.Sequential:
    """The first stages of a ResNet; 256 channels at a quarter of the size after the first, then twice and half."""
    layers = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    cin = 64
    for stage, count in enumerate(STAGES[depth][:stages]):
        mid = 64 * 2**stage
        for i in range(count):
            layers.append(Bottleneck(cin, mid, 2 if stage and i == 0 else 1))
            cin = 4 * mid
    return nn.Sequential(*layers)


def simple_baseline(depth: int, joints: int) -> nn.Module:
    """ResNet and three transposed convolutions."""
    return nn.Sequential(resnet(depth), deconvolutions(2048, 3, joints))


def deep_pose(depth: int, joints: int) -> nn.Module:
    """ResNet, its mean, and the coordinates of every joint from it."""
    return nn.Sequential(resnet(depth), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 2 * joints))
