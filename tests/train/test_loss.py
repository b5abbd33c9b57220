"""The loss, against recorded values and gradients of the authors' code, and what must hold for any logits."""

import numpy as np
import pytest
import torch

from gtpt.core.simcc import encode
from gtpt.model import build
from gtpt.train.dense import DenseHeads
from gtpt.train.loss import ema_momentum, global_perceived_loss, pointing_loss, simcc_kl

LENGTHS = {"pred_x": 384, "pred_y": 512, "entire_pred_x": 384, "entire_pred_y": 512}


@pytest.fixture(scope="module")
def ops(golden):
    return np.load(golden / "ops.npz")


def recorded_inputs(joints):
    """Logits, targets and weights by the rule of the golden folder."""
    rng = np.random.default_rng(1000 + joints)
    shape = {name: (4, joints, length) for name, length in LENGTHS.items()}
    logits = {
        n: torch.tensor((2 * rng.standard_normal(s)).astype(np.float32), requires_grad=True) for n, s in shape.items()
    }
    centers = rng.uniform(0, 384, (4, joints)), rng.uniform(0, 512, (4, joints))
    targets = tuple(
        torch.tensor(np.exp(-((np.arange(n) - m[..., None]) ** 2) / 32) / (4 * np.sqrt(2 * np.pi)), dtype=torch.float32)
        for m, n in zip(centers, (384, 512), strict=True)
    )
    return logits, targets, torch.tensor((rng.random((4, joints, 1)) < 0.7)[..., 0], dtype=torch.float32)


@pytest.mark.integration
@pytest.mark.parametrize("joints", [17, 133])
def test_values_and_gradients_are_the_official_ones(ops, joints):
    logits, targets, weight = recorded_inputs(joints)
    np.testing.assert_allclose(targets[0][1, 2], ops[f"loss{joints}_target_x_row"], atol=1e-9)  # the rule was followed
    np.testing.assert_array_equal(weight, ops[f"loss{joints}_weight"])
    pairs = [(logits[f"{which}pred_x"], logits[f"{which}pred_y"]) for which in ("", "entire_")]
    loss = global_perceived_loss(*pairs, targets, weight)
    loss.total.backward()
    for part, name in (("total", "train"), ("pruned", "eval"), ("entire", "entire_only"), ("distill", "distill")):
        assert getattr(loss, part).item() == pytest.approx(float(ops[f"loss{joints}_{name}"]), rel=1e-5)
    for name, value in logits.items():
        expected = ops[f"loss{joints}_grad_{name}_row"]
        np.testing.assert_allclose(value.grad[1, 2], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
        assert value.grad.abs().sum().item() == pytest.approx(float(ops[f"loss{joints}_grad_{name}_abssum"]), rel=1e-5)
    single = global_perceived_loss(pairs[0], None, targets, weight)
    assert single.total.item() == loss.pruned.item() and single.entire == single.distill == 0


@pytest.mark.integration
def test_momentum_of_the_average_is_the_official_one(ops):
    steps = int(ops["ema_niter_per_epoch"])
    mine = [ema_momentum(epoch * steps + step, 300 * steps) for epoch, step in ops["ema_epoch_step"]]
    np.testing.assert_allclose(mine, ops["ema_momentum"], rtol=0, atol=1e-12)
    assert ema_momentum(0, 10) == pytest.approx(0.996) and ema_momentum(10, 10) == 1


def random_case(seed=0, batch=2, joints=3, bins=20):
    generator = torch.Generator().manual_seed(seed)
    logits = [torch.randn(batch, joints, bins, generator=generator, requires_grad=True) for _ in range(4)]
    targets = tuple(torch.rand(batch, joints, bins, generator=generator) for _ in range(2))
    return (logits[0], logits[1]), (logits[2], logits[3]), targets


def test_autocast_leaves_the_loss_in_float32():
    pruned, entire, targets = random_case(bins=512)
    exact = global_perceived_loss(pruned, entire, targets, torch.ones(2, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert global_perceived_loss(pruned, entire, targets, torch.ones(2, 3)) == exact


def test_the_teacher_does_not_learn_from_the_pupil():
    pruned, entire, targets = random_case()
    global_perceived_loss(pruned, entire, targets, torch.ones(2, 3)).distill.backward()
    assert all(z.grad is None for z in entire) and all(z.grad.abs().sum() > 0 for z in pruned)


def test_unlabelled_joints_teach_nothing_but_count_in_the_mean():
    pruned, entire, targets = random_case()
    weight = torch.ones(2, 3)
    weight[1] = weight[0, 0] = 0
    total = global_perceived_loss(pruned, entire, targets, weight).total
    total.backward()
    assert all((z.grad[weight == 0] == 0).all() and (z.grad[weight > 0] != 0).any() for z in (*pruned, *entire))
    person = [tuple(z.detach()[:1] for z in pair) for pair in (pruned, entire, targets)]
    assert total.item() == pytest.approx(global_perceived_loss(*person, weight[:1]).total.item() / 2)  # batch of one works


def test_a_perfect_prediction_costs_nothing_but_the_missing_mass():
    x, _, _ = encode(np.array([[[24.0, 30.0]]]), np.ones((1, 1)), (48, 64))
    target = torch.from_numpy(x)
    logits = torch.log(target.clamp_min(1e-12))
    assert abs(simcc_kl(logits, target).item()) < 1e-6
    assert simcc_kl(logits.roll(9, -1), target).item() > 1e-3


def test_empty_targets_give_no_nan():
    logits = torch.randn(1, 1, 8, requires_grad=True)
    loss = simcc_kl(logits, torch.zeros(1, 1, 8))
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()


def test_the_pointing_loss_pulls_to_the_cell_of_the_joint():
    """Patches 4 x 4 over 48x64: joint at (42, 8) lies in row 0, column 3."""
    logits = torch.zeros(1, 1, 16, requires_grad=True)
    ids = torch.randperm(16)[None]
    arguments = (ids, torch.tensor([[[42.0, 8.0]]]), torch.ones(1, 1), (4, 4), (48, 64))
    pointing_loss(logits, *arguments).backward()
    pulled = logits.grad[0, 0].argmin()
    assert ids[0, pulled] == 3
    better = torch.zeros(1, 1, 16)
    better[..., pulled] = 3
    assert pointing_loss(better, *arguments) < pointing_loss(logits, *arguments)


def test_the_pointing_loss_by_hand():
    """A row of four cells; a joint in the second, one too far from all of them, and one without label, anywhere."""
    joints = torch.tensor([[[6.0, 2], [-2, -2], [float("inf"), 0]]], dtype=torch.float64)  # as data sets give them
    logits, weight = torch.tensor([[[0.0, 1, 0, 0]] * 3]), torch.tensor([[1.0, 1, 0]])
    bell = np.exp([-1.0, 0, -1, -4])
    expected = -(bell / bell.sum()) @ ([0, 1, 0, 0] - np.log(3 + np.e)) / 3
    arguments = (torch.arange(4)[None], joints, weight, (1, 4), (16, 4))
    assert pointing_loss(logits, *arguments).item() == pytest.approx(expected, rel=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert pointing_loss(logits.bfloat16(), *arguments).item() == pytest.approx(expected, rel=1e-6)


def test_dense_heads_know_where_the_cells_of_a_patch_are():
    """With all patches in any order, tokens that copy the features' cells answer as the features do."""
    config = build("gtpt-t", input_size=(48, 64)).config
    (rows, columns), (ph, pw), count = config.grid, config.patch, config.num_keypoints
    heads = DenseHeads(config)
    assert heads.from_tokens.weight.std().item() == pytest.approx(0.01, rel=0.1)
    joints, weight = torch.rand(2, count, 2) * torch.tensor([48.0, 64.0]), torch.ones(2, count)
    maps = torch.randn(2, count, rows * ph, columns * pw)  # what each head should say
    ids = torch.stack([torch.randperm(rows * columns) for _ in range(2)])
    patches = maps.unflatten(3, (columns, pw)).unflatten(2, (rows, ph)).permute(0, 2, 4, 1, 3, 5)
    patches = patches.reshape(2, rows * columns, -1)  # (B, N, K * ph * pw)
    tokens = patches.gather(1, ids[..., None].expand_as(patches))
    heads.from_tokens = torch.nn.Identity()
    heads.from_features = torch.nn.Conv2d(count, count, 1)
    torch.nn.init.dirac_(heads.from_features.weight)
    torch.nn.init.zeros_(heads.from_features.bias)
    both = heads.loss(maps, tokens, ids, joints, weight)
    grid = (rows * ph, columns * pw)
    alone = pointing_loss(maps.flatten(2), torch.arange(grid[0] * grid[1]).expand(2, -1), joints, weight, grid, (48, 64))
    torch.testing.assert_close(both, 1.5 * alone)
