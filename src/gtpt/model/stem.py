"""The convolutional stems: ShuffleNetV2 units from pixels to a feature map of stride 4.

Every convolution has a bias, also those before a BatchNorm (as in the official checkpoints).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise 3x3 convolution of stride 1 or 2 whose training is quick on the CPU too."""

    def __init__(self, channels: int, stride: int):
        super().__init__(channels, channels, 3, stride, 1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == (1, 1) or x.device.type != "cpu" or not (self.training and torch.is_grad_enabled()):
            return super().forward(x)
        # autocast does not look into our own operators
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        assert self.bias is not None
        return _Halving.apply(x.to(dtype), self.weight.to(dtype), self.bias.to(dtype))


class _Halving(torch.autograd.Function):
    """Depthwise 3x3 convolution of stride 2.

    PyTorch has no quick kernel for the gradient of its input on the CPU: it takes more than ten times as long as the one
    for stride 1, which gives the same if zeros stand between the gradients of the output.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, stride=2, padding=1, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (x, weight), (grad,) = ctx.saved_tensors, grads
        grad_x = None
        if ctx.needs_input_grad[0]:
            spread = torch.zeros_like(x)
            spread[..., ::2, ::2] = grad
            grad_x = F.conv2d(spread, weight.flip(2, 3), padding=1, groups=len(weight))
        _, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            grad, x, weight, [len(weight)], [2, 2], [1, 1], [1, 1], False, [0, 0], len(weight), [False, True, True]
        )
        return grad_x, grad_weight, grad_bias


def conv_bn_relu(cin: int, cout: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """(B, cin, H, W) -> (B, cout, H / stride, W / stride).

    The ReLU may overwrite its input, since a BatchNorm learns from its own.
    """
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, stride, kernel // 2), nn.BatchNorm2d(cout), nn.ReLU(inplace=True))


def depthwise_bn(channels: int, stride: int) -> nn.Sequential:
    """(B, channels, H, W) -> (B, channels, H / stride, W / stride); no ReLU, as in ShuffleNetV2."""
    return nn.Sequential(DepthwiseConv2d(channels, stride), nn.BatchNorm2d(channels))


class _Interleave(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *halves: Tensor) -> Tensor:
        batch, channels, height, width = halves[0].shape
        pairs = halves[0].new_empty(batch, height, width, channels, 2)
        for i, half in enumerate(halves):
            pairs[..., i] = half.permute(0, 2, 3, 1)
        return pairs.flatten(3).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        pairs = grads[0].permute(0, 2, 3, 1).unflatten(3, (-1, 2))
        return tuple(half.contiguous().permute(0, 3, 1, 2) for half in pairs.unbind(4))


def interleave(first: Tensor, second: Tensor) -> Tensor:
    """Channel shuffle of two halves (B, C, H, W): channel 2i is channel i of the first, 2i + 1 is channel i of the second.

    It keeps the memory format, channels last, in which everything around it is several times as fast on the CPU, forward
    and backward; PyTorch's concatenation and reshaping would lose it.
    """
    if torch.compiler.is_exporting():  # a graph has no memory formats, and would hold the writing step by step
        return torch.stack([first, second], dim=2).flatten(1, 2)
    return _Interleave.apply(first, second)


class ShuffleUnit(nn.Module):
    """ShuffleNetV2 unit (Ma et al., 2018), (B, cin, H, W) -> (B, cout, H / stride, W / stride).

    Half of the channels pass by (stride 1, where cin is cout), or both halves are made of all of them (stride 2).
    """

    def __init__(self, cin: int, cout: int, stride: int = 1):
        super().__init__()
        half = cout // 2
        self.stride = stride
        if stride == 2:
            self.shortcut = nn.Sequential(depthwise_bn(cin, 2), conv_bn_relu(cin, half))
        self.branch = nn.Sequential(
            conv_bn_relu(cin if stride == 2 else half, half),
            depthwise_bn(half, stride),
            conv_bn_relu(half, half),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            return interleave(self.shortcut(x), self.branch(x))
        passed, convolved = x.chunk(2, dim=1)
        convolved = convolved.contiguous(memory_format=torch.channels_last)  # once for the forward and the backward pass
        return interleave(passed, self.branch(convolved))


def shuffle_stage(cin: int, cout: int) -> nn.Sequential:
    """(B, cin, H, W) -> (B, cout, H / 2, W / 2): one unit of stride 2, three of stride 1."""
    return nn.Sequential(ShuffleUnit(cin, cout, stride=2), *(ShuffleUnit(cout, cout) for _ in range(3)))


class PlainStem(nn.Module):
    """T and S: (B, 3, H, W) -> (B, channels, H/4, W/4)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = conv_bn_relu(3, 64, 3, 2)
        self.stage = shuffle_stage(64, channels)

    def forward(self, images: Tensor) -> Tensor:
        return self.stage(self.conv(images))


class Upsample(nn.Sequential):
    """(B, cin, H, W) -> (B, cout, 2 H, 2 W), by pixel shuffle."""

    def __init__(self, cin: int, cout: int):
        super().__init__(nn.Conv2d(cin, 4 * cout, 1), nn.PixelShuffle(2), nn.BatchNorm2d(cout), nn.ReLU(inplace=True))


class PyramidStem(nn.Module):
    """B: down to stride 16 and up again with skip connections, (B, 3, H, W) -> (B, channels, H/4, W/4)."""

    def __init__(self, channels: int):
        super().__init__()
        c1, c2, c3 = channels, channels * 3 // 2, channels * 2
        self.conv = conv_bn_relu(3, 64, 3, 2)
        self.down = nn.ModuleList([shuffle_stage(64, c1), shuffle_stage(c1, c2), shuffle_stage(c2, c3)])
        self.upsample = nn.ModuleList([Upsample(c3, c2), Upsample(c2, c1)])
        self.fuse = nn.ModuleList(
            nn.Sequential(conv_bn_relu(2 * c, c), ShuffleUnit(c, c), ShuffleUnit(c, c)) for c in (c2, c1)
        )

    def forward(self, images: Tensor) -> Tensor:
        x1 = self.down[0](self.conv(images))  # stride 4
        x2 = self.down[1](x1)  # stride 8
        y = self.down[2](x2)  # stride 16
        for skip, upsample, fuse in zip((x2, x1), self.upsample, self.fuse, strict=True):
            y = fuse(torch.cat([skip, upsample(y)], dim=1))
        return y


STEMS = {"plain": PlainStem, "pyramid": PyramidStem}
