"""A run that is asked to stop saves the step at hand, goes on from there bit for bit, and gives the signals back."""

import os
import signal
import subprocess
import sys
import time

import pytest

from gtpt.cli import main
from gtpt.train.checkpoints import LAST
from gtpt.train.module import PoseTraining
from gtpt.train.run import train


@pytest.fixture(autouse=True)
def signals_arrive():
    """Also where the tests run in the background of a shell or under nohup, which ignore some."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def stopped_at(monkeypatch):
    """Sends this process signals during one step of the next run."""

    def arrange(step: int, number: int, times: int = 1) -> None:
        original, sent = PoseTraining.training_step, []

        def training_step(self, *arguments):
            if self.global_step == step and not sent:
                sent.append(number)
                for _ in range(times):
                    os.kill(os.getpid(), number)
            return original(self, *arguments)

        monkeypatch.setattr(PoseTraining, "training_step", training_step)

    return arrange


@pytest.mark.integration
@pytest.mark.parametrize(("step", "number"), [(1, signal.SIGINT), (3, signal.SIGTERM)])
def test_a_stopped_run_goes_on_from_that_step(experiment, tmp_path, stopped_at, step: int, number: int) -> None:
    """Within an epoch of four steps, and at its last step."""
    expected = train(experiment(f"out={tmp_path / 'whole'}"), progress=False).read_bytes()
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    stopped_at(step, number)
    again = experiment("train.checkpoint_every=1000")
    with pytest.raises(KeyboardInterrupt):
        train(again, progress=False)
    assert (again.out / LAST).is_file() and {n: signal.getsignal(n) for n in before} == before
    assert train(again, progress=False).read_bytes() == expected


def test_the_command_promises_only_what_is_there(experiment, experiment_file, stopped_at, capsys) -> None:
    stopped_at(1, signal.SIGINT, times=2)  # in a hurry
    with pytest.raises(SystemExit) as ended:
        main(["train", "--cfg", str(experiment_file), "--quiet", "train.checkpoint_every=1000"])
    assert ended.value.code == 130 and "there is no checkpoint yet" in capsys.readouterr().err
    stopped_at(2, signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--cfg", str(experiment_file), "--quiet", "train.checkpoint_every=1000"])
    assert ended.value.code == 130 and f"goes on from {experiment().out / LAST}" in capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_is_one_to_the_run(experiment, experiment_file, number: int) -> None:
    """As terminals and batch systems send it: loader processes that take it would fail the step at hand."""
    options = ["data.workers=1", "train.epochs=1000", "train.checkpoint_every=3"]
    command = [sys.executable, "-m", "gtpt", "train", "--cfg", str(experiment_file), "--quiet", *options]
    run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while run.poll() is None and not (experiment().out / LAST).is_file():
        time.sleep(0.05)
    os.killpg(run.pid, number)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 130 and "goes on from" in said and "Traceback" not in said, said
