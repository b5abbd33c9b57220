"""The authors' checkpoints: every form they come in, what is wrong with a bad one, and files that their test loads."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from gtpt import Skeleton
from gtpt.model import build, convert, load_official, save, to_official_state
from gtpt.model.official import from_official_state, official_key

pytestmark = pytest.mark.integration


def prefixed(state):
    return {f"module.{key}": value for key, value in state.items()}


@pytest.fixture(scope="module")
def files(t_coco, tmp_path_factory) -> Path:
    """model_best.pth, final_state.pth and checkpoint.pth as the authors' training writes them."""
    folder = tmp_path_factory.mktemp("official")
    torch.save(t_coco, folder / "model_best.pth")
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 210,
        "model": "pose_gtpt_t_human",
        "state_dict": prefixed(t_coco),
        "best_state_dict": t_coco,
        "perf": np.float64(0.711),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(checkpoint, folder / "checkpoint.pth")
    torch.save({**checkpoint, "state_dict": t_coco}, folder / "one_gpu.pth")
    return folder


@pytest.mark.parametrize("branch", ["ema", "live"])
@pytest.mark.parametrize("name", ["model_best.pth", "checkpoint.pth", "one_gpu.pth"])
def test_every_form_gives_every_number(files, t_coco, name, branch):
    net = load_official(files / name, branch)
    assert (net.config.name, net.skeleton.name, net.training) == ("gtpt-t", "coco17", False)
    for key, value in net.state_dict().items():
        assert torch.equal(value, t_coco[official_key(key, branch)]), key


def test_branches_differ(files, t_coco):
    ema, live = (from_official_state(t_coco, branch).state_dict() for branch in ("ema", "live"))
    assert not torch.equal(ema["head_x.1.weight"], live["head_x.1.weight"])
    with pytest.raises(ValueError, match="'ema' or 'live', got 'best'"):
        load_official(files / "model_best.pth", "best")


def test_position_embedding_is_loaded_not_computed(t_coco):
    """The average of a long official training drifts from the sine table."""
    drifted = t_coco["ema_features.pos_embedding"] * 1.0002
    net = from_official_state({**t_coco, "ema_features.pos_embedding": drifted})
    assert torch.equal(net.pos_embedding, drifted)


def test_masks_do_not_matter(t_coco):
    """They are constants of a padding slot that our network does not have; the branch may also be alone."""
    without = {k: v for k, v in t_coco.items() if not k.endswith(".mask")}
    wrong = {k: ~v if k.endswith(".mask") else v for k, v in t_coco.items()}
    alone = {k: v for k, v in t_coco.items() if k.startswith("ema_")}
    expected = from_official_state(t_coco).state_dict()
    for state in (without, wrong, alone):
        loaded = from_official_state(state).state_dict()
        assert all(torch.equal(loaded[k], v) for k, v in expected.items())


@pytest.mark.parametrize("variant", [f"{size}_{data}" for data in ("coco", "wholebody") for size in "tsb"])
def test_written_state_is_the_official_one(variant, golden, golden_rule, official_state):
    """Key for key: names, shapes, dtypes and values, masks and counters included; what their strict loading asks for."""
    state = official_state(variant)
    written = to_official_state(from_official_state(state, "live"), from_official_state(state, "ema"))
    described = {key: (shape, dtype) for key, shape, dtype in json.loads((golden / f"{variant}.keys.json").read_text())}
    assert {k: (list(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in written.items()} == {
        k: (list(shape), dtype) for k, (shape, dtype) in described.items()
    }
    assert all(torch.equal(written[key], value) for key, value in state.items())


def test_written_file_loads_again(files, tmp_path):
    net = build("gtpt-t", input_size=(96, 128))
    torch.save(to_official_state(net), tmp_path / "ours.pth")
    again = load_official(tmp_path / "ours.pth", "live")
    assert again.config == net.config
    assert all(torch.equal(again.state_dict()[k], v) for k, v in net.state_dict().items())


def test_only_official_skeletons_can_be_written():
    net = build("gtpt-t")
    net.skeleton = None
    with pytest.raises(ValueError, match=r"coco17.*not None"):
        to_official_state(net)


def test_another_skeleton_is_not_converted(tmp_path):
    """An error about the skeleton, not about the disk."""
    bird = Skeleton.from_dict({"name": "bird", "keypoints": ["beak", "tail"]})
    save(build("gtpt-t", bird, input_size=(48, 64)), tmp_path / "bird.safetensors")
    with pytest.raises(ValueError, match=r"knows the skeletons \('coco17', 'coco_wholebody133'\), not 'bird': keep it"):
        convert(tmp_path / "bird.safetensors", tmp_path / "bird.pth")
    assert not (tmp_path / "bird.pth").exists()


def test_another_configuration_is_not_converted(tmp_path):
    """Their code would read it with its own bins and keep rates: silently another network."""
    save(build("gtpt-t", simcc_split=3.0), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"no gtpt-t with simcc_split=.* \(official 2.0\): keep it as \*.safetensors"):
        convert(tmp_path / "other.safetensors", tmp_path / "other.pth")
    rates = build("gtpt-t", keep_rates=(1, 1, 0.5, 0.2))
    with pytest.raises(
        ValueError, match=r"no gtpt-t with keep_rates=\(1, 1, 0.5, 0.2\) \(official \(1.0, 0.7, 0.3, 0.1\)\)"
    ):
        to_official_state(rates)


def test_what_does_not_fit_is_listed_with_the_nearest_variant(t_coco):
    bad = dict(t_coco)
    del bad["ema_features.human_token"]
    bad["ema_features.stem.conv1.0.weight"] = torch.zeros(64, 1, 3, 3)
    bad["ema_features.stem.extra.weight"] = bad["backbone.weight"] = torch.zeros(1)
    with pytest.raises(ValueError) as error:
        from_official_state(bad, source="mine.pth")
    assert str(error.value).splitlines() == [
        "mine.pth is no official GTPT checkpoint; nearest variant gtpt-t coco17, but:",
        "  unexpected backbone.weight",
        "  missing ema_features.human_token",
        "  unexpected ema_features.stem.extra.weight",
        "  ema_features.stem.conv1.0.weight has shape (64, 1, 3, 3), expected (64, 3, 3, 3)",
    ]


def test_another_network_gives_a_short_list():
    with pytest.raises(ValueError, match=r"nearest variant(.|\n)*and \d+ more"):
        from_official_state({f"layer{i}.weight": torch.zeros(3) for i in range(100)})


def test_truncated_and_foreign_files(files, tmp_path):
    whole = (files / "model_best.pth").read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 10):
        (tmp_path / "cut.pth").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.pth is not a complete PyTorch checkpoint"):
            load_official(tmp_path / "cut.pth")
    (tmp_path / "photo.pth").write_bytes(b"\xff\xd8\xff\xe0 not a checkpoint at all")
    with pytest.raises(ValueError, match=r"photo\.pth"):
        load_official(tmp_path / "photo.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        load_official(tmp_path / "list.pth")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        load_official(tmp_path / "nowhere.pth")


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_file_is_refused_and_does_not_run(tmp_path, t_coco):
    mark = tmp_path / "was_run"
    torch.save({"state_dict": t_coco, "perf": Malicious(mark)}, tmp_path / "new.pth")
    torch.save({"perf": Malicious(mark)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Malicious(mark)))
    for name in ("new.pth", "old.pth", "bare.pth"):
        with pytest.raises(ValueError, match=r"was not loaded|not a complete PyTorch checkpoint"):
            load_official(tmp_path / name)
    assert not mark.exists()
    torch.load(tmp_path / "new.pth", weights_only=False)  # it would have
    assert mark.exists()
