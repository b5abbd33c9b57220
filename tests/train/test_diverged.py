"""A run that diverges stops at once and keeps what was good; nothing else ends up in its files."""

import json

import numpy as np
import pytest
import torch

from gtpt.model.checkpoint import read_header
from gtpt.train.checkpoints import FINAL, LAST
from gtpt.train.module import DivergedError, PoseTraining
from gtpt.train.run import train

from ..data.figures import figure_keypoints

pytestmark = pytest.mark.integration


def test_a_huge_learning_rate_stops_before_it_is_written_down(experiment):
    setup = experiment("train.lr=1e30", "train.epochs=1", "train.checkpoint_every=1")
    with pytest.raises(DivergedError, match=r"diverged.*smaller train\.lr \(now 1e\+30\) or with train\.clip=1"):
        train(setup, progress=False)
    assert not (setup.out / LAST).exists() and not (setup.out / FINAL).exists()


def test_the_last_good_checkpoint_stays_and_the_people_are_named(experiment, monkeypatch):
    """A loss that is not finite at step 3: the checkpoint of step 2 can be resumed, and then ends as it would have."""
    setup = experiment("train.checkpoint_every=1", "train.epochs=1")
    losses = PoseTraining.losses

    def poisoned(self, batch):
        loss = losses(self, batch)
        return loss if self.global_step != 2 else loss._replace(total=loss.total * float("nan"))

    with monkeypatch.context() as patch:
        patch.setattr(PoseTraining, "losses", poisoned)
        with pytest.raises(DivergedError, match=r"the loss of step 2 is nan for people of 0\d\d\.png, 0\d\d\.png"):
            train(setup, progress=False)
    assert torch.load(setup.out / LAST, weights_only=True)["global_step"] == 2
    assert read_header(train(setup, progress=False))["step"] == 4  # 14 persons in batches of 4


@pytest.mark.parametrize("option", ["train.guidance=0.002", "train.dense=0.002"])
def test_a_half_body_in_one_place_does_not_spoil_a_run(experiment, figures, tmp_path, option):
    """All upper joints of one annotation coincide: a crop around them would be empty, and its scale infinite."""
    data = json.loads((figures / "annotations.json").read_text())
    for person in data["annotations"]:
        joints = np.array(person["keypoints"]).reshape(-1, 3)
        joints[:11, :2] = 40
        person["keypoints"] = figure_keypoints(joints[:, :2])
    (tmp_path / "half.json").write_text(json.dumps(data))
    source = f"[{{annotations: {tmp_path / 'half.json'}, images: {figures / 'images'}}}]"
    setup = experiment(f"data.train={source}", "data.val=null", "data.augment.half_body=1", option, "train.epochs=1")
    assert train(setup, progress=False).is_file()


@pytest.mark.parametrize(
    "option",
    [
        "train.lr=.inf",
        "train.lr=.nan",
        f"train.lr={10**400}",
        "train.sigma=.inf",
        "train.weight_decay=.nan",
        "train.clip=.inf",
        "train.guidance=.inf",
        "train.ema=.nan",
        "model.simcc_split=.inf",
        "model.keep_rates=[1, .nan, 0.3, 0.1]",
        "data.augment.rotation=.nan",
        f"train.seed={10**400}",
        f"train.epochs={10**400}",
        f"model.input_size=[{10**400}, 64]",
        f"train.milestones=[{10**400}]",
    ],
)
def test_numbers_without_end_are_refused(experiment, option):
    with pytest.raises(ValueError, match=option.partition("=")[0].replace(".", r"\.")):
        experiment(option)
