"""The reference of the speed ratios and the network compute the same: neither shares the other's order of steps."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from gtpt import Skeleton  # noqa: E402
from gtpt.model import build  # noqa: E402

PaperForm = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "paper_form.py"))["PaperForm"]
SMALL = {"input_size": (96, 128)}  # 8 x 8 patches
CREATURE = Skeleton.from_dict(
    {  # groups of one and three coarse keypoints in an order that is not the output's, fine keypoints of two parts in one
        "name": "creature",
        "keypoints": ["tail", "ear", "nose", "l1", "l2", "r1", "r2", "r3", "foot"],
        "groups": {
            "head": {"keypoints": ["nose", "tail", "ear"]},
            "paws": {"keypoints": ["foot"], "parts": {"right": ["r3", "r1", "r2"], "left": ["l1", "l2"]}},
        },
    }
)


@pytest.mark.parametrize(
    ("skeleton", "changes", "keep_rates"),
    [
        ("coco17", {}, None),
        ("coco17", SMALL, "entire"),
        ("coco17", {**SMALL, "keep_rates": (0.9, 0.5, 0.2, 0.2)}, None),
        ("coco17", {**SMALL, "coarse_layers": 4, "group_layers": 2}, None),
        ("coco_wholebody133", {}, None),
        ("coco_wholebody133", {"coarse_layers": 4, "group_layers": 2}, "entire"),
        (CREATURE, {**SMALL, "keep_rates": (1, 0.7, 0.4, 0.2)}, None),
        (CREATURE, {**SMALL, "keep_rates": (1, 0.4, 0.4, 0.2)}, None),  # one group enters with all patches, the other not
    ],
)
@torch.inference_mode()
def test_equal_to_the_network(skeleton, changes, keep_rates):
    torch.manual_seed(0)
    net = build("gtpt-t", skeleton=skeleton, **changes).eval()
    for parameter in net.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1 if parameter.dim() == 2 else 0.5)  # the official start: all alike
    tokens = torch.randn(2, net.config.num_patches, net.config.dim)
    expected, ours = PaperForm(net).encode(tokens, keep_rates), net.encode(tokens, keep_rates)
    for a, b in zip(expected, (ours.x, ours.y), strict=True):
        assert a.std() > 0.1 and (a[:, 0] - a[:, 1]).std() > 0.1  # keypoints are told apart
        torch.testing.assert_close(b, a, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "skeleton", "gmac"),
    [
        ("gtpt-t", "coco17", "0.756"),
        ("gtpt-s", "coco17", "1.759"),
        ("gtpt-b", "coco17", "3.745"),
        ("gtpt-t", "coco_wholebody133", "0.970"),
        ("gtpt-s", "coco_wholebody133", "2.197"),
        ("gtpt-b", "coco_wholebody133", "4.183"),
    ],
)
def test_as_many_multiplications_as_the_authors_networks(name, skeleton, gmac):
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        paper = PaperForm(build(name, skeleton=skeleton).eval())
        with FlopCounterMode(display=False) as counter:
            paper(torch.empty(1, 3, 256, 192))
    assert f"{counter.get_total_flops() / 2e9:.3f}" == gmac
