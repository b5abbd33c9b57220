"""The reference of the speed ratios computes what the network computes."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

PaperForm = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "paper_form.py"))["PaperForm"]


@pytest.mark.parametrize("skeleton", ["coco17", "coco_wholebody133"])
@pytest.mark.parametrize("keep_rates", [None, "entire"])
def test_equal_to_the_network(skeleton: str, keep_rates: str | None) -> None:
    from gtpt.model import build

    torch.manual_seed(0)
    net = build("gtpt-t", skeleton=skeleton).eval()
    for parameter in net.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.05)  # the official start makes all keypoints alike
    images = torch.randn(2, 3, 256, 192)
    with torch.inference_mode():
        expected, ours = net(images, keep_rates), PaperForm(net).encode(net.embed(images), keep_rates)
    for a, b in zip(expected, ours, strict=True):
        assert a.std() > 0.1
        torch.testing.assert_close(b, a, atol=5e-5, rtol=1e-4)
