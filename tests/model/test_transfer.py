"""Starting from another network: the curriculum from body to whole body, other sizes, other skeletons."""

import pytest
import torch

from gtpt import Skeleton
from gtpt.model import build, save, to_official_state
from gtpt.model.transfer import start_from


def random(net, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator))
    return net


def test_from_17_to_133_keypoints(tmp_path):
    body, whole = random(build("gtpt-t"), 1), build("gtpt-t", "coco_wholebody133")
    before = {k: v.clone() for k, v in whole.state_dict().items()}
    save(body, tmp_path / "body.safetensors")
    transfer = start_from(whole, tmp_path / "body.safetensors")
    after, source = whole.state_dict(), body.state_dict()
    assert set(transfer.fresh) == {"part_token", "fine_keypoint_token"}
    assert all(torch.equal(after[k], source[k]) for k in transfer.taken)
    assert all(torch.equal(after[k], before[k]) for k in transfer.fresh)
    assert len(transfer.taken) + len(transfer.fresh) == len(after)
    assert "left fresh: part_token, fine_keypoint_token" in str(transfer)


def test_from_the_authors_file(tmp_path):
    body = random(build("gtpt-t"), 2)
    torch.save(to_official_state(random(build("gtpt-t"), 3), body), tmp_path / "model_best.pth")
    whole = build("gtpt-t", "coco_wholebody133")
    start_from(whole, tmp_path / "model_best.pth")
    assert torch.equal(whole.head_x[1].weight, body.head_x[1].weight)  # the averaged branch


def test_from_small_to_large_crops(tmp_path):
    """The curriculum of the bundled weights: 5.33 bins per pixel at 72x96 are 2 at 192x256, so the heads fit."""
    small = random(build("gtpt-t", input_size=(72, 96), simcc_split=16 / 3), 4)
    large = build("gtpt-t")
    table = large.pos_embedding.clone()
    save(small, tmp_path / "small.safetensors")
    transfer = start_from(large, tmp_path / "small.safetensors")
    assert transfer.fresh == ("pos_embedding",) and torch.equal(large.pos_embedding, table)
    assert torch.equal(large.head_y[1].weight, small.head_y[1].weight)


def skeleton(name, points, fine):
    groups = {"g": {"keypoints": points, "parts": {"tips": fine}}}
    return Skeleton.from_dict({"name": name, "keypoints": [*points, *fine], "groups": groups})


def test_tokens_go_by_name_not_by_place(tmp_path):
    old = random(build("gtpt-t", skeleton("old", ["a", "b", "c"], ["x", "y"]), input_size=(48, 64), keep_rates=(1,) * 4), 5)
    new = build("gtpt-t", skeleton("new", ["c", "d", "a"], ["z", "x"]), input_size=(48, 64), keep_rates=(1,) * 4)
    fresh = {k: v.clone() for k, v in new.state_dict().items()}
    save(old, tmp_path / "old.safetensors")
    transfer = start_from(new, tmp_path / "old.safetensors")
    assert {"keypoint_token[c]", "keypoint_token[a]", "fine_keypoint_token[x]", "part_token"} <= set(transfer.taken)
    assert transfer.fresh == ("keypoint_token[d]", "fine_keypoint_token[z]")
    assert torch.equal(new.keypoint_token[0, 0], old.keypoint_token[0, 2])  # c
    assert torch.equal(new.keypoint_token[0, 1], fresh["keypoint_token"][0, 1])  # d is new
    assert torch.equal(new.keypoint_token[0, 2], old.keypoint_token[0, 0])  # a
    assert torch.equal(new.fine_keypoint_token[0, 0], fresh["fine_keypoint_token"][0, 0])  # z is new
    assert torch.equal(new.fine_keypoint_token[0, 1], old.fine_keypoint_token[0, 0])  # x
    assert torch.equal(new.part_token, old.part_token)  # tips


def test_another_width_is_refused_and_nothing_changes(tmp_path):
    save(build("gtpt-t"), tmp_path / "t.safetensors")
    net = build("gtpt-s")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(ValueError, match="is a gtpt-t, which a gtpt-s cannot start from"):
        start_from(net, tmp_path / "t.safetensors")
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_from_a_registered_name():
    transfer = start_from(build("gtpt-t"), "gtpt-t-coco17")
    assert transfer.fresh == ()
    smaller = start_from(build("gtpt-t", input_size=(144, 192), simcc_split=8 / 3), "gtpt-t-coco17")
    assert smaller.fresh == ("pos_embedding",)  # another grid
