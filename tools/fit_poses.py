"""Fit poses of the synthetic people's body to 2D keypoints of real ones: makes src/gtpt/data/synthetic/poses.npz.

    python tools/fit_poses.py person_keypoints.json [more.json or crops.zip/annotations.json ...] --out poses.npz

A pose is found by gradient descent from four directions of view on the keypoints' distances, with joint limits, an upright
trunk and limbs outside the trunk as priors; 3,400 people take about 3 minutes on one core. Fits that stay far from their
keypoints, or against the limits, are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from gtpt.data.images import read_json
from gtpt.data.synthetic.body import Body
from gtpt.data.synthetic.poses import SIZES, STEPS, PoseBank
from gtpt.data.synthetic.scene import LEVEL

YAWS = (0.0, np.pi / 2, -np.pi / 2, np.pi)
ROUNDS = ((80, 0.08), (220, 0.05))  # steps and their size, from every direction and from the best one
# Which of three lengths (legs, trunk, arms) a bone's offset follows, and the bones that carry COCO's keypoints.
STRETCHED = {
    "lowerleg01": 0,
    "foot": 0,
    "clavicle": 1,
    **{f"spine0{i}": 1 for i in range(1, 5)},
    "lowerarm01": 2,
    "wrist": 2,
}
CARRYING_LIMBS = ("upperarm01", "lowerarm01", "wrist", "upperleg01", "lowerleg01", "foot")
CARRIERS = ("head",) * 5 + tuple(f"{bone}.{side}" for bone in CARRYING_LIMBS for side in "LR")
FAR, STRAINED = 1.2, 3.0
Angles = dict[str, torch.Tensor]


def exponential(vectors: torch.Tensor) -> torch.Tensor:
    """(..., 3) rotation vectors to (..., 3, 3); `poses.rotation` with gradients."""
    angle = vectors.square().sum(-1, keepdim=True).add(1e-12).sqrt()
    x, y, z = (vectors / angle).unbind(-1)
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return torch.eye(3) + torch.sin(angle[..., None]) * k + (1 - torch.cos(angle[..., None])) * (k @ k)


def beyond(values: torch.Tensor, low: float | list[float], high: float | list[float]) -> torch.Tensor:
    """How far values leave a range, squared."""
    return (values - torch.as_tensor(high)).clamp(min=0) ** 2 + (torch.as_tensor(low) - values).clamp(min=0) ** 2


class Skeleton3D:
    """Bones without a mesh: forward kinematics and what strains it."""

    def __init__(self, body: Body):
        bank = PoseBank(body.bones, body.bone_heads)
        self.index = {name: i for i, name in enumerate(body.bones)}
        self.heads = torch.tensor(body.bone_heads)
        self.keypoints = torch.tensor((body.regressor @ body.rest)[:17].astype(np.float32))
        self.hinges = {s: torch.tensor(bank.elbow_axes[s], dtype=torch.float32) for s in "LR"}
        upper = {s: self._offset(f"upperarm01.{s}", f"lowerarm01.{s}") for s in "LR"}
        lower = {s: self._offset(f"lowerarm01.{s}", f"wrist.{s}") for s in "LR"}
        self.arms = {s: upper[s] / upper[s].norm() for s in "LR"}
        self.bent = {s: float(torch.acos((self.arms[s] * lower[s]).sum() / lower[s].norm())) for s in "LR"}

    def _offset(self, first: str, second: str) -> torch.Tensor:
        return self.heads[self.index[second]] - self.heads[self.index[first]]

    def joints(self, angles: Angles, root: torch.Tensor) -> torch.Tensor:
        """(N, 17, 3) COCO's keypoints about the root, turned by (N, 3, 3)."""
        turns, places = {"root": root}, {"root": torch.zeros(len(root), 3)}

        def grow(name: str, parent: str, turn: torch.Tensor | None = None) -> None:
            offset = turns[parent] @ self._offset(parent, name)
            length = STRETCHED.get(name.split(".")[0])
            places[name] = places[parent] + (
                offset if length is None else offset * angles["lengths"][:, length, None].exp()
            )
            turns[name] = turns[parent] if turn is None else turns[parent] @ turn

        spine, neck = exponential(angles["spine"] / 5), exponential(angles["neck"] / 4)
        chain = [
            *((f"spine0{i}", spine) for i in range(5, 0, -1)),
            *((n, neck) for n in ("neck01", "neck02", "neck03", "head")),
        ]
        for (name, turn), (parent, _) in zip(chain, [("root", None), *chain], strict=False):
            grow(name, parent, turn)
        for s in "LR":
            grow(f"clavicle.{s}", "spine01", exponential(angles["clavicle" + s]))
            grow(f"upperarm01.{s}", f"clavicle.{s}", exponential(angles["shoulder" + s]))
            grow(f"lowerarm01.{s}", f"upperarm01.{s}", exponential(angles["elbow" + s] * self.hinges[s]))
            grow(f"wrist.{s}", f"lowerarm01.{s}")
            grow(f"upperleg01.{s}", "root", exponential(angles["hip" + s]))
            grow(f"lowerleg01.{s}", f"upperleg01.{s}", exponential(angles["knee" + s] * torch.tensor([1.0, 0, 0])))
            grow(f"foot.{s}", f"lowerleg01.{s}", exponential(angles["foot" + s]))
        found = [
            places[bone] + turns[bone] @ (self.keypoints[i] - self.heads[self.index[bone]])
            for i, bone in enumerate(CARRIERS)
        ]
        return torch.stack(found, 1)

    def strain(self, angles: Angles) -> torch.Tensor:
        """(N,) of joints near or beyond their limits; axes of the reference pose, x to the person's left, z up."""
        spine, neck = angles["spine"], angles["neck"]
        cost = 0.25 * (angles["lengths"] / 0.12).square().sum(-1)
        cost = cost + 0.3 * (spine.square() @ torch.tensor([1.0, 2, 2])) + 0.25 * neck.square().sum(-1)
        cost = cost + 16 * beyond(spine, [-1.3, -0.5, -0.7], [0.4, 0.5, 0.7]).sum(-1)
        cost = cost + 8 * beyond(neck, [-0.7, -0.6, -1.1], [0.7, 0.6, 1.1]).sum(-1)
        for s, sign in (("L", 1.0), ("R", -1.0)):
            cost = cost + self._strain_of_arm(angles, s, sign) + self._strain_of_leg(angles, s, sign)
        return cost

    def _strain_of_arm(self, angles: Angles, s: str, sign: float) -> torch.Tensor:
        clavicle, shoulder, elbow = (angles[name + s] for name in ("clavicle", "shoulder", "elbow"))
        twist = shoulder @ self.arms[s]
        cost = 2 * clavicle.square().sum(-1) + 8 * beyond(clavicle, -0.35, 0.35).sum(-1)
        cost = cost + 0.06 * shoulder.square().sum(-1) + 0.25 * twist**2 + 0.03 * elbow[:, 0] ** 2
        limits = beyond(twist, -1.1, 1.1) + beyond(shoulder.square().sum(-1), 0, 2.6**2) + beyond(shoulder[:, 0], -2.2, 0.9)
        limits = limits + beyond(sign * shoulder[:, 1], -2.4, 0.9) + beyond(sign * shoulder[:, 2], -1.9, 0.9)
        return cost + 6 * limits + 12 * beyond(elbow[:, 0], 0.03 - self.bent[s], 2.55 - self.bent[s])

    def _strain_of_leg(self, angles: Angles, s: str, sign: float) -> torch.Tensor:
        hip, knee, foot = (angles[name + s] for name in ("hip", "knee", "foot"))
        cost = 0.06 * (hip.square() @ torch.tensor([0.6, 2, 3])) + 0.04 * knee[:, 0] ** 2
        cost = cost + 0.5 * (foot.square() @ torch.tensor([0.6, 3, 3])) + 8 * beyond(foot[:, 0], -0.6, 0.6)
        limits = beyond(hip[:, 0], -2.2, 0.45) + beyond(sign * hip[:, 1], -0.95, 0.35) + beyond(hip[:, 2], -0.7, 0.7)
        return cost + 6 * limits + 12 * beyond(knee[:, 0], 0, 2.45)


def overlap(joints: torch.Tensor) -> torch.Tensor:
    """(N,) how deep arms are inside the trunk, and limbs inside each other."""
    hips = joints[:, 11:13].mean(1)
    axis = joints[:, 5:7].mean(1) - hips
    length = axis.norm(dim=-1, keepdim=True)
    axis, across = axis / length, torch.nn.functional.normalize(joints[:, 5] - joints[:, 6], dim=-1)
    cost = torch.zeros(len(joints))
    for arm in (7, 8, 9, 10):
        offset = joints[:, arm] - hips
        along = torch.minimum((offset * axis).sum(-1, keepdim=True).clamp(min=0), length + 0.05)
        away = offset - along * axis
        wide = (away * across).sum(-1)
        inside = 1 - (wide / 0.19) ** 2 - (away.square().sum(-1) - wide**2).clamp(min=0) / 0.13**2
        cost = cost + 3 * inside.clamp(min=0) ** 2
    for a, b in ((13, 14), (15, 16), (7, 8), (9, 10)):
        cost = cost + 300 * (0.1 - (joints[:, a] - joints[:, b]).norm(dim=-1)).clamp(min=0) ** 2
    return cost


class Fit:
    """N people at once: their keypoints (N, 17, 3), x, y, visibility, seen from somewhere between 3 and 7 metres."""

    def __init__(self, skeleton: Skeleton3D, keypoints: np.ndarray):
        self.skeleton = skeleton
        self.seen = torch.tensor(keypoints[..., 2] > 0, dtype=torch.float32)
        points = torch.tensor(keypoints[..., :2], dtype=torch.float32)
        known = np.where(keypoints[..., 2:] > 0, keypoints[..., :2], np.nan)
        low, high = (torch.tensor(f(known, axis=1), dtype=torch.float32) for f in (np.nanmin, np.nanmax))
        self.targets = (points - (low + high)[:, None] / 2) / (high - low).max(1).values[:, None, None]  # about -0.5 to 0.5
        self.distance = torch.tensor(np.random.default_rng(0).uniform(3, 7, len(keypoints)), dtype=torch.float32)

    def start(self) -> Angles:
        """Knees and hips a little bent, arms down; the camera's place and size with them."""
        n = len(self.targets)
        angles = {**{name: torch.zeros(n, size) for name, size in SIZES.items()}, "lengths": torch.zeros(n, 3)}
        angles["camera"] = torch.tensor([0.0, 0.0, np.log(0.7)]).repeat(n, 1)
        for s, sign in (("L", 1.0), ("R", -1.0)):
            angles["hip" + s][:, 0], angles["shoulder" + s][:, 1], angles["knee" + s][:] = -0.3, 0.3 * sign, 0.3
        return angles

    def improve(
        self, angles: Angles, yaw: torch.Tensor, steps: int, size: float
    ) -> tuple[Angles, torch.Tensor, torch.Tensor]:
        """Gradient descent; returns angles, whole cost and distance alone, (N,) each."""
        angles = {name: value.clone().requires_grad_() for name, value in angles.items()}
        optimizer = torch.optim.Adam(angles.values(), lr=size)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = size if step < 0.6 * steps else 0.3 * size
            cost, distance = self._cost(angles, yaw)
            optimizer.zero_grad()
            cost.sum().backward()
            optimizer.step()
        return {name: value.detach() for name, value in angles.items()}, cost.detach(), distance.detach()

    def _cost(self, angles: Angles, yaw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        turn = torch.tensor(LEVEL, dtype=torch.float32) @ turned(yaw) @ exponential(angles["root"])
        joints = self.skeleton.joints(angles, turn)
        depth = (self.distance[:, None] + joints[..., 2]).clamp(min=0.5)
        flat = joints[..., :2] / depth[..., None] * self.distance[:, None, None]
        flat = angles["camera"][:, None, :2] + angles["camera"][:, None, 2:].exp() * flat
        squares = ((flat - self.targets) / 0.02).square().sum(-1)
        distance = 1.2 * (self.seen * squares / (1 + squares / 60)).sum(-1) / self.seen.sum(-1)
        up = turn[..., 2]  # of the body, in the camera's x right, y down, z forward
        upright = 0.4 * (1 + up[:, 1]) + 2.5 * up[:, 2] ** 2 / (1 + 4 * up[:, 2] ** 2)
        return distance + 0.6 * self.skeleton.strain(angles) + 0.5 * overlap(joints) + upright, distance


def turned(yaw: torch.Tensor) -> torch.Tensor:
    return exponential(torch.stack([0 * yaw, 0 * yaw, yaw], -1))


def usable(person: dict, rng: np.random.Generator) -> bool:
    """Shoulders, hips and most of the arms are labelled; of people cut below the hips, some."""
    seen = np.array(person["keypoints"]).reshape(17, 3)[:, 2] > 0
    enough = seen.sum() >= 11 and seen[[5, 6, 11, 12]].all() and seen[7:11].sum() >= 3
    return bool(enough and (seen[[13, 14]].all() or rng.random() < 0.3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", nargs="+", type=Path, help="COCO keypoint files")
    parser.add_argument("--out", type=Path, required=True, help="npz to write")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    people = [p for path in options.annotations for p in read_json(path)["annotations"] if usable(p, rng)]
    fit = Fit(Skeleton3D(Body()), np.stack([np.array(p["keypoints"], float).reshape(17, 3) for p in people]))
    each = [fit.improve(fit.start(), torch.full((len(people),), yaw), *ROUNDS[0]) for yaw in YAWS]
    best, row = torch.stack([cost for _, cost, _ in each]).argmin(0), torch.arange(len(people))
    start = {name: torch.stack([angles[name] for angles, _, _ in each])[best, row] for name in each[0][0]}
    yaw = torch.tensor(YAWS, dtype=torch.float32)[best]
    angles, cost, distance = fit.improve(start, yaw, *ROUNDS[1])
    angles["root"] = vectors_of(turned(yaw) @ exponential(angles["root"]))
    for s in "LR":
        angles["knee" + s] = angles["knee" + s].clamp(min=0)
    good = (cost < STRAINED) & (distance < FAR)
    rows = torch.cat([angles[name] for name in SIZES], 1)[good]
    np.savez_compressed(options.out, angles=(rows * STEPS).round().clamp(-127, 127).to(torch.int8).numpy())
    print(f"{int(good.sum())} of {len(people)} fits kept")


def vectors_of(turns: torch.Tensor) -> torch.Tensor:
    """(N, 3, 3) to (N, 3) rotation vectors."""
    import cv2

    return torch.tensor(np.stack([cv2.Rodrigues(turn.double().numpy())[0][:, 0] for turn in turns]))


if __name__ == "__main__":
    main()
