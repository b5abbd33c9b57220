"""The global perceived loss over all joints at once against a loop over the joints, forward and backward, in turns.

python benchmarks/loss.py
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from gtpt.benchmark import machine
from gtpt.train.loss import global_perceived_loss


def looped(pruned: list[Tensor], entire: list[Tensor], targets: list[Tensor], weight: Tensor) -> Tensor:
    """The same sum as it is usually written: joint by joint, axis by axis, a KLDivLoss each."""
    kl, total = torch.nn.KLDivLoss(reduction="none"), torch.zeros(())
    joints = weight.shape[1]
    for joint in range(joints):
        for p, e, t in zip(pruned, entire, targets, strict=True):
            logs, teacher = p[:, joint].log_softmax(dim=1), e[:, joint].log_softmax(dim=1)
            soft = e[:, joint].softmax(dim=1).detach()
            for prediction, target in ((logs, t[:, joint]), (teacher, t[:, joint]), (logs, soft)):
                total = total + (kl(prediction, target).mean(dim=1) * weight[:, joint]).mean()
    return total / joints


def main(batch: int = 4, repeats: int = 15) -> None:
    print(f"{machine()}; 1 thread, batch {batch}; medians of {repeats} pairs\n")
    print("| joints | loop, ms | at once, ms | ratio | difference |\n|---:|---:|---:|---:|---:|")
    for joints in (17, 133):
        torch.manual_seed(0)
        pruned, entire = ([torch.randn(batch, joints, n, requires_grad=True) for n in (384, 512)] for _ in range(2))
        targets = [torch.rand(batch, joints, bins).softmax(dim=2) for bins in (384, 512)]
        weight = (torch.rand(batch, joints) < 0.7).float()
        loop, once = [], []
        for _ in range(repeats):
            began = time.perf_counter()
            a = looped(pruned, entire, targets, weight)
            a.backward()
            middle = time.perf_counter()
            b = global_perceived_loss(tuple(pruned), tuple(entire), tuple(targets), weight).total
            b.backward()
            loop.append(middle - began)
            once.append(time.perf_counter() - middle)
        ratio = sorted(x / y for x, y in zip(loop, once, strict=True))[repeats // 2]
        times = [1e3 * sorted(t)[repeats // 2] for t in (loop, once)]
        print(f"| {joints} | {times[0]:.1f} | {times[1]:.2f} | {ratio:.1f} | {abs(a.item() - b.item()):.1e} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
