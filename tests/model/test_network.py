"""How the network behaves: independence of samples, half precision, other sizes, other skeletons, and its first weights."""

import math

import pytest
import torch
from torch import nn

from gtpt import Skeleton
from gtpt.model import build, normalize
from gtpt.model.network import sine_table
from gtpt.model.official import from_official_state

SMALL = (96, 128)  # 8 x 8 patches


def images(batch=2, size=(192, 256), seed=0):
    return torch.randn(batch, 3, size[1], size[0], generator=torch.Generator().manual_seed(seed))


def lively(net):
    """Random weights large enough that attention, gates and norms matter."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 1.5 / math.sqrt(fan_in))
    return net.eval()


@pytest.mark.parametrize("skeleton", ["coco17", "coco_wholebody133"])
@torch.inference_mode()
def test_people_of_a_batch_do_not_touch_each_other(skeleton):
    net = lively(build("gtpt-t", skeleton))
    people = images(3)
    x, y = net(people)
    for i in range(3):
        alone = net(people[i : i + 1])
        torch.testing.assert_close(alone[0][0], x[i], rtol=1e-5, atol=2e-5)
        torch.testing.assert_close(alone[1][0], y[i], rtol=1e-5, atol=2e-5)
    assert not torch.allclose(x[0], x[1], atol=1e-2)  # they are different people


@pytest.mark.integration
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.03), (torch.bfloat16, 0.25)])
@torch.inference_mode()
def test_half_precision_has_no_nan_and_stays_close(t_coco, dtype, tolerance):
    """The authors' padding slot made NaN of group 0 in float16 and its patches arbitrary; there is none here.

    Rounding moves patches near the threshold in or out, so some keypoints change more: the median is judged.
    """
    net, crops = from_official_state(t_coco), images(2)
    exact = net(crops)
    rounded = net.to(dtype)(crops.to(dtype), return_kept=True)
    for full, half in zip(exact, rounded[:2], strict=True):
        assert torch.isfinite(half).all()
        error = (half.float() - full).abs().amax(-1)  # (B, K)
        assert error[:, :5].median() < tolerance and error.median() < tolerance
    assert all(ids.unique().numel() > 1 for stage in rounded.kept.values() for ids in stage)


def test_wrong_images_are_refused():
    net = build("gtpt-t", input_size=SMALL)
    for wrong in (images(1), images(1, SMALL)[0], images(1, SMALL)[:, :1], images(1, (128, 96))):
        with pytest.raises(ValueError, match=r"must be \(B, 3, 128, 96\).*input_size"):
            net(wrong)


@pytest.mark.parametrize("rates", [[], 0.5, "all", (1, 1)])
def test_other_keep_rates_are_refused(rates):
    net = build("gtpt-t", input_size=(48, 64), keep_rates=(1,) * 4)
    with pytest.raises(ValueError, match="keep_rates must be four numbers"):
        net(torch.zeros(1, 3, 64, 48), keep_rates=rates)


def test_bytes_are_refused():
    with pytest.raises(ValueError, match=r"floating point and normalised, got torch.uint8; see gtpt.model.normalize"):
        build("gtpt-t", input_size=(48, 64), keep_rates=(1,) * 4)(torch.zeros(1, 3, 64, 48, dtype=torch.uint8))


def test_keep_rates_can_be_chosen_per_call():
    net = lively(build("gtpt-t", input_size=SMALL))
    crops = images(1, SMALL)
    with torch.inference_mode():
        kept = net(crops, (1.0, 0.5, 0.25, 0.125), return_kept=True).kept
    assert {stage: [ids.shape[1] for ids in groups] for stage, groups in kept.items()} == {
        "coarse3": [32],
        "entry": [16] * 3,
        "group3": [8] * 3,
    }
    with torch.inference_mode():
        assert net(crops, "entire", return_kept=True).kept == {}
    with pytest.raises(ValueError, match="entire"):
        net(crops, "full")
    with pytest.raises(ValueError, match=r"keeps 0 of 64 patches.*0\.016 or more"):
        net(crops, (1.0, 0.5, 0.1, 0.01))


def test_survivors_were_alive_before():
    """Ids follow the patches through every prune: a group's survivors are among those that entered it."""
    net = lively(build("gtpt-t", "coco_wholebody133"))
    with torch.inference_mode():
        kept = net(images(2), return_kept=True).kept
    for person in range(2):
        alive = set(kept["coarse3"][0][person].tolist())
        for entry, late in zip(kept["entry"], kept["group3"], strict=True):
            entered = set(entry[person].tolist())
            assert set(late[person].tolist()) < entered < alive


@pytest.mark.parametrize("skeleton", ["coco17", "coco_wholebody133"])
def test_larger_crops(skeleton):
    net = build("gtpt-t", skeleton, input_size=(288, 384)).eval()
    with torch.inference_mode():
        x, y = net(images(1, (288, 384)))
    assert net.config.grid == (24, 24)
    assert x.shape == (1, len(net.skeleton), 576) and y.shape == (1, len(net.skeleton), 768)


@pytest.mark.parametrize("depths", [(4, 2), (8, 4)])
def test_other_depths(depths):
    """The shallowest network that can be, and a deeper one."""
    net = build("gtpt-t", "coco_wholebody133", coarse_layers=depths[0], group_layers=depths[1]).eval()
    with torch.inference_mode():
        out = net(images(1), return_kept=True)
    assert out.x.shape == (1, 133, 384) and {"entry", f"coarse{depths[0] // 2}"} <= set(out.kept)


def test_normalize_is_the_official_one():
    crops = torch.randint(0, 256, (2, 8, 6, 3), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = ((crops / 255 - mean) / std).permute(0, 3, 1, 2)
    torch.testing.assert_close(normalize(crops), expected)


def hand() -> Skeleton:
    """One group, five coarse fingertips and two parts with fine keypoints."""
    return Skeleton.from_dict(
        {
            "name": "hand9",
            "keypoints": ["wrist", "thumb", "index", "ring", "a1", "a2", "b1", "b2", "b3"],
            "groups": {
                "all": {
                    "keypoints": ["ring", "wrist", "thumb", "index"],
                    "parts": {"a": ["a2", "a1"], "b": ["b1", "b2", "b3"]},
                }
            },
        }
    )


def five_groups() -> Skeleton:
    """Groups of one to three keypoints in an order that is not that of the output."""
    return Skeleton.from_dict(
        {
            "name": "bug9",
            "keypoints": [f"p{i}" for i in range(9)],
            "flip_pairs": [["p1", "p2"]],
            "groups": {
                "c": {"keypoints": ["p8"]},
                "a": {"keypoints": ["p0", "p5", "p3"]},
                "e": {"keypoints": ["p1"], "parts": {"tail": ["p7", "p6"]}},
                "b": {"keypoints": ["p2"]},
                "d": {"keypoints": ["p4"]},
            },
        }
    )


@pytest.mark.parametrize("skeleton", [hand(), five_groups()], ids=lambda s: s.name)
def test_custom_skeletons_learn(skeleton):
    """Every keypoint's output depends on its own token, and a few steps make the logits follow the targets."""
    torch.manual_seed(0)
    net = build("gtpt-t", skeleton, input_size=(48, 64), keep_rates=(1, 0.8, 0.6, 0.5))
    crops = images(4, (48, 64))
    wanted = torch.randint(0, 96, (4, 9)), torch.randint(0, 128, (4, 9))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(15):
        logits = net(crops)
        loss = sum(nn.functional.cross_entropy(z.flatten(0, 1), t.flatten()) for z, t in zip(logits, wanted, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.requires_grad)
    assert losses[-1] < 0.7 * losses[0]


def test_output_order_is_that_of_the_skeleton():
    """Moving one keypoint's token moves that keypoint's output most, whatever the order of the groups."""
    net = lively(build("gtpt-t", five_groups(), input_size=(48, 64), keep_rates=(1, 1, 1, 1)))
    crops = images(1, (48, 64))
    coarse = [i for g in net.config.groups for i in g.keypoints]
    fine = [i for g in net.config.groups for i in g.fine]
    nudge = 5 * torch.randn(net.config.dim)
    with torch.inference_mode():
        before = net(crops)[0]
        for token, order in ((net.keypoint_token, coarse), (net.fine_keypoint_token, fine)):
            for row, keypoint in enumerate(order):
                token[0, row] += nudge
                change = (net(crops)[0] - before).abs().sum(-1)[0]
                token[0, row] -= nudge
                assert change.argmax() == keypoint


def test_first_weights_are_drawn_as_the_official_code_does():
    torch.manual_seed(0)
    net = build("gtpt-s", "coco_wholebody133")
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            assert abs(module.weight.std().item() / 0.001 - 1) < 0.2 and abs(module.weight.mean()) < 2e-4
            assert module.bias.abs().max() <= 1 / math.sqrt(fan_in)
            assert module.bias.std() > 0.4 / math.sqrt(fan_in)  # uniform, not zero
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            assert module.weight.abs().max() <= bound
            assert abs(module.weight.std().item() / (bound / math.sqrt(3)) - 1) < 0.05
        elif isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
            assert (module.weight == 1).all() and (module.bias == 0).all() and module.eps == 1e-5
    for token in (net.keypoint_token, net.part_token, net.fine_keypoint_token):
        assert abs(token.std().item() / 0.02 - 1) < 0.1
    assert torch.equal(net.pos_embedding, sine_table((16, 16), 192)) and "pos_embedding" not in dict(net.named_parameters())


def test_position_table_says_row_then_column():
    table = sine_table((5, 3), 16)[0].view(5, 3, 16)
    assert torch.equal(table[1, :, :8], table[1, :1, :8].expand(3, 8))  # the first half knows the row only
    assert torch.equal(table[:, 2, 8:], table[:1, 2, 8:].expand(5, 8))
    angle = 2 / (5 + 1e-6) * 2 * math.pi
    expected = [math.sin(angle), math.cos(angle), math.sin(angle / 10), math.cos(angle / 10)]
    torch.testing.assert_close(table[1, 0, :4], torch.tensor(expected))
