from __future__ import annotations

import numpy as np
import pytest

from gtpt import Poses, load_skeleton
from gtpt.core.errors import InputError
from gtpt.core.poses import ARRAYS

BODY = load_skeleton("coco17")


@pytest.fixture
def poses():
    rng = np.random.default_rng(0)
    return Poses(
        boxes=np.sort(rng.uniform(0, 100, (3, 2, 2)), axis=1).reshape(3, 4),
        scores=[0.9, 0.8, 0.7],
        keypoints=rng.uniform(0, 100, (3, 17, 2)),
        keypoint_scores=rng.random((3, 17)),
        raw_scores=rng.random((3, 17)) / 10,
        ids=[4, 5, 6],
        image_size=(640, 480),
        skeleton=BODY,
    )


def test_arrays_have_the_promised_types(poses):
    assert poses.ids.dtype == np.int64
    assert {getattr(poses, n).dtype for n in ("boxes", "scores", "keypoints", "keypoint_scores", "raw_scores")} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize(
    ("index", "ids"),
    [
        (0, [4]),
        (-3, [4]),
        (np.int64(1), [5]),
        (slice(1, None), [5, 6]),
        ([2, 0], [6, 4]),
        ((2, 0), [6, 4]),
        (np.array([True, False, True]), [4, 6]),
        ([True, False, False], [4]),
        ([], []),
        (np.zeros(3, dtype=bool), []),
    ],
)
def test_indexing_takes_everything_along(poses, index, ids):
    some = poses[index]
    assert some.ids.tolist() == ids
    np.testing.assert_array_equal(some.keypoints, poses.keypoints[[i - 4 for i in ids]])
    assert len(some) == len(ids) and some.image_size == (640, 480)


def test_iteration_and_index_errors(poses):
    assert [p.ids.tolist() for p in poses] == [[4], [5], [6]]
    for outside in (3, -4):
        with pytest.raises(IndexError, match=f"person {outside} of 3"):
            poses[outside]


def test_nobody_is_a_legal_result():
    nobody = Poses.empty((64, 48), BODY)
    assert len(nobody) == 0 and list(nobody) == [] and nobody.keypoints.shape == (0, 17, 2)
    assert repr(nobody) == "Poses(0 people, coco17, image 64x48)"
    assert len(nobody[nobody.scores > 0.5]) == 0


def test_repr_says_who(poses):
    assert repr(poses) == "Poses(3 people, coco17, image 640x480, ids [4, 5, 6])"
    assert repr(poses.with_(ids=[4, -1, 6])) == "Poses(3 people, coco17, image 640x480)"
    assert repr(poses[0].with_(ids=[-1])) == "Poses(1 person, coco17, image 640x480)"


@pytest.mark.parametrize("name", ["boxes", "scores", "keypoints", "keypoint_scores", "raw_scores", "ids"])
def test_wrong_shapes_are_named(poses, name):
    with pytest.raises(ValueError, match=rf"Poses\.{name} must have shape \(3,.*3 people, 17 keypoints.*got \(3, 5\)"):
        poses.with_(**{name: np.zeros((3, 5))})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [0.1, 7, 9]}, r"Poses\.scores\[1\] is 7\.0, allowed are numbers in \[0, 1\]"),
        ({"scores": [-0.1, 0, 0]}, r"Poses\.scores\[0\] is -0\.1"),
        ({"keypoint_scores": np.full((3, 17), 9.0)}, r"Poses\.keypoint_scores\[0, 0\] is 9\.0, allowed are numbers in"),
        ({"raw_scores": np.full((3, 17), np.inf)}, r"Poses\.raw_scores\[0, 0\] is inf, allowed are finite"),
        (
            {"boxes": [[0, 0, 5, 5], [0, 0, -5, 5], [0] * 4]},
            r"Poses\.boxes\[1\] is \[0\.0, 0\.0, -5\.0, 5\.0\], allowed are x1",
        ),
        ({"boxes": [[0, 6, 5, 5]] * 3}, r"Poses\.boxes\[0\] is .*y1 <= y2"),
        ({"boxes": [[0, 0, 5, 5], [0]]}, r"Poses\.boxes must be an array of x1, y1, x2, y2"),
        ({"boxes": None}, r"Poses\.boxes must have shape"),
        ({"keypoints": "points"}, r"Poses\.keypoints must be an array of numbers"),
        ({"ids": [1, 1.7, 2]}, r"Poses\.ids must be an array of whole numbers, -1 \(none\) or more, got 1\.7"),
        ({"ids": [1, np.nan, 2]}, r"Poses\.ids must be an array of whole numbers.*got nan"),
        ({"ids": [1, None, 2]}, r"Poses\.ids must be an array of whole numbers"),
        ({"ids": [1, 2**64, 2]}, r"Poses\.ids must be an array of whole numbers"),
        ({"ids": [1, -7, 2]}, r"Poses\.ids\[1\] is -7, allowed are whole numbers, -1"),
        ({"image_size": (-1, 0)}, r"Poses\.image_size must be width, height .*got \(-1, 0\)"),
        ({"image_size": 5}, r"Poses\.image_size must be .*got 5"),
        ({"image_size": (640, 480, 3)}, r"Poses\.image_size must be .*got \(640, 480, 3\)"),
        ({"image_size": (640.5, 480)}, r"Poses\.image_size must be"),
        ({"image_size": (2**31, 480)}, r"Poses\.image_size must be"),
        ({"skeleton": "coco17"}, r"Poses\.skeleton must be a Skeleton .*got 'coco17'"),
    ],
)
def test_values_out_of_range_are_named(poses, change, message):
    with pytest.raises(ValueError, match=message):
        poses.with_(**change)


@pytest.mark.parametrize("name", ["boxes", "scores", "keypoints", "keypoint_scores", "raw_scores"])
def test_nan_stands_for_what_is_not_known(poses, name):
    unknown = poses.with_(**{name: np.full_like(getattr(poses, name), np.nan)})
    assert np.isnan(getattr(unknown, name)).all()


def test_ends_of_the_ranges_are_legal(poses):
    ones = np.ones((3, 17))
    edge = poses.with_(
        scores=[0, 1, 1 + 1e-12],  # 1 in float32
        keypoint_scores=ones,
        raw_scores=-5 * ones,
        boxes=[[3, 4, 3, 4]] * 3,
        ids=[-1.0, 0.0, 2.0],
        image_size=np.array([0, 480]),
    )
    assert edge.ids.tolist() == [-1, 0, 2] and edge.image_size == (0, 480)
    assert all(type(side) is int for side in edge.image_size)


def test_changed_copy_leaves_the_original(poses):
    before = poses.keypoints.copy()
    moved = poses.with_(keypoints=poses.keypoints + 1)
    np.testing.assert_array_equal(poses.keypoints, before)
    np.testing.assert_allclose(moved.keypoints - before, 1, atol=1e-4)
    np.testing.assert_array_equal(moved.ids, poses.ids)


def test_arrays_are_copies(poses) -> None:
    arrays = {name: getattr(poses, name).copy() for name in ARRAYS}
    poses = poses.with_(**arrays)
    before = poses.to_dict()
    for array in arrays.values():
        array += 1
    assert poses.to_dict() == before


@pytest.mark.parametrize(
    "data",
    [
        0,
        None,
        "{}",
        {"image_size": [10**400, 1], "skeleton": "coco17", "people": []},
        {
            "image_size": [1, 1],
            "skeleton": "coco17",
            "people": [
                {"id": 1, "box": [10**400] * 4, "score": 1, "keypoints": [[0, 0, 0]] * 17, "raw_scores": [0] * 17},
            ],
        },
        {
            "image_size": [1, 1],
            "skeleton": "coco17",
            "people": [
                {"id": 10**400, "box": [0] * 4, "score": 1, "keypoints": [[0, 0, 0]] * 17, "raw_scores": [0] * 17},
            ],
        },
    ],
)
def test_poses_of_a_stranger_are_refused_in_one_way(data):
    with pytest.raises(InputError):
        Poses.from_dict(data)
