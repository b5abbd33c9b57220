"""Augmentation, end to end: a drawn figure goes through the data set, and each joint must land on its own colour."""

import numpy as np
import pytest

from gtpt import load_skeleton
from gtpt.data.augment import AugmentConfig, plain_view, random_view, vary_pixels
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
