"""The inference form computes what the network computes, for recorded outputs, all skeletons, sizes and keep rates."""

import json
import math

import numpy as np
import pytest
import torch

from gtpt import Skeleton
from gtpt.model import build, inference, normalize
from gtpt.model.inference import Decoded, inference_form
from gtpt.model.official import from_official_state

VARIANTS = [f"{size}_{data}" for data in ("coco", "wholebody") for size in "tsb"]


def lively(name="gtpt-t", skeleton="coco17", **changes):
    """A network with weights and BatchNorm statistics that make every part of it matter."""
    torch.manual_seed(1)  # the same weights in every run: no prune comes down to rounding
    net = build(name, skeleton, **changes)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise * 1.5 / math.sqrt(parameter[0].numel()))
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


def crops(net, batch=2, seed=0):
    width, height = net.config.input_size
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=generator)


def assert_equal(net, pixels, tolerance=1e-4):
    with torch.inference_mode():
        expected = net(normalize(pixels), return_kept=True)
        got = inference_form(net)(pixels, return_kept=True)
    assert set(got.kept) == set(expected.kept)
    for stage, groups in expected.kept.items():
        for a, b in zip(got.kept[stage], groups, strict=True):
            assert torch.equal(a, b), stage
    torch.testing.assert_close(got.x, expected.x, rtol=0, atol=tolerance)
    torch.testing.assert_close(got.y, expected.y, rtol=0, atol=tolerance)


@pytest.mark.integration
@pytest.mark.parametrize("variant", VARIANTS)
@torch.inference_mode()
def test_all_variants_agree_with_the_authors_outputs(variant, golden, golden_rule, official_state):
    recorded = np.load(golden / f"{variant}.npz")
    meta = json.loads(str(recorded["meta"]))
    images = torch.from_numpy(golden_rule.make_input(meta["input_seed"], meta["batch"]))
    out = inference_form(from_official_state(official_state(variant)))(images, return_kept=True)
    step = meta.get("bin_step", 1)
    np.testing.assert_allclose(out.x[..., ::step], recorded["pred_x"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(out.y[..., ::step], recorded["pred_y"], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(out.kept["coarse3"][0], recorded["keep_coarse3"])
    for stage in ("entry", "group3"):
        for group, ids in enumerate(out.kept[stage]):
            name = f"keep_{stage}"
            expected = recorded[name][:, group] if name in recorded else recorded[f"{name}_g{group}"]
            np.testing.assert_array_equal(ids, expected)


@pytest.mark.parametrize(
    ("name", "skeleton", "changes"),
    [
        ("gtpt-t", "coco17", {"input_size": (96, 128)}),
        ("gtpt-b", "coco17", {"input_size": (96, 128)}),
        ("gtpt-t", "coco_wholebody133", {"input_size": (240, 320)}),
        ("gtpt-t", "coco17", {"input_size": (96, 128), "keep_rates": (1, 1, 1, 1)}),
        ("gtpt-t", "coco17", {"input_size": (96, 128), "keep_rates": (0.8, 0.8, 0.8, 0.1)}),
        ("gtpt-t", "coco17", {"input_size": (96, 64), "keep_rates": (0.9, 0.5, 0.2, 0.2), "simcc_split": 3.0}),
        ("gtpt-s", "coco17", {"input_size": (72, 96), "simcc_split": 384 / 72}),
    ],
)
def test_same_numbers(name, skeleton, changes):
    net = lively(name, skeleton, **changes)
    assert_equal(net, crops(net))


def test_uneven_groups_with_parts():
    """Groups of one and three coarse keypoints in an order that is not the output's, fine keypoints of two parts in one."""
    skeleton = Skeleton.from_dict(
        {
            "name": "creature",
            "keypoints": ["tail", "ear", "nose", "l1", "l2", "r1", "r2", "r3", "foot"],
            "groups": {
                "head": {"keypoints": ["nose", "tail", "ear"]},
                "paws": {"keypoints": ["foot"], "parts": {"right": ["r3", "r1", "r2"], "left": ["l1", "l2"]}},
            },
        }
    )
    net = lively("gtpt-t", skeleton, input_size=(96, 128), keep_rates=(1, 0.7, 0.4, 0.2))
    assert_equal(net, crops(net))


def test_borders_are_padded_with_the_mean_colour():
    """Zero padding of a normalised image: a crop of one colour far from the mean shows it at the border."""
    net = lively(input_size=(96, 128))
    assert_equal(net, torch.full((1, 128, 96, 3), 255, dtype=torch.uint8))


@torch.inference_mode()
def test_people_of_a_batch_do_not_touch_each_other():
    net = lively(skeleton="coco_wholebody133")
    form, people = inference_form(net), crops(net, 3)
    together = form(people)
    for i in range(3):
        for alone, one in zip(form(people[i : i + 1]), together, strict=True):
            torch.testing.assert_close(alone[0], one[i], rtol=1e-5, atol=2e-5)
    assert not torch.allclose(together[0][0], together[0][1], atol=1e-2)


@torch.inference_mode()
def test_normalised_input_and_decoding():
    from gtpt.core import simcc

    net = lively(input_size=(96, 128))
    form, pixels = inference_form(net), crops(net)
    logits = form(pixels)
    for a, b in zip(form(normalize(pixels)), logits, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)
    points, scores = Decoded(form)(pixels)
    expected = simcc.decode(logits[0].numpy(), logits[1].numpy())
    np.testing.assert_array_equal(points, expected[0])
    np.testing.assert_allclose(scores, expected[1], rtol=1e-5)


def test_the_network_stays_as_it_is():
    net = lively(input_size=(96, 128))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    form = inference_form(net)
    pixels = crops(net)
    with torch.no_grad():
        logits = form(pixels)[0]
        net.head_x[1].bias += 1
        assert torch.equal(form(pixels)[0], logits)
        net.head_x[1].bias.copy_(before["head_x.1.bias"])
    assert net.training is False and all(torch.allclose(before[k], v) for k, v in net.state_dict().items())


@pytest.mark.parametrize("skeleton", ["coco17", "coco_wholebody133"])
@torch.inference_mode()
def test_everything_is_made_on_the_device_of_the_network(skeleton):
    """As on a GPU, on a device without values, which refuses tensors of the CPU."""
    net = lively(skeleton=skeleton)
    out = inference_form(net).to("meta")(crops(net).to("meta"), return_kept=True)
    assert out.x.device.type == "meta" and out.x.shape[:2] == (2, len(net.skeleton))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="Linear"):
        inference_form(torch.nn.Linear(2, 2))
    form = inference_form(lively(input_size=(96, 128)))
    with pytest.raises(ValueError, match=r"uint8 crops must be \(B, 128, 96, 3\)"):
        form(torch.zeros(1, 96, 128, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"float32 crops must be \(B, 3, 128, 96\)"):
        form(torch.zeros(1, 128, 96, 3))


def test_chains_have_no_shuffle_and_no_waste():
    """As many multiplications as the original stem: cutting convolutions by reader duplicates none."""
    net = lively("gtpt-b")

    def weights(module):
        return sum(m.weight.numel() for m in module.modules() if isinstance(m, torch.nn.Conv2d))

    form = inference_form(net)
    assert weights(form.stem) + weights(form.conv) == weights(net.stem)
    chain = inference.Chain([torch.nn.Conv2d(4, 8, 1)], list(net.stem.fuse[0])[1:1])
    assert chain.order == list(range(8))
