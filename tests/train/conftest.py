"""A data set of drawn figures, and experiments that train a T on 48x64 crops of it within seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import yaml

from gtpt.train.config import Experiment, load_experiment

from ..data.figures import write_set

os.environ["OMP_NUM_THREADS"] = "1"  # of child processes: sums in another number of threads round differently


@pytest.fixture(autouse=True)
def one_thread():
    """As in the child processes, whatever tests before set."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def figures(tmp_path_factory) -> Path:
    """14 persons; the category has another name and number than COCO's."""
    return write_set(tmp_path_factory.mktemp("figures") / "set", 14, category=7, name="figure")


@pytest.fixture
def experiment_file(figures, tmp_path) -> Path:
    source = {"annotations": str(figures / "annotations.json"), "images": str(figures / "images")}
    train = {"epochs": 2, "batch_size": 4, "accelerator": "cpu", "convolutions": "kaiming", "validate_every": 0}
    content = {
        "out": str(tmp_path / "out"),
        "model": {"name": "gtpt-t", "input_size": [48, 64]},
        "data": {"train": [source], "val": source, "workers": 0},
        "train": train,
    }
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def experiment(experiment_file):
    """Function: overrides -> Experiment."""

    def make(*overrides: str) -> Experiment:
        return load_experiment(experiment_file, list(overrides))

    return make
