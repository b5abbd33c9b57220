"""Geometry against the official code's numbers, and the properties that it must have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtpt.core import geometry
from gtpt.core.skeleton import load_skeleton

INPUT = (192, 256)
BODY = load_skeleton("coco17")
pixels = st.floats(-2000, 2000)
lengths = st.floats(1, 2000)


@pytest.fixture(scope="module")
def ops(golden):
    with np.load(golden / "ops.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def matrices(ops):
    center, scale, rotation = ops["affine_cs_rot"][:, :2], ops["affine_cs_rot"][:, 2:4], ops["affine_cs_rot"][:, 4]
    return geometry.affine_matrices(center, scale * 200, INPUT, rotation)


@pytest.mark.integration
def test_crops_of_boxes_are_the_official_ones(ops):
    centers, sizes = geometry.boxes_to_crops(ops["box_xywh"], aspect=0.75)
    np.testing.assert_array_equal(centers, ops["box_center"])
    np.testing.assert_allclose(sizes / 200, ops["box_scale"], rtol=1e-6)


@pytest.mark.integration
def test_affine_maps_are_the_official_ones(ops, matrices):
    np.testing.assert_allclose(matrices, ops["affine"], atol=2e-5)  # theirs go through three float32 points
    np.testing.assert_allclose(geometry.invert_affine(matrices), ops["affine_inv"], atol=2e-5)


@pytest.mark.integration
def test_points_return_to_the_image_as_in_the_official_code(ops):
    maps = geometry.affine_matrices(ops["box_center"], ops["box_scale"] * 200, INPUT)
    points = np.broadcast_to(ops["tp_points"], (len(maps), *ops["tp_points"].shape))
    np.testing.assert_allclose(geometry.transform_points(points, geometry.invert_affine(maps)), ops["tp_out"], atol=1e-9)


@pytest.mark.integration
def test_crops_are_the_official_ones(ops, matrices):
    y, x = np.mgrid[:240, :320]
    image = np.stack([x * 255 / 319, y * 255 / 239, (3 * x + 5 * y) % 256], axis=-1).astype(np.uint8)
    for index, expected in zip(ops["crop_index"], ops["crop_sub8"], strict=True):
        error = np.abs(geometry.crop(image, matrices[index], INPUT)[::8, ::8].astype(int) - expected)
        assert error[..., :2].max() <= 1
        assert (error[..., 2] <= 1).mean() > 0.99  # a sawtooth: at its edges OpenCV versions differ


@pytest.mark.integration
def test_mirrored_joints_are_the_official_ones(ops):
    points, visible = geometry.flip_joints(
        ops["fliplr_in"][:, :2], ops["fliplr_vis_in"][:, 0], int(ops["fliplr_width"]), BODY.flip_index
    )
    np.testing.assert_allclose(points, ops["fliplr_out"][:, :2])
    np.testing.assert_array_equal(visible, ops["fliplr_vis_out"][:, 0])


@pytest.mark.integration
@pytest.mark.parametrize("half", ["upper", "lower"])
@pytest.mark.parametrize(("kind", "name"), [("body", "coco17"), ("wholebody", "coco_wholebody133")])
def test_half_bodies_are_the_official_ones(ops, kind, name, half):
    joints, visible = ops[f"half_{kind}_joints"], ops[f"half_{kind}_vis"]
    center, size = geometry.half_body_crop(
        joints[:, :2], visible[:, 0], load_skeleton(name).lower_body, prefer_upper=half == "upper", aspect=0.75
    )
    np.testing.assert_allclose(center, ops[f"half_{kind}_{half}_center"], rtol=1e-6)
    np.testing.assert_allclose(size / 200, ops[f"half_{kind}_{half}_scale"], rtol=1e-6)


@given(st.tuples(pixels, pixels), st.tuples(lengths, lengths), st.floats(-180, 180), st.tuples(pixels, pixels))
def test_affine_round_trip(center, size, rotation, point):
    matrix = geometry.affine_matrices(np.array([center]), np.array([size]), INPUT, rotation)
    there = geometry.transform_points(np.array([[point, center]]), matrix)
    np.testing.assert_allclose(there[0, 1], (96, 128), atol=1e-6)
    back = geometry.transform_points(there, geometry.invert_affine(matrix))
    np.testing.assert_allclose(back, [[point, center]], atol=1e-6)


def test_positive_rotation_is_counter_clockwise():
    matrix = geometry.affine_matrices(np.zeros((1, 2)), np.array([[192.0, 256]]), INPUT, 90.0)
    right_of_center = geometry.transform_points(np.array([[[10.0, 0]]]), matrix)
    np.testing.assert_allclose(right_of_center, [[[96, 118]]], atol=1e-9)  # now above it


def test_crop_shows_what_the_map_says_and_black_outside():
    image = np.full((100, 100, 3), 50, dtype=np.uint8)
    image[40, 30] = 200, 100, 250
    matrix = geometry.affine_matrices(np.array([[30.0, 40]]), np.array([[192.0, 256]]), INPUT)[0]
    out = np.empty((256, 192, 3), dtype=np.uint8)
    view = geometry.crop(image, matrix, INPUT, out=out)
    assert view is out
    assert view[128, 96].tolist() == [200, 100, 250]
    assert view[0, 0].tolist() == [0, 0, 0]


@given(pixels, pixels, lengths, lengths)
def test_crop_encloses_the_box_with_the_padding(x, y, w, h):
    centers, sizes = geometry.boxes_to_crops(np.array([[x, y, w, h]]), aspect=0.75)
    np.testing.assert_allclose(centers[0], (x + w / 2, y + h / 2), atol=1e-3)
    assert sizes[0, 0] / sizes[0, 1] == pytest.approx(0.75, rel=1e-5)
    np.testing.assert_allclose((sizes[0] / 1.25 / (w, h)).min(), 1, rtol=1e-5)


@given(st.lists(st.tuples(pixels, pixels, lengths, lengths), max_size=4))
def test_corner_form_round_trip(boxes):
    xywh = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    np.testing.assert_allclose(geometry.xyxy_to_xywh(geometry.xywh_to_xyxy(xywh)), xywh, atol=1e-9)


def test_clean_boxes_clip_and_tell_what_is_outside():
    boxes, inside = geometry.clean_boxes([[-10, -20, 60, 70], [90, 10, 50, 20], [200, 10, 5, 5], [5, 5, 0, -3]], (100, 80))
    np.testing.assert_allclose(boxes[:2], [[0, 0, 59, 69], [90, 10, 9, 19]])
    assert inside.tolist() == [True, True, False, True]
    np.testing.assert_allclose(boxes[3], [5, 5, 0, 0])


@given(st.integers(2, 3000), st.integers(0, 2**32 - 1))
def test_flip_twice_is_the_identity(width, seed):
    rng = np.random.default_rng(seed)
    points, visible = rng.uniform(1, width, (17, 2)), rng.integers(0, 2, 17)
    once = geometry.flip_joints(points, visible, width, BODY.flip_index)
    twice, seen = geometry.flip_joints(*once, width, BODY.flip_index)
    np.testing.assert_array_equal(seen, visible)
    np.testing.assert_allclose(twice, points * (visible > 0)[:, None], atol=1e-9)


def test_half_body_falls_back_and_gives_up():
    points = np.arange(34, dtype=np.float64).reshape(17, 2)

    def center(indices, prefer_upper):
        visible = np.isin(np.arange(17), indices).astype(int)
        found = geometry.half_body_crop(points, visible, BODY.lower_body, prefer_upper=prefer_upper, aspect=0.75)
        return None if found is None else found[0].tolist()

    assert center([0, 1, 2, 14, 15, 16], True) == points[:3].mean(0).tolist()
    assert center([0, 1, 2, 14, 15, 16], False) == points[14:].mean(0).tolist()
    assert center([0, 1, 14, 15, 16], True) == points[14:].mean(0).tolist()  # the upper half has too few
    assert center([0, 1, 2, 15, 16], False) == points[:3].mean(0).tolist()  # the lower half has too few
    assert center([0, 1, 15, 16], False) == points[:2].mean(0).tolist()
    assert center([0], True) is None
