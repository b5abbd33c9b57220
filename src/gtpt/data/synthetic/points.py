"""Where keypoints lie on the body: the 17 of COCO, 6 of the feet, 68 of the face (iBUG's order) and 21 of each hand."""

from __future__ import annotations

import numpy as np

from gtpt.core.errors import InputError
from gtpt.core.skeleton import Skeleton
from gtpt.data.synthetic.body import Body

DEPTH = {"nose": 0.03, "eye": 0.03, "ear": 0.06, "shoulder": 0.14, "elbow": 0.10, "wrist": 0.07, "hip": 0.19, "knee": 0.12,
         "ankle": 0.09, "toe": 0.06, "heel": 0.08}  # fmt: skip
FACE_DEPTH, HAND_DEPTH = 0.025, 0.03
FINGERS = ("thumb", "index", "middle", "ring", "pinky")


class Points:
    """Keypoints as weighted means of vertices and of the places where bones begin.

    Args:
        body: their body.
        skeleton: any whose keypoints bear the names of `coco_wholebody133`, in any order and choice.

    Attributes:
        depth: (K,) metres that a point may lie behind the surface and still be seen: it is inside the limb.
        parts: (K,) 0 body and feet, 1 face, 2 left hand, 3 right hand.

    Raises:
        InputError: the skeleton has keypoints that this body has not.
    """

    def __init__(self, body: Body, skeleton: Skeleton):
        known = _all_points(body)
        if missing := [name for name in skeleton.keypoints if name not in known]:
            raise InputError(
                f"{skeleton.name} has keypoints that synthetic people have not: {', '.join(missing[:6])}"
                f"{' ...' if len(missing) > 6 else ''}; known are those of coco_wholebody133"
            )
        rows, self.depth, self.parts = [], np.zeros(len(skeleton)), np.zeros(len(skeleton), dtype=int)
        for k, name in enumerate(skeleton.keypoints):
            row, self.depth[k], self.parts[k] = known[name]
            rows.append(row)
        weights = np.stack(rows)
        self.used = np.flatnonzero(weights.any(0))
        self.weights = weights[:, self.used]

    def __call__(self, vertices: np.ndarray, bone_heads: np.ndarray) -> np.ndarray:
        """(V, 3) vertices and (B, 3) starts of bones -> (K, 3) in their frame."""
        return self.weights @ np.concatenate([vertices, bone_heads])[self.used]


def _all_points(body: Body) -> dict[str, tuple[np.ndarray, float, int]]:
    """Weights over vertices and bones, depth and part of every keypoint that the body has, by name."""
    count = len(body.rest) + len(body.bones)
    found = {}
    for name, weights in zip(body.regressed, body.regressor, strict=True):
        row = np.zeros(count)
        row[: len(weights)] = weights
        found[name] = row, DEPTH[name.rsplit("_", 1)[-1]], 0
    for i, vertices in enumerate(face_vertices(body)):
        row = np.zeros(count)
        row[vertices] = 1 / len(vertices)
        found[f"face_{i}"] = row, FACE_DEPTH, 1
    for part, side in ((2, "left"), (3, "right")):
        letter = side[0].upper()
        names = [f"{side}_hand_wrist", *(f"{side}_hand_{finger}_{joint}" for finger in FINGERS for joint in (1, 2, 3, 4))]
        for name, row in zip(names, _hand(body, letter, count), strict=True):
            found[name] = row, HAND_DEPTH, part
    return found


def _hand(body: Body, side: str, count: int) -> list[np.ndarray]:
    """Root, then four points per finger from its root to its tip."""

    def at_bone(name: str) -> np.ndarray:
        row = np.zeros(count)
        row[len(body.rest) + body.bones.index(name)] = 1
        return row

    rows = [at_bone(f"wrist.{side}")]
    for finger in range(1, 6):
        rows += [at_bone(f"finger{finger}-{joint}.{side}") for joint in (1, 2, 3)]
        last = body.bones.index(f"finger{finger}-3.{side}")
        before = body.bones.index(f"finger{finger}-2.{side}")
        mine = np.flatnonzero((body.weights[:, last] > 0.5) & (np.arange(len(body.rest)) < body.skin.stop))
        reach = (body.rest[mine] - body.bone_heads[last]) @ (body.bone_heads[last] - body.bone_heads[before])
        tip = mine[np.argsort(reach)[-12:]]
        row = np.zeros(count)
        row[tip] = 1 / len(tip)
        rows.append(row)
    return rows


def face_vertices(body: Body) -> list[list[int]]:
    """The vertices whose mean is each of the 68 points, the person's right side first as in iBUG's order.

    Found on the left half of the mean face, mirrored to the right.
    """
    rest, skin = body.rest, np.arange(len(body.rest)) < body.skin.stop
    outer = skin & (body.bone_share("head") > 0.3) & (body.mask("mpfb_inside-mouth.jpg") < 0.5)
    facing = body.normals(rest[None])[0][:, 1] < 0.35
    front = np.flatnonzero(outer & facing & (rest[:, 1] < -0.03) & (rest[:, 0] > -0.002))

    def nearest(x: float, z: float) -> int:
        """The skin vertex at a place in the front view."""
        return int(front[np.argmin(np.hypot(rest[front, 0] - x, rest[front, 2] - z) + 0.02 * (rest[front, 1] + 0.15))])

    jaw = [_outline(body, angle) for angle in np.radians(np.linspace(12, -90, 9))]
    brow = [nearest(x, 0.6725 - 0.006 * ((x - 0.036) / 0.024) ** 2) for x in (0.058, 0.047, 0.036, 0.025, 0.015)]
    profile = front[np.abs(rest[front, 0]) < 0.002]
    tip = profile[np.argmin(rest[profile, 1])]
    bridge = [
        int(profile[np.argmin(np.abs(rest[profile, 2] - z) + 0.3 * (rest[profile, 1] + 0.15))])
        for z in np.linspace(0.653, rest[tip, 2], 4)
    ]
    base = [nearest(x, rest[tip, 2] - below) for x, below in ((0.0145, 0.005), (0.0075, 0.007), (0.0, 0.008))]
    upper, lower = (_lid(body, row) for row in ("2", "1"))
    corners = [max(upper + lower, key=lambda v: rest[v, 0]), min(upper + lower, key=lambda v: rest[v, 0])]
    span = rest[corners[1], 0] - rest[corners[0], 0]

    def on_lid(row: list[int], part: float) -> int:
        return min(row, key=lambda v: abs(rest[v, 0] - rest[corners[0], 0] - part * span))

    eye = [corners[0], on_lid(upper, 0.33), on_lid(upper, 0.67), corners[1], on_lid(lower, 0.67), on_lid(lower, 0.33)]
    lips = _lips(body)
    half = {
        **dict(enumerate(jaw)), **{17 + i: v for i, v in enumerate(brow)}, **{27 + i: v for i, v in enumerate(bridge)},
        **{31 + i: v for i, v in enumerate(base)}, **{36 + i: v for i, v in enumerate(eye)}, **lips,
    }  # fmt: skip
    mirror = body.mirror
    points: list[list[int]] = [[] for _ in range(68)]
    for i, vertex in half.items():
        points[i], points[MIRRORED[i]] = [int(mirror[vertex])], [int(vertex)]
        if MIRRORED[i] == i:
            points[i] = sorted({int(vertex), int(mirror[vertex])})
    return points


MIRRORED = [
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
]  # fmt: skip


def _outline(body: Body, angle: float) -> int:
    """The vertex of the face's edge in a direction of the front view, from the middle between nose and ears."""
    rest = body.rest
    face = (
        (np.arange(len(rest)) < body.skin.stop)
        & (body.mask("mpfb_ears.jpg") < 0.5)
        & (body.mask("mpfb_inside-mouth.jpg") < 0.5)
    )
    face &= (rest[:, 0] > -0.002) & (rest[:, 1] < -0.035) & (body.bone_share("head") > 0.8)
    offset = rest[:, [0, 2]] - [0.0, 0.625]
    direction = np.array([np.cos(angle), np.sin(angle)])
    along, aside = offset @ direction, offset @ [-direction[1], direction[0]]
    near = face & (along > 0) & (np.abs(aside) < 0.006)
    candidates = np.flatnonzero(near)
    return int(candidates[np.argmax(along[candidates] - 0.15 * (rest[candidates, 1] + 0.1))])


def _lid(body: Body, row: str) -> list[int]:
    """Skin vertices at the roots of a row of lashes of the left eye."""
    lashes = body.groups[f"helper-l-eyelashes-{row}"]
    center = body.rest[body.groups["helper-l-eye"]].mean(0)
    distance = np.linalg.norm(body.rest[lashes] - center, axis=1)
    roots = lashes[distance < np.quantile(distance, 0.4)]
    skin = body.groups["body"]
    return sorted({int(skin[np.argmin(np.linalg.norm(body.rest[skin] - body.rest[root], axis=1))]) for root in roots})


def _lips(body: Body) -> dict[int, int]:
    """Outer and inner edge of the left half of the lips: points 48 to 51, 57 to 62, 66 and 67 as their mirror images."""
    rest = body.rest
    mask = (body.mask("mpfb_lips.jpg") > 0.35) & (np.arange(len(rest)) < body.skin.stop) & (rest[:, 0] > -0.002)
    lips = np.flatnonzero(mask & (rest[:, 1] < -0.09))
    moved = body.moved_by("jawOpen")[lips, 2]
    low = moved < 0.5 * moved.min()
    corner = lips[np.argmax(rest[lips, 0])]
    width = rest[corner, 0]

    def pick(side: np.ndarray, x: float, sign: float) -> int:
        column = side[np.abs(rest[side, 0] - x * width) < 0.12 * width]
        return int(column[np.argmax(sign * rest[column, 2])])

    upper, lower = lips[~low], lips[low]
    inner = lips[rest[lips, 0] < 0.82 * width]
    inside = inner[np.argmax(rest[inner, 0] - 3 * np.abs(rest[inner, 2] - rest[corner, 2]))]
    return {
        48: int(corner), 49: pick(upper, 0.62, 1), 50: pick(upper, 0.27, 1), 51: pick(upper, 0.0, 1),
        57: pick(lower, 0.0, -1), 58: pick(lower, 0.3, -1), 59: pick(lower, 0.65, -1),
        60: int(inside), 61: pick(upper, 0.4, -1), 62: pick(upper, 0.0, -1),
        66: pick(lower, 0.0, 1), 67: pick(lower, 0.4, 1),
    }  # fmt: skip
