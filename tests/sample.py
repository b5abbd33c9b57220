"""Poses to test with: random but plausible, the same for the same seed."""

import numpy as np

from gtpt import Poses, load_skeleton


def make_poses(people=3, skeleton="coco17", seed=0, image_size=(640, 480), ids=None) -> Poses:
    skeleton = load_skeleton(skeleton)
    joints = len(skeleton)
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 200, (people, 2))
    return Poses(
        boxes=np.concatenate([corners, corners + rng.uniform(20, 250, (people, 2))], axis=1),
        scores=rng.uniform(0.1, 1, people),
        keypoints=rng.uniform(-20, 660, (people, joints, 2)),
        keypoint_scores=rng.uniform(0, 1, (people, joints)),
        raw_scores=rng.uniform(0, 0.1, (people, joints)),
        ids=np.arange(people) - 1 if ids is None else ids,
        image_size=image_size,
        skeleton=skeleton,
    )


def assert_same(a: Poses, b: Poses) -> None:
    assert a.skeleton == b.skeleton and a.image_size == b.image_size
    for name in ("boxes", "scores", "keypoints", "keypoint_scores", "raw_scores", "ids"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
