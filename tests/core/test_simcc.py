"""SimCC targets, decoding and flip fusion against the official code's numbers, and their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtpt.core import geometry, simcc
from gtpt.core.skeleton import load_skeleton

INPUT = (192, 256)
SKELETONS = [("body", "coco17"), ("wholebody", "coco_wholebody133")]


@pytest.fixture(scope="module")
def ops(golden):
    with np.load(golden / "ops.npz") as arrays:
        return dict(arrays)


@pytest.mark.integration
def test_targets_are_the_official_ones(ops):
    joints, visible = ops["simcc_joints"][:, :2], ops["simcc_vis"][:, 0]
    x, y, weights = simcc.encode(joints, visible, INPUT)
    np.testing.assert_allclose(x, ops["simcc_target_x"], atol=1e-8)
    np.testing.assert_allclose(y, ops["simcc_target_y"], atol=1e-8)
    np.testing.assert_array_equal(weights, ops["simcc_weight"][:, 0])


def softmax(logits):
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


def flip_case(name):
    """The logits of README's recipe: a crop and its mirror image."""
    skeleton = load_skeleton(name)
    rng = np.random.default_rng(2000 + len(skeleton))
    draws = [(3 * rng.standard_normal((2, len(skeleton), bins))).astype(np.float32) for bins in (384, 512, 384, 512)]
    return simcc.fuse_flip((draws[0], draws[1]), (draws[2], draws[3]), skeleton.flip_index)


@pytest.mark.integration
@pytest.mark.parametrize(("kind", "name"), SKELETONS)
def test_flip_test_and_decoding_are_the_official_ones(ops, kind, name):
    x, y = flip_case(name)
    coords, scores = simcc.decode(x, y)
    np.testing.assert_array_equal(coords, ops[f"flip_{kind}_coords"])
    np.testing.assert_allclose(scores, ops[f"flip_{kind}_score"], atol=1e-7)
    np.testing.assert_allclose(softmax(x[1, 5]), ops[f"flip_{kind}_px_row"], atol=1e-7)
    np.testing.assert_allclose(softmax(y[1, 5]), ops[f"flip_{kind}_py_row"], atol=1e-7)
    crops = geometry.affine_matrices(ops[f"flip_{kind}_center"], ops[f"flip_{kind}_scale"] * 200, INPUT)
    image = geometry.transform_points(coords, geometry.invert_affine(crops))
    np.testing.assert_allclose(image, ops[f"flip_{kind}_image"], atol=2e-3)


@given(st.lists(st.tuples(st.integers(0, 383), st.integers(0, 511)), min_size=1, max_size=5))
def test_decoding_targets_gives_the_points(bins):
    points = np.array(bins) / 2
    x, y, weights = simcc.encode(points, np.ones(len(points)), INPUT)
    coords, _ = simcc.decode(np.log(x + 1e-30), np.log(y + 1e-30))
    np.testing.assert_array_equal(coords, points)
    assert (weights == 1).all()


@given(st.floats(0, 191), st.floats(0, 255))
def test_decoding_is_never_more_than_half_a_bin_off(px, py):
    x, y, _ = simcc.encode(np.array([[px, py]]), np.ones(1), INPUT)
    coords, scores = simcc.decode(np.log(x + 1e-30), np.log(y + 1e-30))
    assert np.abs(coords - (px, py)).max() <= 0.25 + 1e-6
    assert 0.09 < scores[0] < 0.2  # 0.0997 is the Gaussian's peak; twice that at the border, where half of it is missing


@pytest.mark.parametrize(("x", "inside"), [(-14, False), (-13.9, True), (100, True), (203.9, True), (204, False)])
def test_weights_end_fourteen_pixels_outside(x, inside):
    *_, weights = simcc.encode(np.array([[x, 100.0]]), np.ones(1), INPUT)
    assert weights[0] == inside


def test_invisible_joints_have_no_target():
    x, y, weights = simcc.encode(np.full((2, 3, 2), 50.0), np.zeros((2, 3)), INPUT)
    assert x.shape == (2, 3, 384) and y.shape == (2, 3, 512)
    assert not (x.any() or y.any() or weights.any())


def test_own_split_and_sigma():
    x, _, _ = simcc.encode(np.array([[30.0, 10]]), np.ones(1), (64, 48), split=3, sigma=6)
    assert x.shape == (1, 192)
    assert x[0].argmax() == 90
    assert x[0].sum() == pytest.approx(1, abs=1e-6)


def test_first_of_equal_maxima_wins():
    x, y = np.zeros((1, 384)), np.zeros((1, 512))
    x[0, [7, 90]] = 5
    coords, _ = simcc.decode(x, y)
    assert coords.tolist() == [[3.5, 0]]


def test_scores_do_not_overflow():
    x = np.full((1, 384), -1e4, dtype=np.float32)
    x[0, 3] = 1e4
    _, scores = simcc.decode(x, np.full((1, 512), 1e4, dtype=np.float32))
    assert scores[0] == pytest.approx(1 / 512)


def test_each_score_is_the_smaller_maximum_of_its_own_softmax():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(0, 3, (2, 5, n)) + rng.normal(0, 50, (2, 5, 1)) for n in (96, 128))  # each row of its own height
    coords, scores = simcc.decode(x, y, 4)
    for person, joint in np.ndindex(2, 5):
        rows = x[person, joint], y[person, joint]
        assert scores[person, joint] == pytest.approx(min(softmax(row).max() for row in rows), rel=1e-5)
        assert coords[person, joint].tolist() == [row.argmax() / 4 for row in rows]
    assert coords.dtype == scores.dtype == np.float32


def test_a_target_by_hand():
    """A joint at pixel (3, 1) of 5 x 4, two bins a pixel, sigma 1."""
    x, y, weights = simcc.encode([[3, 1]], [1], (5, 4), sigma=1)
    bell = lambda away: np.exp(-np.square(away) / 2) / np.sqrt(2 * np.pi)  # noqa: E731
    np.testing.assert_allclose(x, [bell(np.arange(10) - 6.0)], rtol=1e-6)
    np.testing.assert_allclose(y, [bell(np.arange(8) - 2.0)], rtol=1e-6)
    assert x.dtype == y.dtype == weights.dtype == np.float32 and weights.tolist() == [1]
    assert simcc.bin_counts((5, 4)) == (10, 8) and simcc.bin_counts((72, 96), 5.33) == (384, 512)


def test_doubtful_joints_keep_their_weight_and_only_sure_ones_a_target():
    x, y, weights = simcc.encode(np.full((3, 2), 50.0), [0.5, 0.51, 1], INPUT)
    np.testing.assert_allclose(weights, [0.5, 0.51, 1])
    assert x.any(axis=1).tolist() == y.any(axis=1).tolist() == [False, True, True]


@pytest.mark.parametrize(("y", "inside"), [(-14, False), (-13.9, True), (267.9, True), (268, False)])
def test_weights_end_below_and_above_too(y, inside):
    assert simcc.encode([[100.0, y]], [1], INPUT)[2][0] == inside


@given(st.integers(2, 189), st.sampled_from([1.0, 2.0, 3.0]))
def test_flip_fusion_aligns_a_crop_with_its_mirror_image(px, split):
    """A joint at pixel u, seen at W - 1 - u in the mirror image under its partner's name, adds up at u."""
    skeleton = load_skeleton("coco17")
    points = np.full((17, 2), (px, 60.0))
    points[:, 0] += skeleton.flip_index % 2  # left and right differ
    mirrored = np.column_stack([INPUT[0] - 1 - points[:, 0], points[:, 1]])[skeleton.flip_index]
    logits = [simcc.encode(p, np.ones(17), INPUT, split)[:2] for p in (points, mirrored)]
    x, y = simcc.fuse_flip(*logits, skeleton.flip_index, split)
    np.testing.assert_array_equal(simcc.decode(x, y, split)[0], points)
    inner = slice(None, -round(split))
    np.testing.assert_allclose(x[:, inner], logits[0][0][:, inner], atol=1e-7)


@pytest.mark.parametrize("split", [16 / 3, 5.33, 1.5, 0.5])
@pytest.mark.parametrize("px", [30.0, 30.25, 41.9])
def test_flip_fusion_is_centred_between_bins(split, px):
    """The mirror image's peak lies on the crop's own: for a parabola even exactly, up to a constant."""
    width, skeleton = 74, load_skeleton("coco17")
    bins = np.arange(round(width * split))

    def peak(pixel):
        return np.broadcast_to(-((bins - pixel * split) ** 2) / 32, (1, 17, len(bins))).astype(np.float32)

    original, y = peak(px), np.zeros((1, 17, 4), np.float32)
    fused, _ = simcc.fuse_flip((original, y), (peak(width - 1 - px), y), skeleton.flip_index, split)
    inner = slice(round(2 * split) + 2, -round(2 * split) - 2)
    assert np.ptp((fused - original)[..., inner]) < 1e-3  # a shift by 0.01 bin would tilt it by several hundredths
    assert fused.dtype == np.float32
    np.testing.assert_array_equal(simcc.decode(fused, y, split)[0], simcc.decode(original, y, split)[0])


@pytest.mark.parametrize(
    ("split", "mirrored", "moved"),
    [(1.5, [36, 25, 16, 9, 4, 1], [2.5, 6.5, 12.5, 20.5, 30.5, 36]), (0.5, [16, 9, 4, 1], [1, 2.5, 6.5, 12.5])],
)
def test_flip_fusion_takes_the_mean_of_neighbours_half_a_bin_away(split, mirrored, moved):
    x = np.array([mirrored], np.float32)
    fused, _ = simcc.fuse_flip((0 * x, x), (x, x), np.array([0]), split)
    assert (2 * fused).tolist() == [moved]


@pytest.mark.parametrize("split", [1.0, 2, 3.0, 4.0])
def test_flip_fusion_of_whole_splits_moves_values_as_they_are(split):
    rng, flip = np.random.default_rng(0), load_skeleton("coco17").flip_index
    x, mirrored, y = (rng.standard_normal((2, 17, bins)).astype(np.float32) for bins in (int(72 * split),) * 2 + (5,))
    fused, fused_y = simcc.fuse_flip((x, y), (mirrored, y), flip, split)
    np.testing.assert_array_equal(fused_y, (y + y[:, flip]) * 0.5)
    moved = mirrored[:, flip, ::-1]
    moved = np.concatenate([moved[..., int(split) - 1 :], *([moved[..., -1:]] * (int(split) - 1))], axis=-1)
    np.testing.assert_array_equal(fused, (x + moved) * 0.5)
