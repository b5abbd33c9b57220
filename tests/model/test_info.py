"""Costs of the official networks; test_paper_form.py counts the multiplications of the authors' order of steps."""

import json

import pytest

from gtpt.model.info import describe, info_json, info_table

COUNTED = [  # parameters in millions, and GMAC: a few percent less than what the authors' code makes
    ("gtpt-t", "coco17", "2.4056", "0.727"),
    ("gtpt-s", "coco17", "5.4790", "1.702"),
    ("gtpt-b", "coco17", "8.3679", "3.687"),
    ("gtpt-t", "coco_wholebody133", "2.4211", "0.941"),
    ("gtpt-s", "coco_wholebody133", "5.5022", "2.139"),
    ("gtpt-b", "coco_wholebody133", "8.3911", "4.124"),
]


@pytest.mark.parametrize(("name", "skeleton", "parameters", "gmac"), COUNTED)
def test_figures_of_the_official_networks(name, skeleton, parameters, gmac):
    info = describe(name, skeleton)
    assert f"{info.parameters / 1e6:.4f}" == parameters and f"{info.macs / 1e9:.3f}" == gmac


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
