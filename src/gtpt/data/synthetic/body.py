"""The body: anny's mesh with the clothing helpers that MakeHuman ships inside its base mesh, posed in batches."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.extras import require

LASHES = tuple(f"helper-{side}-eyelashes-{row}" for side in "lr" for row in "12")
SHELLS = ("helper-tights", "helper-skirt", "helper-hair", "helper-upper-teeth", "helper-lower-teeth", *LASHES)


@dataclass(frozen=True)
class Shape:
    """Build of one person, each in anny's own unit interval (see `anny.Anny.phenotype_labels`)."""

    phenotype: np.ndarray  # (6,)
    local: np.ndarray  # (local changes,) in [-1, 1]
    face: np.ndarray  # (facial actions,) in [0, 1]


class Body:
    """One body model for all people; vertices in metres, x to the person's left, y to the back, z up (z = 0 at the hips).

    Raises:
        MissingExtraError: the extra `synthetic` is missing.
    """

    def __init__(self) -> None:
        anny = require("anny", "synthetic")
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model: Any = anny.Anny(
                topology="anny-full", local_changes="default", facial_actions="all", skinning_method="lbs"
            ).to(dtype=torch.float32)
        from anny.keypoints import KeypointsRegressor

        self.bones: list[str] = list(self.model.bone_labels)
        self.parents = np.array(self.model.bone_parents)
        regressor = KeypointsRegressor.coco(self.model)
        self.regressor = regressor.regression_weights.numpy()
        self.regressed: list[str] = list(regressor.labels)
        with torch.inference_mode():
            rest = self.model()
        self.rest = rest["vertices"][0].numpy()  # mean build in the reference pose
        self.head_rest = rest["bone_poses"][0, self.bones.index("head"), :3, :3].numpy()
        self.bone_heads = rest["bone_poses"][0, :, :3, 3].numpy()
        self.weights = self.model.dense_vertex_bone_weights.numpy()  # (V, bones)

    def pose(self, rotations: np.ndarray, shapes: list[Shape]) -> tuple[np.ndarray, np.ndarray]:
        """Vertices of people.

        Args:
            rotations: (N, bones, 3, 3) of each bone from its place in the reference pose, in the axes of that pose.
            shapes: N builds.

        Returns:
            (N, V, 3) float32 vertices, (N, bones, 4, 4) frames of the bones.
        """
        import torch

        count = len(rotations)
        transforms = torch.eye(4).repeat(count, len(self.bones), 1, 1)
        transforms[:, :, :3, :3] = torch.from_numpy(rotations.astype(np.float32))

        def stack(values: list[np.ndarray]) -> Any:
            return torch.from_numpy(np.stack(values).astype(np.float32))

        with torch.inference_mode():
            out = self.model(
                pose_parameters=transforms,
                phenotype_kwargs=stack([s.phenotype for s in shapes]),
                local_changes_kwargs=stack([s.local for s in shapes]),
                facial_actions=stack([s.face for s in shapes]),
            )
        return out["vertices"].numpy(), out["bone_poses"].numpy()

    @cached_property
    def groups(self) -> dict[str, np.ndarray]:
        """Vertex ids by MakeHuman's group names."""
        raw = json.loads((_data() / "mesh_metadata" / "basemesh_vertex_groups.json").read_text())
        return {name: np.concatenate([np.arange(a, b + 1) for a, b in runs]) for name, runs in raw.items()}

    @cached_property
    def triangles(self) -> dict[str, np.ndarray]:
        """(T, 3) triangles of "body" (skin, eyes, mouth) and of each shell."""
        found: dict[str, list[list[int]]] = {name: [] for name in SHELLS}
        current = ""
        for line in (_data() / "3dobjs" / "base.obj").read_text().splitlines():
            if line.startswith("g "):
                current = line[2:].strip()
            elif line.startswith("f ") and current in found:
                quad = [int(corner.split("/")[0]) - 1 for corner in line.split()[1:]]
                found[current] += [[quad[0], quad[i], quad[i + 1]] for i in range(1, len(quad) - 1)]
        return {"body": self.model.faces.numpy(), **{name: np.array(faces) for name, faces in found.items()}}

    @cached_property
    def all_triangles(self) -> np.ndarray:
        return np.concatenate(list(self.triangles.values()))

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """(N, V, 3) unit normals."""
        import torch

        points, faces = torch.from_numpy(vertices), torch.from_numpy(self.all_triangles)
        corners = points[:, faces]
        cross = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
        normals = torch.zeros_like(points)
        for corner in range(3):
            normals.index_add_(1, faces[:, corner], cross)
        return torch.nn.functional.normalize(normals, dim=-1, eps=1e-12).numpy()

    @cached_property
    def mirror(self) -> np.ndarray:
        """(V,) the vertex on the other side of the body."""
        import torch

        points = torch.from_numpy(self.rest)
        other = points * torch.tensor([-1.0, 1.0, 1.0])
        return torch.cat([torch.cdist(part, points).argmin(1) for part in other.split(2048)]).numpy()

    def moved_by(self, action: str) -> np.ndarray:
        """(V, 3) how a facial action at full strength moves the mean face."""
        shape = Shape(
            np.full(len(self.model.phenotype_labels), 0.5),
            np.zeros(len(self.model.local_change_labels)),
            np.array([float(name == action) for name in self.model.facial_action_labels]),
        )
        still = Shape(shape.phenotype, shape.local, 0 * shape.face)
        moved, rest = self.pose(np.tile(np.eye(3), (2, len(self.bones), 1, 1)), [shape, still])[0]
        return moved - rest

    def mask(self, name: str) -> np.ndarray:
        """(V,) values in [0, 1] of one of MakeHuman's masks at each vertex."""
        import cv2

        image = cv2.imread(str(_data() / "textures" / name), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        place = np.zeros((len(self.rest), 2))
        texture = self.model.texture_coordinates.numpy()
        place[self.model.faces.numpy().ravel()] = texture[self.model.face_texture_coordinate_indices.numpy().ravel()]
        rows = ((1 - place[:, 1]) * image.shape[0]).astype(int).clip(0, image.shape[0] - 1)
        columns = (place[:, 0] * image.shape[1]).astype(int).clip(0, image.shape[1] - 1)
        return image[rows, columns] / 255.0

    @cached_property
    def skin(self) -> slice:
        """Vertices of the skin; eyes and shells come after them."""
        return slice(0, int(self.groups["body"][-1]) + 1)

    @cached_property
    def arm(self) -> np.ndarray:
        """(V,) place along an arm: 0 at the shoulder, 1 at the wrist, -1 elsewhere on the body."""
        return self._along(("upperarm01", "lowerarm01", "wrist"), ("upperarm", "lowerarm", "wrist", "finger", "metacarpal"))

    @cached_property
    def leg(self) -> np.ndarray:
        """(V,) place along a leg: 0 at the hip, 1 at the ankle, -1 elsewhere on the body."""
        return self._along(("upperleg01", "lowerleg01", "foot"), ("upperleg", "lowerleg", "foot", "toe"))

    @cached_property
    def front(self) -> np.ndarray:
        """(V,) bool, the front of the head."""
        return self.rest[:, 1] < -0.05

    @cached_property
    def parts(self) -> dict[str, np.ndarray]:
        """(T, 3) triangles to draw by name: the shells, and the skin without what nobody sees inside the mouth, cut into
        "body" and "feet", with "eyes" apart; "scalp" and "head" are parts of "body" again."""
        parts = dict(self.triangles)
        skin = parts["body"]
        eyes = np.isin(skin, np.concatenate([self.groups["helper-l-eye"], self.groups["helper-r-eye"]])).all(1)
        inner = self.mask("mpfb_inside-mouth.jpg") > 0.5
        inner[self.groups["helper-tongue"]] = True
        foot = (self.leg > 1.02)[skin].all(1)
        seen = ~inner[skin].any(1) & ~eyes
        parts |= {"eyes": skin[eyes], "feet": skin[seen & foot], "body": skin[seen & ~foot]}
        height, back = self.rest[:, 2], self.rest[:, 1]
        parts["head"] = parts["body"][(height > 0.53)[parts["body"]].all(1)]
        hairy = (self.bone_share("head", "neck02", "neck03") > 0.5) & (height > 0.55) & ((back > -0.07) | (height > 0.66))
        parts["scalp"] = parts["body"][hairy[parts["body"]].all(1)]
        return parts

    def bone_share(self, *prefixes: str) -> np.ndarray:
        """(V,) share of the bones whose names start like this in a vertex."""
        chosen = [i for i, name in enumerate(self.bones) if name.startswith(prefixes)]
        return self.weights[:, chosen].sum(1)

    def _along(self, joints: tuple[str, ...], prefixes: tuple[str, ...]) -> np.ndarray:
        """Place along either limb as a part of its length, -1 where its bones have less than half of a vertex."""
        return np.maximum(*(self._along_one([f"{j}.{s}" for j in joints], [f"{p}" for p in prefixes], s) for s in "LR"))

    def _along_one(self, joints: list[str], prefixes: list[str], side: str) -> np.ndarray:
        points = self.bone_heads[[self.bones.index(name) for name in joints]]
        lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        nearest, place = np.full(len(self.rest), np.inf), np.zeros(len(self.rest))
        for i, length in enumerate(lengths):
            axis = (points[i + 1] - points[i]) / length
            along = (self.rest - points[i]) @ axis
            inside = np.clip(along, 0, length)
            distance = np.linalg.norm(self.rest - points[i] - inside[:, None] * axis, axis=1)
            closer = distance < nearest
            nearest[closer] = distance[closer]
            open_ended = np.clip(along, 0 if i else -np.inf, np.inf if i == len(lengths) - 1 else length)
            place[closer] = starts[i] + open_ended[closer]
        mine = [i for i, name in enumerate(self.bones) if name.startswith(tuple(prefixes)) and name.endswith(side)]
        return np.where(self.weights[:, mine].sum(1) > 0.5, place / starts[-1], -1.0)


def _data() -> Path:
    from anny.paths import get_anny_root_dir

    return Path(get_anny_root_dir()) / "data" / "mpfb2"
