"""Training with BatchNorm fixed at its first statistics, as a script, so that Lightning can start it once per process.

    python frozen_norms.py EXPERIMENT.yaml [key=value ...]

A process normalises with the statistics of its own half of a batch, so one process with the whole batch differs by design
(as with the authors' DataParallel). Fixed, every person's gradient is the same wherever it is computed.
"""

import sys

from torch import nn

import gtpt.train.run
from gtpt.model import build
from gtpt.train.config import load_experiment


class FixedNorm(nn.BatchNorm2d):
    def forward(self, x):
        self.training = False
        return super().forward(x)


def build_fixed(*args, **kwargs):
    net = build(*args, **kwargs)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = FixedNorm
    return net


def train_fixed(*arguments):
    gtpt.train.run.build = build_fixed
    try:
        return gtpt.train.run.train(load_experiment(arguments[0], list(arguments[1:])), progress=False)
    finally:
        gtpt.train.run.build = build


if __name__ == "__main__":
    train_fixed(*sys.argv[1:])
