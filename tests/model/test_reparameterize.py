"""A reparameterized network computes what the network computes, and exported files end in what `simcc` decodes."""

import json
import math

import numpy as np
import pytest
import torch

from gtpt.export.deployed import Deployed
from gtpt.model import build, load, normalize, save
from gtpt.model.official import from_official_state
from gtpt.model.reparameterize import Chain, reparameterize

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
        got = reparameterize(net)(normalize(pixels), return_kept=True)
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
    out = reparameterize(from_official_state(official_state(variant)))(images, return_kept=True)
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
        ("gtpt-s", "coco17", {"input_size": (72, 96), "patch": (2, 3), "simcc_split": 384 / 72}),
    ],
)
def test_same_numbers(name, skeleton, changes):
    net = lively(name, skeleton, **changes)
    assert_equal(net, crops(net))


def test_borders_are_padded_with_the_mean_colour():
    """Zero padding of a normalised image: a crop of one colour far from the mean shows it at the border."""
    net = lively(input_size=(96, 128))
    assert_equal(net, torch.full((1, 128, 96, 3), 255, dtype=torch.uint8))


@pytest.mark.parametrize("opset", [20, 23])
@torch.inference_mode()
def test_what_is_exported(opset):
    """From bytes or normalised pixels to logits or keypoints, in both forms of attention."""
    from gtpt.core import simcc

    net = lively(input_size=(96, 128))
    pixels = crops(net)
    expected = [v.numpy() for v in net(normalize(pixels))]
    for got in (Deployed(net, opset)(pixels), Deployed(net, opset, uint8_input=False)(normalize(pixels))):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)
    points, scores = Deployed(net, opset, decode=True)(pixels)
    keypoints = simcc.decode(*expected)
    np.testing.assert_array_equal(points, keypoints[0])
    np.testing.assert_allclose(scores, keypoints[1], rtol=1e-4)


def test_the_network_stays_as_it_is():
    net = lively(input_size=(96, 128))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    fast = reparameterize(net)
    pixels = normalize(crops(net))
    with torch.no_grad():
        logits = fast(pixels)[0]
        net.head_x[1].bias += 1
        assert torch.equal(fast(pixels)[0], logits)
        net.head_x[1].bias.copy_(before["head_x.1.bias"])
    assert net.training is False and all(torch.allclose(before[k], v) for k, v in net.state_dict().items())


@pytest.mark.parametrize("skeleton", ["coco17", "coco_wholebody133"])
@torch.inference_mode()
def test_everything_is_made_on_the_device_of_the_network(skeleton):
    """As on a GPU, on a device without values, which refuses tensors of the CPU."""
    net = lively(skeleton=skeleton)
    out = reparameterize(net).to("meta")(normalize(crops(net).to("meta")), return_kept=True)
    assert out.x.device.type == "meta" and out.x.shape[:2] == (2, len(net.skeleton))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="Linear"):
        reparameterize(torch.nn.Linear(2, 2))
    fast = reparameterize(build("gtpt-t", input_size=(96, 128)))
    with pytest.raises(ValueError, match="reparameterized before"):
        reparameterize(fast)
    with pytest.raises(ValueError, match=r"images must be \(B, 3, 128, 96\)"):
        fast(torch.zeros(1, 3, 96, 128))


def test_checkpoints_keep_the_norms_that_training_needs(tmp_path):
    """What is saved trains as what was trained did; a reparameterized network has lost its norms and is not saved."""
    net, path = lively(input_size=(96, 128)), tmp_path / "net.safetensors"
    with pytest.raises(ValueError, match=r"reparameterized.*save the network that it was made of"):
        save(reparameterize(net), path)
    assert not path.exists()
    save(net, path)
    images = normalize(crops(net, 8))
    with torch.no_grad():
        again = load(path).train()(images)
        for a, b in zip(again, net.train()(images), strict=True):
            assert torch.equal(a, b)


def test_chains_have_no_shuffle_and_no_waste():
    """As many multiplications as the original stem: cutting convolutions by reader duplicates none."""
    net = lively("gtpt-b")

    def weights(module):
        return sum(m.weight.numel() for m in module.modules() if isinstance(m, torch.nn.Conv2d))

    assert weights(reparameterize(net).stem) == weights(net.stem)
    chain = Chain([torch.nn.Conv2d(4, 8, 1)], list(net.stem.fuse[0])[1:1])
    assert chain.order == list(range(8))
