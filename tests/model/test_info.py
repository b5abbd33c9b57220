"""Costs, against the counts that the authors' networks were measured with and against what really runs."""

import json

import pytest
import torch
from torch import nn

from gtpt.model import build
from gtpt.model.info import describe, info_json, info_table
from gtpt.model.network import Attention

COUNTED = [  # parameters in millions and true GMAC of the authors' code
    ("gtpt-t", "coco17", "2.4056", "0.756"),
    ("gtpt-s", "coco17", "5.4790", "1.759"),
    ("gtpt-b", "coco17", "8.3679", "3.745"),
    ("gtpt-t", "coco_wholebody133", "2.4211", "0.970"),
    ("gtpt-s", "coco_wholebody133", "5.5022", "2.197"),
    ("gtpt-b", "coco_wholebody133", "8.3911", "4.183"),
]


@pytest.mark.parametrize(("name", "skeleton", "parameters", "gmac"), COUNTED)
def test_figures_of_the_official_networks(name, skeleton, parameters, gmac):
    info = describe(name, skeleton)
    assert f"{info.parameters / 1e6:.4f}" == parameters and f"{info.macs / 1e9:.3f}" == gmac
    assert 0.97 < info.macs_run / info.macs < 1


@pytest.mark.parametrize(
    ("name", "skeleton", "size"),
    [("gtpt-t", "coco17", None), ("gtpt-t", "coco_wholebody133", (288, 384)), ("gtpt-b", "coco17", (96, 128))],
)
def test_macs_run_are_those_of_a_forward_pass(name, skeleton, size, monkeypatch):
    macs = 0

    def count(layer, _inputs, output):
        nonlocal macs
        macs += output.numel() * (layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.in_features)

    def attend(self, q, k, v):
        nonlocal macs
        macs += 2 * q.shape[:3].numel() * k.shape[2] * k.shape[3]
        return real_attend(self, q, k, v)

    def logits(self, q, k):
        nonlocal macs
        macs += q.shape[:3].numel() * k.shape[2] * k.shape[3]
        return real_logits(self, q, k)

    real_attend, real_logits = Attention.attend, Attention.logits
    monkeypatch.setattr(Attention, "attend", attend)
    monkeypatch.setattr(Attention, "logits", logits)
    info = describe(name, skeleton, size)
    with torch.device("meta"):
        net = build(name, skeleton, input_size=info.input_size).eval()
        for layer in net.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.register_forward_hook(count)
        net(torch.empty(1, 3, info.input_size[1], info.input_size[0]))
    assert macs == info.macs_run
    assert sum(p.numel() for p in net.parameters()) + net.pos_embedding.numel() == info.parameters


def test_tokens_per_layer():
    body, whole = describe("gtpt-t"), describe("gtpt-t", "coco_wholebody133")
    assert body.coarse_tokens == (257, 257, 257, 257, 17 + 179, 17 + 179)
    assert body.group_tokens == ((81, 82, 82),) * 4 + ((30, 31, 31),) * 2
    assert whole.coarse_tokens == (257, 257, 257, 257, 22 + 179, 22 + 179)
    assert whole.group_tokens == ((133, 134, 134),) * 4 + ((81, 82, 82),) * 2


def test_published_figures_are_only_of_published_networks():
    assert describe("gtpt-s").published.ap == 73.6 and describe("gtpt-s", input_size=(192, 256)).published.gflops == 1.6
    assert describe("gtpt-s", input_size=(288, 384)).published is None


def test_table_and_json():
    table = info_table().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if line.startswith("| gtpt")]
    assert [(r[0], r[1], r[2], r[3]) for r in rows] == COUNTED
    assert len({len(line) for line in table[:8]}) == 1
    assert [(i["name"], i["skeleton"]) for i in json.loads(info_json())] == [(n, s) for n, s, _, _ in COUNTED]
