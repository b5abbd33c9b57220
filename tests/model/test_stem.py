"""The stem's own operators against PyTorch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from gtpt.model.stem import DepthwiseConv2d, ShuffleUnit, interleave


def gradients(layer: nn.Module, x: Tensor, weight: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Output, and gradients of input and parameters of its product with `weight`."""
    x = x.clone().requires_grad_()
    out = layer(x)
    return out, list(torch.autograd.grad((out * weight).sum(), [x, *layer.parameters()]))


def plain(layer: DepthwiseConv2d) -> nn.Conv2d:
    channels = layer.in_channels
    conv = nn.Conv2d(channels, channels, 3, layer.stride, 1, groups=channels, dtype=layer.weight.dtype)
    conv.load_state_dict(layer.state_dict())
    return conv


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 6), (7, 5), (1, 2)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_depthwise_convolution_has_the_gradients_of_the_plain_one(stride, size, memory_format):
    torch.manual_seed(0)
    layer = DepthwiseConv2d(5, stride).double()
    x = torch.randn(3, 5, *size, dtype=torch.float64).contiguous(memory_format=memory_format)
    weight = torch.randn_like(plain(layer)(x))
    (ours, our_grads), (theirs, their_grads) = (gradients(each, x, weight) for each in (layer, plain(layer)))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(our_grads, their_grads)


def test_depthwise_convolution_without_a_gradient_of_its_input():
    layer = DepthwiseConv2d(4, 2)
    layer(torch.randn(2, 4, 6, 6)).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.abs().sum() > 0


def test_depthwise_convolution_in_bfloat16_is_the_exact_one_rounded():
    torch.manual_seed(0)
    layer = DepthwiseConv2d(8, 2)
    x, weight = torch.randn(4, 8, 12, 10), torch.randn(4, 8, 6, 5)
    exact, exact_grads = gradients(plain(layer), x, weight)
    with torch.autocast("cpu", torch.bfloat16):
        out, grads = gradients(layer, x, weight)
    assert out.dtype == torch.bfloat16
    for ours, theirs in zip([out.float(), *grads], [exact, *exact_grads], strict=True):
        assert (ours - theirs).norm() < 0.01 * theirs.norm()  # rounding is 2^-9 per value


def test_a_copy_of_a_layer_in_evaluation_is_the_plain_convolution():
    layer = copy.deepcopy(DepthwiseConv2d(4, 2)).eval()
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(layer(x), plain(layer)(x), rtol=0, atol=0)


@pytest.mark.parametrize("formats", [(torch.contiguous_format, torch.channels_last), (torch.channels_last,) * 2])
def test_channel_shuffle_interleaves_halves(formats):
    halves = torch.arange(48.0, dtype=torch.float64).view(2, 1, 4, 2, 3)
    ours = [h.contiguous(memory_format=f).requires_grad_() for h, f in zip(halves, formats, strict=True)]
    out = interleave(*ours)
    assert out[0, :, 0, 0].tolist() == [0, 24, 6, 30, 12, 36, 18, 42]
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.autograd.gradcheck(interleave, ours)


@pytest.mark.parametrize("stride", [1, 2])
def test_maps_and_gradients_stay_channels_last(stride):
    unit = ShuffleUnit(8, 8, stride)
    x = torch.randn(2, 8, 6, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = unit(x)
    y.sum().backward()
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert x.grad.is_contiguous(memory_format=torch.channels_last)
