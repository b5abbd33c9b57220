"""Geometry against the official code's numbers, and the properties that it must have."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

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
    assert center([0], True) is None and center([], False) is None


# --- in numbers, by hand ---


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_turn_upright_as_pillow_turns_them(orientation):
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "PNG", exif=exif)
    upright = geometry.turn_upright(image, orientation)
    np.testing.assert_array_equal(upright, np.asarray(ImageOps.exif_transpose(Image.open(stored))))
    np.testing.assert_array_equal(geometry.turn_back(upright, orientation), image)
    assert upright.flags.c_contiguous and (upright is image) == (orientation == 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_their_picture(orientation):
    boxes = np.array([[3, 5, 10, 7], [0, 0, 20, 30], [19, 0, 20, 30]])
    turned = geometry.turn_boxes(boxes, orientation, (20, 30))
    for box, expected in zip(boxes, turned, strict=True):
        image = np.zeros((30, 20), bool)
        image[box[1] : box[3], box[0] : box[2]] = True
        rows, columns = np.nonzero(geometry.turn_upright(image, orientation))
        assert expected.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert geometry.turn_boxes([], orientation, (20, 30)).shape == (0, 4)


@pytest.mark.parametrize(
    ("stated", "orientation", "stored", "sure"),
    [
        ((40, 30), 1, True, True),
        (None, 1, True, True),  # nothing to choose from
        ((40, 30), 6, True, True),
        ((30, 40), 6, False, True),
        ((40, 30), 3, True, False),  # upside down has the same size
        ((50, 30), 8, True, False),
        (None, 6, True, False),
    ],
)
def test_the_stated_size_tells_which_pixels_are_meant(stated, orientation, stored, sure):
    meant = geometry.meant_pixels(stated, (40, 30), orientation)
    assert meant.stored == stored and (meant.doubt == "") == sure


def test_of_a_square_picture_nobody_can_know_which_pixels_are_meant():
    meant = geometry.meant_pixels((40, 40), (40, 40), 6)
    assert meant.stored and meant.doubt


def test_boxes_are_clipped_each_to_its_own_image():
    boxes, inside = geometry.clean_boxes(
        np.array(
            [[-4.5, 2, 10, 10], [60, 60, 10, 10], [1, 1, 0.5, 0.25], [9, 9, 5, 5], [10, 9, 5, 5], [9, 10, 5, 5]], np.int64
        ),
        (np.array([100, 64, 100, 10, 10, 10]), np.array([100, 62, 100, 10, 10, 10])),
    )
    assert boxes[:4].tolist() == [[0, 2, 9, 9], [60, 60, 3, 1], [1, 1, 0, 0], [9, 9, 0, 0]]
    assert inside.tolist() == [True, True, True, True, False, False]
    assert boxes.dtype == np.float64


@pytest.mark.parametrize(("size", "fitted"), [((30, 20), (30, 40)), ((30, 80), (60, 80)), ((60, 80), (60, 80))])
def test_a_size_grows_to_the_aspect(size, fitted):
    assert geometry.fit_aspect(np.array([[size]]), 0.75).tolist() == [[list(fitted)]]


def test_crops_of_boxes_by_hand():
    centers, sizes = geometry.boxes_to_crops([10, 20, 60, 40], 0.75)
    assert centers.tolist() == [[40, 40]] and sizes.tolist() == [[75, 100]]
    assert centers.dtype == sizes.dtype == np.float32
    assert geometry.boxes_to_crops([[10, 20, 30, 80]], 0.75, padding=2)[1].tolist() == [[120, 160]]


def test_only_the_width_of_a_size_sets_the_scale():
    (matrix,) = geometry.affine_matrices(np.array([10.0, 20]), np.array([96.0, 1]), INPUT)
    assert matrix.tolist() == [[2, 0, 76], [0, 2, 88]]
    assert geometry.affine_matrices(np.float32([0, 0]), np.float32([100, 1]), INPUT)[0, 0, 0] == 1.92  # in float64
    turned = geometry.affine_matrices([[0, 0], [0, 0]], [[192, 256], [192, 256]], INPUT, np.array([0, 30]))
    np.testing.assert_allclose(turned[:, 0, :2], [[1, 0], [np.sqrt(3) / 2, 0.5]])
    np.testing.assert_allclose(turned[1, 1], [-0.5, np.sqrt(3) / 2, 128])


def test_crops_between_pixels_are_mixed():
    image = np.zeros((4, 4, 3), np.uint8)
    image[1, 1], image[1, 2] = 100, 200
    shifted = geometry.crop(image, np.array([[1, 0, -0.25], [0, 1, 0.0]]), (4, 4))
    assert shifted[1, :, 0].tolist() == [25, 125, 150, 0]
    assert geometry.crop(image, np.eye(2, 3), (6, 5)).shape == (5, 6, 3)


def test_mirrored_joints_by_hand():
    points, visible = geometry.flip_joints(
        np.array([[0.0, 5], [7, 6], [9, 1]]), np.array([1, 0.25, 0]), 10, np.array([1, 0, 2])
    )
    assert points.tolist() == [[2, 6], [9, 5], [0, 0]] and visible.tolist() == [0.25, 1, 0]


def test_mirrored_crops_swap_columns_alone():
    crops = np.arange(2 * 2 * 3 * 3).reshape(2, 2, 3, 3)
    mirrored = geometry.mirror_crops(crops)
    assert mirrored[1, 0].tolist() == crops[1, 0, [2, 1, 0]].tolist() and mirrored.flags.c_contiguous


def test_the_size_of_a_half_body():
    """Two joints 10 and 40 pixels apart: 40 high, 30 wide, half as much again."""
    points = np.zeros((17, 2))
    points[[0, 1]] = [[100, 200], [110, 240]]
    visible = np.zeros(17)
    visible[[0, 1]] = 0.5
    center, size = geometry.half_body_crop(points, visible, BODY.lower_body, prefer_upper=True, aspect=0.75)
    assert center.tolist() == [105, 220] and size.tolist() == [45, 60]
    assert center.dtype == size.dtype == np.float32
    points[1] = [100.9, 200.9]  # joints in one place show nothing
    assert geometry.half_body_crop(points, visible, BODY.lower_body, prefer_upper=True, aspect=0.75) is None
    points[1] = [100, 201]
    assert geometry.half_body_crop(points, visible, BODY.lower_body, prefer_upper=True, aspect=0.75) is not None
