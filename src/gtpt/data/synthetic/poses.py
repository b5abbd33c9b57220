"""Poses: 3D fits to labelled people, mixed, mirrored and varied; hands of their own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import numpy as np

# (N, 37) int8 angles of SIZES in STEPS per radian: fits of the body to keypoints of people in COCO train2017 (COCO
# Consortium, CC BY 4.0), found by gradient descent from four directions of view, with joint limits and an upright trunk as
# priors; fits that stayed far from their keypoints were left out. A row holds rotation vectors in the axes of the reference
# pose, and for elbows and knees one angle about their hinge.
POSES = files("gtpt.data.synthetic") / "poses.npz"
STEPS = 40
SIDED = {"clavicle": 3, "shoulder": 3, "elbow": 1, "hip": 3, "knee": 1, "foot": 3}
SIZES = {"root": 3, "spine": 3, "neck": 3, **{name + side: size for name, size in SIDED.items() for side in "LR"}}
LEGS = ("hip", "knee", "foot")


def rotation(vector: np.ndarray) -> np.ndarray:
    """(..., 3) rotation vectors in radians -> (..., 3, 3) matrices (Rodrigues)."""
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    x, y, z = np.moveaxis(vector / np.maximum(angle, 1e-9), -1, 0)
    zero = np.zeros_like(x)
    k = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vector.shape[:-1], 3, 3)
    angle = angle[..., None]
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)


@dataclass(frozen=True)
class Pose:
    """Rotations: of every bone from the reference pose, (B, 3, 3); of the person from facing a level camera, (3, 3)."""

    bones: np.ndarray
    root: np.ndarray


class PoseBank:
    """Fitted poses of real people, see POSES.

    Args:
        bones: names of the body's bones.
        heads: (B, 3) where they start in the reference pose.
    """

    def __init__(self, bones: list[str], heads: np.ndarray):
        with POSES.open("rb") as file, np.load(file) as raw:
            self.angles = raw["angles"] / STEPS  # (N, angles) radians
        self.index = {name: i for i, name in enumerate(bones)}
        self.heads = heads
        self.elbow_axes, self.forearms = {}, {}
        for side in "LR":
            upper = self._from_to(f"upperarm01.{side}", f"lowerarm01.{side}")
            lower = self._from_to(f"lowerarm01.{side}", f"wrist.{side}")
            self.forearms[side] = _unit(lower)
            self.elbow_axes[side] = _unit(np.cross(upper, lower))  # the arm is bent in the reference pose

    def __len__(self) -> int:
        return len(self.angles)

    def _from_to(self, first: str, second: str) -> np.ndarray:
        return self.heads[self.index[second]] - self.heads[self.index[first]]

    def draw(self, rng: np.random.Generator) -> Pose:
        """A pose: the limbs of one fit, or arms and legs of two; varied, and mirrored half the time."""
        lower = _named(self.angles[int(rng.integers(len(self)))])
        upper = _named(self.angles[int(rng.integers(len(self)))]) if rng.random() < 0.25 else lower
        angles = {name: (lower if name[:-1] in LEGS or name == "root" else upper)[name] for name in SIZES}
        angles = {name: value + (name != "root") * rng.normal(0, 0.08, value.shape) for name, value in angles.items()}
        if rng.random() < 0.5:
            angles = mirrored(angles)
        angles["neck"] = angles["neck"] + rng.normal(0, 0.12, 3)
        yaw = rng.normal(0, 0.5) if rng.random() < 0.55 else rng.uniform(-np.pi, np.pi)
        root = rotation(np.array([0, 0, yaw])) @ rotation(angles["root"])
        return Pose(rotation(self._vectors(angles, rng)), root)

    def _vectors(self, angles: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """(B, 3) rotation vectors of the bones; forearms' twist, wrists and fingers are drawn."""
        vectors = np.zeros((len(self.index), 3))

        def put(name: str, vector: np.ndarray) -> None:
            vectors[self.index[name]] = vector

        for i in range(1, 6):
            put(f"spine0{i}", angles["spine"] / 5)
        for name in ("neck01", "neck02", "neck03", "head"):
            put(name, angles["neck"] / 4)
        for side in "LR":
            put(f"clavicle.{side}", angles["clavicle" + side])
            put(f"upperarm01.{side}", angles["shoulder" + side])
            put(f"lowerarm01.{side}", angles["elbow" + side] * self.elbow_axes[side])
            put(f"lowerarm02.{side}", np.clip(rng.normal(0, 0.6), -1.2, 1.2) * self.forearms[side])
            put(f"wrist.{side}", np.clip(rng.normal(0, 0.25, 3), -0.6, 0.6))
            put(f"upperleg01.{side}", angles["hip" + side])
            put(f"lowerleg01.{side}", angles["knee" + side] * np.array([1.0, 0, 0]))
            put(f"foot.{side}", angles["foot" + side])
            for name, vector in self._fingers(side, rng).items():
                put(f"{name}.{side}", vector)
        return vectors

    def _fingers(self, side: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Flat, relaxed or closed, some with single fingers stretched: rotation vectors by bone."""
        across = _unit(self._from_to(f"finger2-1.{side}", f"finger5-1.{side}")) * (1 if side == "L" else -1)
        level = rng.choice([rng.uniform(-0.35, 0.2), rng.uniform(0.1, 0.7), rng.uniform(0.8, 1.25)], p=[0.35, 0.4, 0.25])
        found = {}
        for finger in range(2, 6):
            curl = level + rng.normal(0, 0.12)
            if level > 0.4 and rng.random() < 0.25:
                curl = rng.uniform(-0.3, 0.2)
            for joint, share in enumerate((1.0, 1.1, 0.7), start=1):
                found[f"finger{finger}-{joint}"] = across * curl * share
        thumb = rng.normal(0.1, 0.2) + 0.3 * max(level, 0)
        for joint, share in enumerate((0.3, 0.8, 0.8), start=1):
            found[f"finger1-{joint}"] = across * thumb * share
        return found


def mirrored(angles: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same pose with left and right exchanged (by the plane x = 0)."""
    other = {"L": "R", "R": "L"}
    flipped = {}
    for name, value in angles.items():
        twin = name[:-1] + other[name[-1]] if name[-1] in other else name
        flipped[twin] = value * [1, -1, -1] if len(value) == 3 else value
    return flipped


def _named(row: np.ndarray) -> dict[str, np.ndarray]:
    ends = np.cumsum(list(SIZES.values()))
    return dict(zip(SIZES, np.split(row, ends[:-1]), strict=True))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
