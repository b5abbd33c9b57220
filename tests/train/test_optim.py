"""Optimizers: the AdamW half is AdamW, the Muon half makes orthogonal steps, and both survive a checkpoint."""

import copy

import pytest
import torch
from torch import nn

from gtpt.model import build
from gtpt.train.optim import EPS, MuonAdamW, make_optimizer, orthogonalize


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3), (7,), (2, 3, 3, 3))]


def steps(params, optimizer, count=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator) * 1e-6  # as small as this loss's gradients
        optimizer.step()


def test_adamw_half_is_adamw():
    mine, theirs = parameters(), parameters()
    steps(mine, MuonAdamW([], mine, lr=1e-2, weight_decay=0.1))
    steps(theirs, torch.optim.AdamW(theirs, lr=1e-2, weight_decay=0.1, eps=EPS))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(6, 32, 96), (3, 96, 32), (1, 64, 64)])
def test_orthogonalize(shape):
    """Singular values come near 1, their directions stay."""
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-5
    result = orthogonalize(matrices, 5)
    values = torch.linalg.svdvals(result)
    rank = min(shape[1:])
    assert values.max() < 1.25 and (values > 0.6).float().mean() > 0.98 and values.shape[1] == rank
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    alignment = torch.einsum("nir,nij,nrj->nr", u, result, vh)  # diagonal of u^T result v
    torch.testing.assert_close(alignment.sort().values, values.sort().values, rtol=1e-3, atol=1e-3)


def test_muon_step_has_the_size_of_an_adam_step():
    matrix = nn.Parameter(torch.zeros(128, 384))
    optimizer = MuonAdamW([matrix], [], lr=0.01)
    matrix.grad = torch.randn(128, 384) * 1e-7
    optimizer.step()
    assert matrix.square().mean().sqrt().item() == pytest.approx(0.01 * 0.2, rel=0.25)
    assert (matrix * -matrix.grad).sum() > 0  # downhill


def test_muon_goes_on_with_its_momentum():
    matrix, grads = nn.Parameter(torch.zeros(6, 4)), torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    optimizer = MuonAdamW([matrix], [], lr=0.01, momentum=0.9)
    average, expected = torch.zeros(6, 4), torch.zeros(6, 4)
    for matrix.grad in grads:
        optimizer.step()
        average = 0.9 * average + 0.1 * matrix.grad
        expected -= 0.01 * 0.2 * 6**0.5 * orthogonalize((0.9 * average + 0.1 * matrix.grad)[None], 5)[0]
    torch.testing.assert_close(matrix.data, expected, rtol=1e-4, atol=1e-6)


def test_weight_decay_is_decoupled():
    matrix, vector = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4))
    optimizer = MuonAdamW([matrix], [vector], lr=0.1, weight_decay=0.5)
    matrix.grad, vector.grad = torch.zeros(4, 4), torch.zeros(4)
    optimizer.step()
    assert torch.allclose(matrix, torch.full((4, 4), 0.95)) and torch.allclose(vector, torch.full((4,), 0.95))


def test_resuming_is_exact():
    whole, split = parameters(), parameters()
    steps(whole, MuonAdamW(whole[:1], whole[1:], lr=0.01), 6)
    optimizer = MuonAdamW(split[:1], split[1:], lr=0.01)
    generator = torch.Generator().manual_seed(1)
    for step in range(6):
        if step == 3:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = MuonAdamW(split[:1], split[1:], lr=0.01)
            optimizer.load_state_dict(state)
        for p in split:
            p.grad = torch.randn(p.shape, generator=generator) * 1e-6
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(whole, split, strict=True))


def test_without_gradients_nothing_happens():
    params = parameters()
    MuonAdamW(params[:1], params[1:], lr=0.1).step()
    assert all(torch.equal(a, b) for a, b in zip(params, parameters(), strict=True))


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_every_parameter_is_trained_once(name):
    net = build("gtpt-t", "coco_wholebody133")
    optimizer = make_optimizer(list(net.named_parameters()), name, 2e-3, 0.05)
    owned = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in net.parameters())
    defaults = optimizer.defaults
    assert (defaults["lr"], defaults["weight_decay"]) == (2e-3, 0.05)
    if name != "muon":
        assert (defaults["betas"], defaults["eps"]) == ((0.9, 0.999), 1e-8 if name == "adam" else EPS)  # adam: as published
    else:
        matrices = {id(p) for group in optimizer.param_groups if group["muon"] for p in group["params"]}
        names = {n for n, p in net.named_parameters() if id(p) in matrices}
        assert "coarse_encoder.0.attn.qkv.weight" in names and "patch_embed.weight" in names
        assert not any("head" in n or "token" in n or "stem" in n or "norm" in n for n in names)
