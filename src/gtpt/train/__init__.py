"""Training with PyTorch Lightning: experiment files, the global perceived loss, averaged weights, exact resume.

from gtpt.train import load_experiment, train

best = train(load_experiment("mine.yaml", ["train.lr=0.0005"]))
"""

from typing import TYPE_CHECKING, Any

from gtpt.train.config import Experiment, load_experiment

if TYPE_CHECKING:
    from gtpt.train.run import train

__all__ = ["Experiment", "load_experiment", "train"]


def __getattr__(name: str) -> Any:
    if name != "train":  # the rest needs no PyTorch
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gtpt.train.run import train

    return train
