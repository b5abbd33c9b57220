"""Our checkpoints: bit for bit, self-describing, and never half-written."""

import json
import os
import stat

import pytest
import torch

from gtpt import Skeleton
from gtpt.core.errors import WeightsError
from gtpt.model import build, convert, load, save
from gtpt.model.checkpoint import read_header, replace_atomically

CUSTOM = Skeleton.from_dict(
    {
        "name": "arm5",
        "keypoints": {"shoulder": 0.08, "elbow": 0.07, "wrist": 0.06, "left_tip": 0.03, "right_tip": 0.03},
        "edges": [["shoulder", "elbow", "wrist"]],
        "groups": {
            "rest": {"keypoints": ["elbow", "shoulder"]},
            "hand": {"keypoints": ["wrist"], "parts": {"tips": ["right_tip", "left_tip"]}},
        },
        "parts": {"hand": ["wrist", "left_tip", "right_tip"]},
    }
)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return build("gtpt-t", CUSTOM, input_size=(72, 96), simcc_split=5.333333333333333, keep_rates=(1, 0.8, 0.6, 0.5))


def test_round_trip_is_bit_for_bit(net, tmp_path):
    net.stem.conv[1].num_batches_tracked += 7
    save(net, tmp_path / "a" / "net.safetensors", {"calibration": {"knots": [0.1, 0.2]}, "AP": 0.5})
    again = load(tmp_path / "a" / "net.safetensors")
    assert again.config == net.config and again.skeleton == CUSTOM and not again.training
    assert again.state_dict().keys() == net.state_dict().keys()
    for key, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[key], value) and again.state_dict()[key].dtype == value.dtype, key
    header = read_header(tmp_path / "a" / "net.safetensors")
    assert header["calibration"] == {"knots": [0.1, 0.2]} and header["AP"] == 0.5
    crops = torch.randn(1, 3, 96, 72)
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(net.eval()(crops), again(crops), strict=True))


def test_converting_ours_keeps_what_its_header_says(net, tmp_path):
    save(net, tmp_path / "a.safetensors", {"calibration": {"knots": [0.1, 0.2]}, "AP": 0.5})
    convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert read_header(tmp_path / "b.safetensors") == read_header(tmp_path / "a.safetensors")


def test_readable_by_others_as_the_umask_says(net, tmp_path):
    save(net, tmp_path / "net.safetensors")
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "net.safetensors").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_full_disk_keeps_the_old_file(net, tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "net.safetensors"
    save(net, path, {"version": 1})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))  # the system refuses to write more
    try:
        with pytest.raises(OSError, match=r"could not write .*net\.safetensors.*older file .* as it was .* MB are free"):
            save(net, path, {"version": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.safetensors"]  # nothing left behind
    save(net, path, {"version": 2})
    assert read_header(path)["version"] == 2


def test_failed_move_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        replace_atomically(path, lambda temporary: temporary.write_text("new"))
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x"]


def test_a_mistake_while_writing_is_not_taken_for_a_full_disk(tmp_path):
    def write(temporary):
        raise ValueError("not a number")

    with pytest.raises(ValueError, match=r"^not a number$"):
        replace_atomically(tmp_path / "x", write)
    assert not os.listdir(tmp_path)


def test_bad_files_are_named(net, tmp_path):
    path = tmp_path / "net.safetensors"
    save(net, path)
    whole = path.read_bytes()
    for size in (0, 5, 500, len(whole) - 1):
        (tmp_path / "cut.safetensors").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.safetensors is not a complete safetensors file"):
            load(tmp_path / "cut.safetensors")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load(tmp_path / "none.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not written by gtpt"):
        load(tmp_path / "other.safetensors")
    torch.save({}, tmp_path / "theirs.pth")
    with pytest.raises(ValueError, match="load_official"):
        load(tmp_path / "theirs.pth")


def test_header_and_tensors_must_belong_together(net, tmp_path):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "net.safetensors"
    save(net, path)
    tensors, header = load_file(path), read_header(path)
    tensors.pop("human_token")
    save_file(tensors, tmp_path / "less.safetensors", metadata={"gtpt": json.dumps(header)})
    with pytest.raises(ValueError, match=r"does not fit its own header(.|\n)*human_token"):
        load(tmp_path / "less.safetensors")
    header["config"]["depth_of_tomorrow"] = 3
    save_file(tensors, tmp_path / "newer.safetensors", metadata={"gtpt": json.dumps(header)})
    with pytest.raises(ValueError, match=r"another version of gtpt.*depth_of_tomorrow"):
        load(tmp_path / "newer.safetensors")
    for text, message in (("{", "is not JSON"), ("[]", "is a list"), ("{}", "another version of gtpt: no 'config'")):
        save_file(tensors, tmp_path / "foreign.safetensors", metadata={"gtpt": text})
        with pytest.raises(ValueError, match=rf"foreign\.safetensors .*{message}"):
            load(tmp_path / "foreign.safetensors")


def test_a_network_without_skeleton_is_not_saved(tmp_path):
    net = build("gtpt-t", input_size=(48, 64))
    net.skeleton = None
    with pytest.raises(ValueError, match="no skeleton"):
        save(net, tmp_path / "x.safetensors")


def test_a_flipped_byte_is_noticed(net, tmp_path):
    """In the numbers and in the header, where the file is still a valid one."""
    path = tmp_path / "net.safetensors"
    save(net, path, {"AP": 0.51})
    whole = path.read_bytes()
    for at in (len(whole) - 3, whole.index(b"0.51") + 3):
        changed = bytearray(whole)
        changed[at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(WeightsError, match=r"net\.safetensors is not as it was written"):
            load(path)
    path.write_bytes(whole)
    assert load(path) and "sha256" not in read_header(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(net, tmp_path, value):
    """Written by another program or an older version: ours does not write them."""
    from safetensors.torch import load_file, save_file

    save(net, tmp_path / "net.safetensors")
    tensors = load_file(tmp_path / "net.safetensors")
    tensors["head_x.1.bias"][3] = value
    header = json.dumps(read_header(tmp_path / "net.safetensors"))
    save_file(tensors, tmp_path / "diverged.safetensors", metadata={"gtpt": header})
    with pytest.raises(WeightsError, match=r"diverged\.safetensors has weights that are not finite \(head_x\.1\.bias\)"):
        load(tmp_path / "diverged.safetensors")
    broken = build("gtpt-t", CUSTOM, input_size=(72, 96), keep_rates=(1, 0.8, 0.6, 0.5))
    broken.head_x[1].bias.data[3] = value
    with pytest.raises(WeightsError, match="this network has weights that are not finite"):
        save(broken, tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 10**9},
        {"dim": 128.5},
        {"heads": float("inf")},
        {"input_size": [4092, 4096]},
        {"input_size": [10**400, 96]},
        {"coarse_layers": 10**9},
        {"simcc_split": 1e12},
        {"simcc_split": float("nan")},
        {"patch": [4, 1e300]},
        {"keep_rates": [1, "a", 0.5, 0.5]},
        {"groups": []},
        {"groups": [{"name": "all", "keypoints": [0, 1, 2, 3, 4e9], "parts": []}]},
    ],
)
def test_a_header_cannot_ask_for_what_the_file_does_not_hold(net, tmp_path, change):
    """Sizes are compared before memory is taken: this test would need terabytes."""
    from safetensors.torch import load_file, save_file

    save(net, tmp_path / "net.safetensors")
    header = read_header(tmp_path / "net.safetensors")
    header["config"] |= change
    save_file(load_file(tmp_path / "net.safetensors"), tmp_path / "lie.safetensors", metadata={"gtpt": json.dumps(header)})
    with pytest.raises(WeightsError, match=r"lie\.safetensors"):
        load(tmp_path / "lie.safetensors")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"config": ' + "1" * 5000 + "}", '{"config": 1, "config": 2}'])
def test_a_header_that_no_json_reader_should_read(net, tmp_path, text):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "bomb.safetensors", metadata={"gtpt": text})
    with pytest.raises(WeightsError, match=r"bomb\.safetensors was not written by gtpt: its header is not JSON"):
        load(tmp_path / "bomb.safetensors")
