"""Augmentation, end to end: a drawn figure goes through the data set, and each joint must land on its own colour."""

import numpy as np
import pytest

from gtpt import load_skeleton
from gtpt.data.augment import AugmentConfig, paste, plain_view, random_view, vary_pixels
from gtpt.data.coco import read_coco
from gtpt.data.dataset import CropDataset
from gtpt.data.images import FileStore

from .figures import BOX, COLORS, JOINTS, WIDTH, coco_file, draw_figure, figure_keypoints

BODY = load_skeleton("coco17")
SIZE = (192, 256)
OFF = AugmentConfig(half_body=0, scale=0, rotation_chance=0, flip=0)
LEFT = [i for i, name in enumerate(BODY.keypoints) if name.startswith("left")]
RIGHT = BODY.flip_index[LEFT]


def dataset(folder, augment):
    import cv2

    cv2.imwrite(str(folder / "figure.png"), draw_figure()[..., ::-1])
    visibility = np.full(17, 2)
    visibility[BODY.index("left_ear")] = 0
    person = {"image_id": 1, "keypoints": figure_keypoints(visibility=visibility)}
    persons = read_coco(coco_file([person], [{"id": 1, "file_name": "figure.png"}]), BODY)
    return CropDataset(persons, [FileStore(folder)], BODY, SIZE, augment)


def colors_at(item):
    """(K, 3) pixel under each joint, and which joints are visible and well inside the crop."""
    x, y = np.round(item["joints"]).astype(int).T
    inside = (item["visible"] > 0) & (x > 2) & (x < SIZE[0] - 3) & (y > 2) & (y < SIZE[1] - 3)
    found = np.zeros((17, 3), int)
    found[inside] = item["crop"][y[inside], x[inside]]
    return found, inside


@pytest.mark.parametrize(
    ("augment", "flips"),
    [
        (None, 0),
        (OFF, 0),
        (OFF.model_copy(update={"flip": 1.0}), 1),
        (OFF.model_copy(update={"rotation_chance": 1.0}), 0),
        (OFF.model_copy(update={"scale": 0.35, "shift": 0.1}), 0),
        (OFF.model_copy(update={"half_body": 1.0}), 0),
        (AugmentConfig(), 0.5),
        (AugmentConfig(half_body_choice="uniform", shift=0.05), 0.5),
    ],
    ids=["test time", "off", "flip", "rotation", "scale", "half body", "official", "uniform"],
)
def test_joints_stay_on_their_pixels(tmp_path, augment, flips):
    crops = dataset(tmp_path, augment)
    mirrored = seen = 0
    for epoch in range(60 if flips == 0.5 else 12):
        item = crops[epoch, 0]
        found, inside = colors_at(item)
        # in a mirror, the joint that is now called left is the one that was drawn as right
        straight, flipped = (np.abs(found - COLORS[order]).max(axis=1)[inside] for order in (slice(None), BODY.flip_index))
        assert min(straight.max(initial=0), flipped.max(initial=0)) < 40, epoch
        mirrored += flipped.max(initial=0) < 40 and straight.max(initial=0) >= 40
        seen += inside.sum()
    assert mirrored == pytest.approx(flips * (epoch + 1), abs=0.3 * (epoch + 1) * (flips == 0.5))
    assert seen > 5 * (epoch + 1)


def test_left_stays_the_persons_left(tmp_path):
    """The figure faces us, so its left joints are right in the picture, in the mirror too (there it is another person)."""
    crops = dataset(tmp_path, AugmentConfig(rotation_chance=0, half_body=0))
    visible = np.array([BODY.keypoints[i] not in ("left_ear", "right_ear") for i in LEFT])
    for epoch in range(20):
        joints = crops[epoch, 0]["joints"]
        assert (joints[LEFT, 0] > joints[RIGHT, 0])[visible].all()


def test_hidden_joints_stay_hidden(tmp_path):
    for epoch in range(10):
        visible = dataset(tmp_path, AugmentConfig())[epoch, 0]["visible"]
        assert visible.sum() == 16 and visible[[BODY.index("left_ear"), BODY.index("right_ear")]].sum() == 1


def views(config, count=4000, visible=17):
    """Many draws for one figure."""
    shown = (np.arange(17) < visible).astype(np.float32)
    rng = np.random.default_rng(0)
    box = np.array(BOX)
    return [random_view(plain_view(box, JOINTS, shown, 0.75), config, BODY, WIDTH, 0.75, rng) for _ in range(count)]


def test_official_statistics():
    plain = plain_view(np.array(BOX), JOINTS, np.ones(17), 0.75)
    sample = views(AugmentConfig(half_body=0))
    ratio = np.array([view.size[0] for view in sample]) / plain.size[0]
    turns = np.array([view.rotation for view in sample])
    flipped = np.array([view.flipped for view in sample])
    # a normal draw of deviation 0.35 cut at +-0.35: 31.7 % lie at the two ends
    assert ratio.min() == pytest.approx(0.65) and ratio.max() == pytest.approx(1.35) and abs(ratio.mean() - 1) < 0.02
    assert abs((np.abs(ratio - 1) > 0.3499).mean() - 0.317) < 0.03
    assert abs((turns != 0).mean() - 0.6) < 0.03 and np.abs(turns).max() == 90
    assert abs(turns[turns != 0].std() - 41.5) < 2  # 45 degrees, cut at two deviations
    assert abs(flipped.mean() - 0.5) < 0.03
    assert all(v.size[0] / v.size[1] == pytest.approx(0.75) for v in sample[:50])


@pytest.mark.parametrize(("choice", "upper_share"), [("official", 0.6915), ("uniform", 0.5)])
def test_half_body_statistics(choice, upper_share):
    config = OFF.model_copy(update={"half_body": 0.3, "half_body_choice": choice})
    plain = plain_view(np.array(BOX), JOINTS, np.ones(17), 0.75)
    sample = views(config)
    halves = [v for v in sample if not np.allclose(v.center, plain.center)]
    upper = [v for v in halves if v.center[1] < plain.center[1]]
    assert abs(len(halves) / len(sample) - 0.3) < 0.03
    assert abs(len(upper) / len(halves) - upper_share) < 0.05
    np.testing.assert_allclose(upper[0].center, JOINTS[:11].mean(axis=0), rtol=1e-5)
    assert upper[0].size[1] < plain.size[1]


def test_no_half_body_for_half_a_person():
    plain = plain_view(np.array(BOX), JOINTS, np.ones(17), 0.75)
    for view in views(OFF.model_copy(update={"half_body": 1.0}), 50, visible=8):  # official: more than 8
        np.testing.assert_array_equal(view.center, plain.center)


def test_pixel_variations_leave_geometry_alone(tmp_path):
    crop = dataset(tmp_path, None)[0, 0]["crop"]
    rng = np.random.default_rng(0)
    for name in ("color", "blur", "cutout"):
        changed = [vary_pixels(crop, AugmentConfig(**{name: 1.0}), rng) for _ in range(10)]
        assert all(c.shape == crop.shape and c.dtype == np.uint8 for c in changed)
        assert any((c != crop).any() for c in changed)
    assert (vary_pixels(crop, AugmentConfig(), rng) == crop).all()
    cut = [(vary_pixels(crop, AugmentConfig(cutout=1), rng) != crop).any(axis=2).mean() for _ in range(50)]
    assert 0 < max(cut) < 0.36**2  # a rectangle of at most 35 % of each side


def test_wrong_settings_are_refused():
    for wrong in ({"flip": 1.5}, {"scale": 1}, {"rotation": -1}, {"half_body_choice": "lower"}, {"flipp": 0.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            AugmentConfig(**wrong)


# --- pixels, in numbers ---


def color_maps(strength, count=300):
    """The linear maps (count, 4, 3) of colours, and of 1, that colour changes make."""
    rng = np.random.default_rng(0)
    crop = rng.integers(96, 160, (48, 48, 3), dtype=np.uint8)
    given = np.column_stack([crop.reshape(-1, 3) - 128.0, np.ones(48 * 48)])  # about the middle grey, which contrast keeps
    made = [vary_pixels(crop, AugmentConfig(color=strength), rng).reshape(-1, 3) - 128.0 for _ in range(count)]
    inside = [((m > -128) & (m < 127)).all(axis=1) for m in made]  # what is black or white may have been cut off
    return np.array([np.linalg.lstsq(given[i], m[i], rcond=None)[0] for i, m in zip(inside, made, strict=True)])


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_colors_vary_as_far_as_the_strength_says(strength):
    """Brightness by 50, contrast and saturation by 60 %, channels against each other by 15 %; as often up as down."""
    maps = color_maps(strength)
    offset, mix = maps[:, 3], maps[:, :3].transpose(0, 2, 1)  # mix: (out, in)
    gains = mix.sum(axis=2)  # of grey, whatever the saturation
    grey = np.array([0.299, 0.587, 0.114])
    lost = mix[:, [0, 1, 2], [1, 2, 0]] / gains / grey[[1, 2, 0]]  # share of the grey in a channel, seen by another one
    assert np.ptp(lost, axis=1).max() < 0.03 and np.ptp(offset, axis=1).max() < 0.5  # the same for all channels
    balance = gains / gains.mean(axis=1, keepdims=True)
    for values, reach, slack in (
        (offset[:, 0], 50, 1.03),
        (-lost.mean(axis=1), 0.6, 1.03),
        (gains.mean(axis=1) - 1, 0.6, 1.3),  # contrast, and the three of the balance
    ):
        assert np.abs(values).max() < slack * reach * strength
        assert min(-values.min(), values.max()) > 0.88 * reach * strength
        assert abs(values.mean()) < 0.1 * reach * strength
    assert 0.1 * strength < np.abs(balance - 1).max() < 0.21 * strength and abs(balance - 1).std() > 0.03 * strength


def test_blur_grows_with_the_crop():
    """A bright column becomes a bell of 0.5 to 2 pixels, in a crop that is half as wide of half of that."""
    rng = np.random.default_rng(0)
    for width in (192, 96):
        crop = np.zeros((16, width, 3), np.uint8)
        crop[:, 48 : 48 + width // 96] = 255
        widths = []
        for _ in range(150):
            row = vary_pixels(crop, AugmentConfig(blur=1.0), rng)[8, :, 0].astype(float)
            places = np.arange(width)
            center = (row * places).sum() / row.sum()
            widths.append(np.sqrt((row * (places - center) ** 2).sum() / row.sum()))
        own = np.sqrt(((width // 96) ** 2 - 1) / 12)  # of the column
        sigma = np.sqrt(np.maximum(np.square(widths) - own**2, 0)) * 192 / width
        assert sigma.max() == pytest.approx(2, abs=0.15) and sigma.min() < 0.75
        assert abs(np.mean(sigma) - 1.25) < 0.15


def test_cutout_is_a_rectangle_of_one_color_anywhere():
    rng, crop = np.random.default_rng(0), np.full((200, 100, 3), 7, np.uint8)
    given, sizes, ends, colors = crop.copy(), [], [], []
    for _ in range(300):
        made = vary_pixels(crop, AugmentConfig(cutout=1.0), rng)
        rows, columns = (np.flatnonzero((made != crop).any(axis=(2, axis))) for axis in (1, 0))
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        sizes.append(((bottom - top) / 200, (right - left) / 100))
        ends.append((top / 200, bottom / 200, left / 100, right / 100))
        colors.append(made[top, left])
        assert (made[top:bottom, left:right] == made[top, left]).all()
    assert (crop == given).all()
    np.testing.assert_allclose(np.min(sizes, axis=0), 0.1, atol=0.02)
    np.testing.assert_allclose(np.max(sizes, axis=0), 0.35, atol=0.02)
    np.testing.assert_allclose(np.min(ends, axis=0)[[0, 2]], 0, atol=0.01)
    np.testing.assert_allclose(np.max(ends, axis=0)[[1, 3]], 1, atol=0.03)
    assert np.min(colors) < 5 and np.max(colors) > 250 and np.abs(np.diff(np.array(colors, int), axis=1)).max() > 200


@pytest.mark.parametrize("name", ["blur", "cutout"])
def test_chances_are_chances(name):
    crop = np.random.default_rng(1).integers(0, 256, (16, 192, 3), dtype=np.uint8)
    rng = np.random.default_rng(0)
    changed = [(vary_pixels(crop, AugmentConfig(**{name: 0.2}), rng) != crop).any() for _ in range(1500)]
    assert abs(np.mean(changed) - 0.2) < 0.03


def test_a_pasted_piece_is_an_ellipse_of_the_other_image():
    """An eighth to half of the crop wide and high, anywhere in it; it shows 30 to 90 % of the other image each way."""
    rng, crop = np.random.default_rng(0), np.zeros((200, 100, 3), np.uint8)
    y, x = np.mgrid[1:201, 1:201]
    other = np.stack([x, y, np.full((200, 200), 250)], axis=2).astype(np.uint8)[:, :160]
    sizes, ends, shown, filled = [], [], [], []
    for _ in range(300):
        made = paste(crop, other, rng)
        there = made[..., 2] > 0
        assert (made[there][:, 2] == 250).all()
        rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
        size = np.array([rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1])
        sizes.append(size / (200, 100))
        ends.append((rows[0] / 200, rows[-1] / 200, columns[0] / 100, columns[-1] / 100))
        values = made[there].astype(int)
        shown.append((np.ptp(values[:, 1]) / 200, np.ptp(values[:, 0]) / 160))
        filled.append(there.sum() / size.prod())
        middle = made[(rows[0] + rows[-1]) // 2, (columns[0] + columns[-1]) // 2]
        assert middle[2] == 250
    assert crop.max() == 0
    sizes, ends, shown = np.array(sizes), np.array(ends), np.array(shown)
    assert 0.08 < sizes.min() < 0.14 and 0.46 < sizes.max() <= 0.5
    assert np.corrcoef(sizes.T)[0, 1] < 0.2 and abs(sizes.mean() - 0.31) < 0.03
    assert ends.min(axis=0)[[0, 2]].max() < 0.01 and ends.max(axis=0)[[1, 3]].min() > 0.97
    assert np.mean(filled) == pytest.approx(np.pi / 4, abs=0.03)
    assert 0.2 < shown.min() < 0.35 and 0.8 < shown.max() < 0.91
    assert np.abs(shown[:, 0] - shown[:, 1]).max() < 0.15  # as high as wide of it


def test_pieces_come_from_everywhere_and_of_a_single_pixel_too():
    rng, crop = np.random.default_rng(0), np.zeros((200, 100, 3), np.uint8)
    y, x = np.mgrid[1:201, 1:201]
    other = np.stack([x, y, np.full((200, 200), 250)], axis=2).astype(np.uint8)
    made = [paste(crop, other, rng) for _ in range(200)]
    seen = np.concatenate([m[m[..., 2] > 0] for m in made])
    assert seen[:, :2].min() <= 5 and seen[:, :2].max() >= 196
    assert (paste(crop, np.full((1, 1, 3), 9, np.uint8), rng) == 9).any()


# --- geometry, in numbers ---


def test_the_center_moves_by_the_shift():
    """Each way by up to the given share of the crop, of both sides on their own."""
    plain = plain_view(np.array(BOX), JOINTS, np.ones(17), 0.75)
    moved = np.array([(v.center - plain.center) / v.size for v in views(OFF.model_copy(update={"shift": 0.1}), 1000)])
    assert np.abs(moved).max() <= 0.1 + 1e-9 and moved.min(axis=0).max() < -0.095 and moved.max(axis=0).min() > 0.095
    assert np.abs(moved.mean(axis=0)).max() < 0.01 and abs(np.corrcoef(moved.T)[0, 1]) < 0.1


def test_a_mirrored_view_is_that_of_the_mirrored_image():
    plain = plain_view(np.array(BOX), JOINTS, np.ones(17), 0.75)
    (view,) = views(OFF.model_copy(update={"flip": 1.0}), 1)
    np.testing.assert_allclose(view.center, [WIDTH - 1 - plain.center[0], plain.center[1]])
    np.testing.assert_allclose(view.keypoints, np.column_stack([WIDTH - 1 - JOINTS[:, 0], JOINTS[:, 1]])[BODY.flip_index])
    np.testing.assert_array_equal(view.size, plain.size)
    assert view.flipped and view.rotation == 0


def test_an_unchanged_view_stays_and_one_more_than_eight_joints_are_enough_for_half_a_body():
    plain = plain_view(np.array(BOX), JOINTS, np.ones(17), 0.75)
    assert (plain.rotation, plain.flipped) == (0.0, False)
    for view in views(OFF, 20):
        np.testing.assert_array_equal(view.center, plain.center)
        np.testing.assert_array_equal(view.size, plain.size)
        assert (view.rotation, view.flipped) == (0.0, False)
    halves = views(OFF.model_copy(update={"half_body": 1.0}), 50, visible=9)
    assert all(not np.allclose(view.center, plain.center) for view in halves)


def test_angles_are_cut_at_two_deviations_both_ways():
    turns = np.array([v.rotation for v in views(OFF.model_copy(update={"rotation": 20.0, "rotation_chance": 1.0}), 2000)])
    assert turns.min() == -40 and turns.max() == 40 and abs(turns.mean()) < 2 and (turns != 0).all()
