"""A run that was killed, anywhere and more than once, ends with the weights of one that was not: bit for bit."""

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import time
import warnings
from pathlib import Path

import pytest
import torch
import yaml

import gtpt.model.checkpoint
from gtpt import load_skeleton
from gtpt.model.checkpoint import read_header
from gtpt.train.checkpoints import BEST, FINAL, LAST
from gtpt.train.run import train

pytestmark = pytest.mark.integration


def test_from_every_checkpoint(experiment, tmp_path, monkeypatch):
    """One after each step, the ends of epochs included, and after the last."""
    archive = []

    def replace_and_keep(source, target):
        shutil.move(source, target)
        if str(target).endswith(LAST):
            archive.append(shutil.copy(target, tmp_path / f"{len(archive)}.ckpt"))

    with monkeypatch.context() as patch:
        patch.setattr(gtpt.model.checkpoint.os, "replace", replace_and_keep)
        final = train(experiment("train.checkpoint_every=1", "train.batch_size=6"), progress=False)
    expected = final.read_bytes()
    assert len(archive) == 6 and read_header(final)["step"] == 6  # 14 persons are 3 steps of up to 6
    for number, checkpoint in enumerate(archive):
        again = experiment(f"out={tmp_path / f'again{number}'}", "train.batch_size=6")
        again.out.mkdir()
        shutil.copy(checkpoint, again.out / LAST)
        assert train(again, progress=False).read_bytes() == expected, f"resumed after step {number + 1}"


def test_kill_9(experiment, tmp_path):
    """The same command again and again, killed at random moments, with validation and loader processes."""
    options = (
        "train.epochs=4",
        "train.optimizer=muon",
        "train.ema=0.9",
        "train.checkpoint_every=2",
        "train.validate_every=2",
    )
    expected = train(experiment(*options, f"out={tmp_path / 'whole'}"), progress=False).parent
    killed = experiment(*options, "data.workers=1", f"out={tmp_path / 'killed'}")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gtpt.train.run"])
    patience, kills, loaders = random.Random(), 0, []
    for attempt in range(20):
        process = context.Process(target=train, args=(killed,), kwargs={"progress": False})
        process.start()
        if kills < 3:
            wait_for_change(killed.out / LAST, process)
            time.sleep(patience.uniform(0, 1))
            if process.is_alive():
                loaders += children(process.pid)
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
        process.join(timeout=300)
        assert process.exitcode in (0, -signal.SIGKILL), f"attempt {attempt} failed by itself"
        if process.exitcode == 0:
            break
    assert kills > 0 and process.exitcode == 0
    for name in (FINAL, BEST):
        assert (killed.out / name).read_bytes() == (expected / name).read_bytes(), f"{name} after {kills} kills"
    assert not list(killed.out.glob(".*")), "half-written files are swept up"
    deadline = time.monotonic() + 60  # a worker looks for its parent every 5 seconds
    while any(is_running(pid) for pid in loaders) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(is_running(pid) for pid in loaders), "loader processes outlive a killed run"


def children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def is_running(pid):
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for_change(path, process):
    before = path.stat().st_mtime_ns if path.exists() else None
    while process.is_alive() and (not path.exists() or path.stat().st_mtime_ns == before):
        time.sleep(0.01)


def test_failed_save_leaves_a_run_that_can_go_on(experiment, tmp_path, monkeypatch):
    """The disk is full from the third checkpoint on; with space again the run ends as if nothing had been."""
    expected = train(experiment(f"out={tmp_path / 'whole'}"), progress=False).read_bytes()
    full, saved = experiment("train.checkpoint_every=1"), []
    real_replace = os.replace

    def replace(source, target):
        if str(target).endswith(LAST):
            saved.append(target)
            if len(saved) > 2:
                raise OSError(28, "No space left on device")
        real_replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(gtpt.model.checkpoint.os, "replace", replace)
        with pytest.raises(OSError, match=r"last\.ckpt: .*No space left on device; an older file there is as it was"):
            train(full, progress=False)
    assert torch.load(full.out / LAST, weights_only=True)["global_step"] == 2
    assert sorted(p.name for p in full.out.iterdir()) == ["config.yaml", "last.ckpt", "logs"]
    assert train(full, progress=False).read_bytes() == expected


def test_a_finished_run_is_left_alone_and_finished_again(experiment):
    final = train(experiment(), progress=False)
    before = final.read_bytes()
    final.unlink()  # killed between the last checkpoint and the final weights
    assert train(experiment(), progress=False).read_bytes() == before


def test_logs_of_earlier_parts_stay(experiment):
    train(experiment("train.epochs=1", "train.log_every=1"), progress=False)
    train(experiment("train.log_every=1"), progress=False)
    logs = experiment().out / "logs"
    assert [p.name for p in sorted(logs.glob("run*"))] == ["run0", "run1"]
    assert len(list(logs.glob("run*/events.out.tfevents.*"))) == 2  # TensorBoard's
    steps = [row.split(",") for part in ("run0", "run1") for row in (logs / part / "metrics.csv").read_text().split()[1:]]
    assert len(steps) == 8


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_damaged_or_foreign_checkpoint_is_refused(experiment, tmp_path):
    """With the ways out; Lightning by itself would run code from the file."""
    train(experiment("train.epochs=1"), progress=False)
    last = experiment().out / LAST
    whole, mark = last.read_bytes(), tmp_path / "was_run"
    torch.save({**torch.load(last, weights_only=True), "extra": Malicious(mark)}, tmp_path / "bad.ckpt")
    state = torch.load(last, weights_only=True)
    torch.save({**state, "optimizer_states": []}, tmp_path / "forgetful.ckpt")
    torch.save({}, tmp_path / "empty.ckpt")
    spoilt = {
        key: value * float("nan") if value.is_floating_point() else value for key, value in state["state_dict"].items()
    }
    torch.save({**state, "state_dict": spoilt}, tmp_path / "diverged.ckpt")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    contents = [whole[: len(whole) // 2], b"", bytes(len(whole)), bytes(flipped), b"PK\x03\x04" + whole[4:99]]
    for content in (*contents, *(path.read_bytes() for path in sorted(tmp_path.glob("*.ckpt")))):
        last.write_bytes(content)
        way_out = (
            r"^cannot resume: .*/last\.ckpt .* To begin anew, move it away and give train\.init=.*/out/final\.safetensors"
        )
        with pytest.raises(ValueError, match=way_out) as refusal:
            train(experiment(), progress=False)
        assert "weights_only" not in str(refusal.value) and "Traceback" not in str(refusal.value)
        assert last.read_bytes() == content and not mark.exists()
    last.write_bytes(whole)
    train(experiment(), progress=False)


def test_progress_of_a_run_that_goes_on_in_the_middle_of_an_epoch(experiment, monkeypatch, capsys):
    """Without the Python warnings that Lightning causes."""
    one = experiment("train.epochs=1", "train.checkpoint_every=1")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gtpt.train.run.CheckpointKeeper, "on_train_epoch_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(one, progress=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning ignores it from then on
    assert not (one.out / FINAL).exists()
    assert torch.load(one.out / LAST, weights_only=True)["global_step"] == 3
    bars = []
    monkeypatch.setattr(
        gtpt.train.run.ProgressBar, "on_train_batch_start", lambda self, *_: bars.append(self.train_progress_bar)
    )
    capsys.readouterr()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        train(one)
    assert not seen
    assert len(bars) == 1 and (bars[0].total, bars[0].initial, bars[0].n) == (4, 3, 4)
    assert "Epoch 0" in capsys.readouterr().out


def test_what_does_not_belong_to_the_run_is_refused(experiment):
    train(experiment("train.epochs=1"), progress=False)
    for change, message in (
        ("model.input_size=[96, 128]", "holds a run of another network.*set another `out=`"),
        ("train.optimizer=muon", r"holds a run of another optimizer \(adam, now muon\)"),
        ("train.dense=0.002", r"holds a run of another train\.dense \(0, now above 0\); set another `out=`"),
        ("train.batch_size=7", r"made with 4 steps per epoch, these settings give 2: .*train\.init="),
    ):
        with pytest.raises(ValueError, match=message):
            train(experiment(change), progress=False)

    (experiment().out / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"another network, whose dense\.from_features\.bias, .* and 1 more differ: "):
        train(experiment("train.dense=0.002"), progress=False)


@pytest.mark.parametrize(("text", "message"), [("model: [", "is not YAML"), ("optimiser: adam", "optimiser")])
def test_a_damaged_configuration_of_the_run_is_named(experiment, text, message):
    train(experiment("train.epochs=1"), progress=False)
    path = experiment().out / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"config\.yaml(?s:.*){message}(?s:.*)mend it, or set another `out=`"):
        train(experiment("train.epochs=2"), progress=False)


def test_a_skeleton_file_that_changed_is_refused(experiment, tmp_path):
    """Unless the change concerns neither the weights nor what they stand for."""
    file, body = tmp_path / "mine.yaml", load_skeleton("coco17").to_dict()
    options = (f"model.skeleton={file}", "data.val=null", "train.epochs=1")

    def run(**changes):
        file.write_text(yaml.safe_dump({**body, **changes}, sort_keys=False))
        os.utime(file, (next(times),) * 2)  # read again, also within the resolution of the clock
        return train(experiment(*options), progress=False)

    times = itertools.count(1)
    run()
    groups = body["groups"]
    regrouped = {"head": groups["head"], "rest": {"keypoints": groups["arms"]["keypoints"] + groups["legs"]["keypoints"]}}
    for change, message in (
        ({"groups": regrouped}, "another skeleton, whose groups differ: resume with the settings"),
        ({"groups": dict(reversed(groups.items()))}, "another skeleton, whose groups differ"),
        ({"keypoints": dict(reversed(body["keypoints"].items()))}, "not those of skeleton .* in this order"),
    ):
        with pytest.raises(ValueError, match=message):
            run(**change)
    run(edges=[], keypoints=dict.fromkeys(body["keypoints"], 0.06))
