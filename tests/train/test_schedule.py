"""Learning rate and averaging, as functions of the step."""

import copy

import numpy as np
import pytest
import torch
from lightning import LightningModule

from gtpt.data.dataset import EpochBatches
from gtpt.model import build
from gtpt.train.config import TrainConfig
from gtpt.train.module import PoseTraining, averaging_momentum, learning_rate, update_ema


@pytest.mark.integration
def test_official_learning_rates(golden):
    ops = np.load(golden / "ops.npz")
    config = TrainConfig()
    mine = [learning_rate(config, epoch * 7 + 3, 7) for epoch in range(300)]
    np.testing.assert_allclose(mine, ops["lr_per_epoch"], rtol=1e-9)
    # The authors' resumed runs drop one epoch early; a function of the step cannot.
    theirs_resumed = ops["lr_per_epoch_resumed_at_100"]
    assert (mine[100:] != theirs_resumed).any()
    np.testing.assert_allclose(mine[101:], theirs_resumed[:-1], rtol=1e-9)


def test_warmup_and_cosine():
    config = TrainConfig(schedule="cosine", warmup_steps=10, epochs=4, lr=0.1)
    rates = [learning_rate(config, step, 25) for step in range(100)]
    np.testing.assert_allclose(rates[:3], [0.01, 0.02, 0.03], rtol=1e-2)
    assert np.argmax(rates) == 9 and rates[50] == pytest.approx(0.05) and rates[-1] == pytest.approx(0.001)
    assert (np.diff(rates[9:]) <= 0).all()
    plain = TrainConfig(milestones=(), lr=0.1)
    assert {learning_rate(plain, step, 5) for step in range(50)} == {0.1}


def test_momentum_of_the_average():
    official, own = TrainConfig(epochs=2), TrainConfig(ema=0.9)
    assert [averaging_momentum(official, step, 5) for step in (0, 5, 10)] == pytest.approx([0.996, 0.998, 1])
    assert [averaging_momentum(own, step, 5) for step in (0, 8, 1000)] == pytest.approx([0.1, 0.5, 0.9])


def test_each_step_moves_the_average(monkeypatch):
    module = PoseTraining(build("gtpt-t", input_size=(48, 64)), TrainConfig(ema=0.9), None)
    module.batches = EpochBatches(20, 4)
    bias, average = module.net.head_x[1].bias.data, module.ema.head_x[1].bias.data
    before = average.clone()
    monkeypatch.setattr(PoseTraining, "global_step", 8)
    monkeypatch.setattr(LightningModule, "optimizer_step", lambda _self: bias.add_(1))
    module.optimizer_step()
    torch.testing.assert_close(average, before + 0.5)


def test_average_of_everything_that_is_a_number():
    net = build("gtpt-t", input_size=(48, 64))
    ema = copy.deepcopy(net)
    with torch.no_grad():
        for p in net.parameters():
            p += 1
    net.train()(torch.randn(2, 3, 64, 48))  # moves BatchNorm statistics and counters
    before = {k: v.clone() for k, v in ema.state_dict().items()}
    update_ema(ema, net, 0.9)
    after, live = ema.state_dict(), net.state_dict()
    for key, value in after.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.9 * before[key] + 0.1 * live[key], rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(value, live[key])
    assert any("running_var" in k and not torch.equal(after[k], before[k]) for k in after)
    assert torch.equal(after["pos_embedding"], before["pos_embedding"])  # a constant stays one, to the last bit
