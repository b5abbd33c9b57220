import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

from gtpt import Poses, Skeleton, load_skeleton
from gtpt.viz import draw_kept_patches, draw_poses
from gtpt.viz.canvas import ACCENT, DARK, LEFT, MIDDLE, RIGHT

from ..sample import make_poses

GREY = np.full((480, 640, 3), 120, dtype=np.uint8)
ARM = Skeleton.from_dict(
    {"name": "arm", "keypoints": ["left_elbow", "left_wrist"], "edges": [["left_elbow", "left_wrist"]]}
)


def standing(skeleton="coco17", height=300.0, at=(320, 80), **changes) -> Poses:
    """Somebody who stands upright and faces the camera: left is on the right side of the image."""
    skeleton = load_skeleton(skeleton)
    y = {
        "nose": 0.06,
        "eye": 0.04,
        "ear": 0.05,
        "shoulder": 0.2,
        "elbow": 0.36,
        "wrist": 0.5,
        "hip": 0.52,
        "knee": 0.75,
        "ankle": 0.96,
    }
    x = {
        "nose": 0.0,
        "eye": 0.02,
        "ear": 0.04,
        "shoulder": 0.12,
        "elbow": 0.16,
        "wrist": 0.18,
        "hip": 0.08,
        "knee": 0.08,
        "ankle": 0.08,
    }
    side = [1 if n.startswith("left") else -1 if n.startswith("right") else 0 for n in skeleton.keypoints]
    joints = [n.split("_")[-1] for n in skeleton.keypoints]
    points = np.array([[s * x.get(j, 0.2), y.get(j, 0.55)] for s, j in zip(side, joints, strict=True)]) * height + at
    poses = make_poses(1, skeleton, ids=[-1]).with_(
        keypoints=points[None],
        keypoint_scores=np.full((1, len(skeleton)), 0.9),
        boxes=[[at[0] - height / 4, at[1], at[0] + height / 4, at[1] + height]],
    )
    return poses.with_(**changes)


def pixel(picture, poses, name):
    x, y = np.round(poses.keypoints[0, poses.skeleton.index(name)]).astype(int)
    return tuple(picture[y, x].tolist())


def changed(picture, image=GREY):
    return (picture != image).any(axis=2)


def test_left_right_and_middle_have_their_colours():
    poses = standing()
    picture = draw_poses(GREY, poses)
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        assert pixel(picture, poses, f"left_{joint}") == LEFT
        assert pixel(picture, poses, f"right_{joint}") == RIGHT
    assert pixel(picture, poses, "nose") == MIDDLE
    assert tuple(picture[round(80 + 0.2 * 300), 320]) == MIDDLE  # the line between the shoulders


def luminance(color):
    linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def test_lines_read_on_any_background():
    """Each colour contrasts with its outline by 4.5 to 1 or more, what WCAG asks of text."""
    for color in (LEFT, RIGHT, MIDDLE):
        assert (luminance(color) + 0.05) / (luminance(DARK) + 0.05) > 4.5
    for value in (0, 255):
        image = np.full_like(GREY, value)
        poses = standing()
        picture = draw_poses(image, poses)
        assert pixel(picture, poses, "left_knee") == LEFT
        assert picture.min() < 60  # the outline


def test_the_image_stays_as_it_is():
    image = GREY.copy()
    picture = draw_poses(image, standing(ids=[3]), boxes=True)
    np.testing.assert_array_equal(image, GREY)
    assert picture.shape == GREY.shape and picture.dtype == np.uint8
    assert not np.shares_memory(picture, image)


def test_nothing_changes_away_from_the_person():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, GREY.shape, dtype=np.uint8)
    poses = standing()
    (y, x) = np.nonzero(changed(draw_poses(image, poses), image))
    low, high = poses.keypoints[0].min(axis=0), poses.keypoints[0].max(axis=0)
    assert x.min() >= low[0] - 8 and x.max() <= high[0] + 8 and y.min() >= low[1] - 8 and y.max() <= high[1] + 8


@pytest.mark.parametrize(
    "poses",
    [
        make_poses(0),
        standing(keypoint_scores=np.full((1, 17), 0.29), ids=[5]),
        standing(keypoints=np.full((1, 17, 2), np.nan), ids=[5]),
        standing(at=(5000, 5000), ids=[5]),
        standing(keypoints=np.full((1, 17, 2), 1e30)),
    ],
    ids=["nobody", "low scores", "nan", "outside", "far"],
)
def test_nothing_to_draw(poses):
    np.testing.assert_array_equal(draw_poses(GREY, poses), GREY)


def test_the_threshold_hides_a_point_and_its_limbs_only():
    poses = standing()
    elbow = poses.skeleton.index("left_elbow")
    poses.keypoint_scores[0, elbow] = 0.2
    picture = draw_poses(GREY, poses)
    assert pixel(picture, poses, "left_elbow") == (120, 120, 120)
    assert pixel(picture, poses, "left_wrist") == pixel(picture, poses, "left_shoulder") == LEFT
    assert pixel(draw_poses(GREY, poses, threshold=0.1), poses, "left_elbow") == LEFT


def limb_width(picture, y):
    return int(changed(picture)[y].sum())


def test_lines_grow_with_the_person():
    widths = []
    for height in (60, 300, 1500):
        image = np.full((1700, 1000, 3), 120, dtype=np.uint8)
        poses = standing("coco17", height, at=(500, 50), keypoint_scores=np.eye(17)[[13]] + np.eye(17)[[15]])
        row = round(50 + 0.85 * height)  # the left shin alone
        widths.append(changed(draw_poses(image, poses), image)[row].sum())
    assert 2 <= widths[0] < widths[1] < widths[2] < 40
    assert widths[2] > 3 * widths[1]


def test_fingers_are_finer_than_arms():
    skeleton = load_skeleton("coco_wholebody133")
    poses = standing(skeleton)
    fingers = [skeleton.index(f"left_hand_index_{i}") for i in range(1, 5)]
    poses.keypoints[0, fingers] = np.stack([np.full(4, 500.0), np.linspace(200, 240, 4)], axis=1)
    shown = np.zeros((1, 133))
    shown[0, fingers] = 1
    finger = draw_poses(GREY, poses.with_(keypoint_scores=shown))
    shown = np.zeros((1, 133))
    shown[0, [skeleton.index("left_knee"), skeleton.index("left_ankle")]] = 1
    shin = draw_poses(GREY, poses.with_(keypoint_scores=shown))
    assert 1 <= limb_width(finger, 207) < limb_width(shin, 330)


def test_dense_points_have_finer_lines_and_dots_that_show():
    skeleton = load_skeleton("coco_wholebody133")
    across = []
    for names in ([f"left_hand_index_{i}" for i in range(1, 5)], [f"face_{i}" for i in range(17)]):
        poses, shown = standing(skeleton, height=900), np.zeros((1, 133))
        joints = [skeleton.index(name) for name in names]
        poses.keypoints[0, joints] = np.stack([np.linspace(200, 300, len(joints)), np.full(len(joints), 100.0)], axis=1)
        shown[0, joints] = 1
        across.append(changed(draw_poses(GREY, poses.with_(keypoint_scores=shown)))[:, 205:296].sum(axis=0))
    (hand, face) = across
    assert 1 <= face.min() < hand.min() < hand.max()  # a dot is wider than the line


def test_five_fingers_of_a_small_hand_can_be_counted():
    skeleton = load_skeleton("coco_wholebody133")
    poses, shown = standing(skeleton), np.zeros((1, 133))
    for finger, name in enumerate(("thumb", "index", "middle", "ring", "pinky")):
        joints = [skeleton.index(f"left_hand_{name}_{i}") for i in range(1, 5)]
        poses.keypoints[0, joints] = np.stack([np.full(4, 500 + 5 * finger), np.linspace(200, 220, 4)], axis=1)
        shown[0, joints] = 1
    row = np.abs(draw_poses(GREY, poses.with_(keypoint_scores=shown))[210] - np.array(LEFT)).max(axis=1) < 60
    assert (np.diff(row.astype(int)) == 1).sum() == 5


def test_the_eyes_and_nose_of_the_body_leave_room_for_a_face():
    skeleton = load_skeleton("coco_wholebody133")
    poses = standing(skeleton, height=900, at=(320, -20))
    face = [i for i in range(133) if skeleton.part_of(i) == "face"]
    around = np.linspace(0, 2 * np.pi, len(face))
    poses.keypoints[0, face] = np.stack([320 + 60 * np.cos(around), 30 + 60 * np.sin(around)], axis=1)
    shown = np.zeros((1, 133))
    shown[0, [skeleton.index(name) for name in ("nose", "left_eye", "left_ear")]] = 1
    alone = draw_poses(GREY, poses.with_(keypoint_scores=shown))
    shown[0, face] = 1
    beside = draw_poses(GREY, poses.with_(keypoint_scores=shown))
    orange = [(picture == LEFT).all(axis=2).sum() for picture in (alone, beside)]
    assert 0 < orange[1] < 0.7 * orange[0]


def test_any_skeleton():
    poses = make_poses(1, ARM).with_(keypoints=[[[100, 100], [200, 150]]], keypoint_scores=[[1, 1]])
    picture = draw_poses(GREY, poses)
    assert tuple(picture[125, 150]) == LEFT


@pytest.mark.parametrize("names", [("LEar", "REar"), ("ear_left", "ear_right"), ("l_paw", "r_paw"), ("耳左", "耳右")])
def test_sides_are_those_by_which_keypoints_mirror(names):
    pair = Skeleton.from_dict({"name": "pair", "keypoints": names})
    poses = make_poses(1, pair).with_(keypoints=[[[100, 100], [200, 150]]], keypoint_scores=[[1, 1]])
    picture = draw_poses(GREY, poses)
    assert len(pair.flip_pairs) == 1
    assert (tuple(picture[100, 100]), tuple(picture[150, 200])) == (LEFT, RIGHT)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (40, 8)])
def test_tiny_images(size):
    image = np.zeros((*size, 3), dtype=np.uint8)
    poses = standing(height=30.0, at=(4, 2), ids=[123456])
    assert draw_poses(image, poses, boxes=True).shape == image.shape


def test_a_box_that_is_not_finite():
    poses = standing(boxes=[[np.nan] * 4], ids=[1])
    assert pixel(draw_poses(GREY, poses, boxes=True), poses, "left_elbow") == LEFT


def test_half_outside():
    poses = standing(at=(0, 250), ids=[1])
    picture = draw_poses(GREY, poses, boxes=True)
    assert pixel(picture, poses, "left_elbow") == LEFT


def test_an_image_in_other_memory_order_and_bad_images():
    flipped = np.ascontiguousarray(GREY[..., ::-1])[..., ::-1]
    np.testing.assert_array_equal(draw_poses(flipped, standing()), draw_poses(GREY, standing()))
    np.testing.assert_array_equal(draw_poses(GREY[..., 0], standing()), draw_poses(GREY, standing()))
    with pytest.raises(ValueError, match=r"the image to draw on must be uint8.*float64"):
        draw_poses(GREY / 255, standing())


def test_ids_and_boxes_are_drawn_on_request():
    plain = draw_poses(GREY, standing())
    labelled = draw_poses(GREY, standing(ids=[42]))
    (y, _) = np.nonzero(changed(labelled, plain))
    assert 0 < y.max() < 0.06 * 300 + 80  # above the head
    np.testing.assert_array_equal(draw_poses(GREY, standing(ids=[42]), ids=False), plain)
    boxed = draw_poses(GREY, standing(), boxes=True)
    assert tuple(boxed[380, 320]) == tuple(boxed[230, 245]) == MIDDLE  # bottom and left side
    top = draw_poses(GREY, standing(at=(2, -10), ids=[7]))
    assert (top[:20, :20] == DARK).all(axis=2).sum() > 50  # moved into the image


def test_the_pictures_in_the_documentation_are_what_we_draw(tmp_path, monkeypatch):
    root = Path(__file__).parents[2]
    monkeypatch.setattr("sys.argv", ["", str(tmp_path)])
    runpy.run_path(str(root / "examples" / "pictures.py"), run_name="__main__")
    for name in ("wholebody.jpg", "custom.jpg"):
        drawn, shown = (cv2.imread(str(folder / name)).astype(int) for folder in (tmp_path, root / "docs" / "images"))
        assert np.abs(drawn - shown).mean() < 1  # versions of OpenCV decode and enlarge the photo alike but not equally


KEPT = {
    "coarse3": [np.arange(64, 243)[None]],
    "entry": [np.arange(76)[None], np.arange(90, 166)[None], np.arange(180, 256)[None]],
    "group3": [np.array([[0, 17]]), np.array([[100]]), np.arange(200, 225)[None]],
}


def tiles(sheet):
    """Left, top, width, height of the coloured rectangles on the white sheet."""
    filled = (sheet != 255).any(axis=2).astype(np.uint8)
    filled = cv2.morphologyEx(filled, cv2.MORPH_OPEN, np.ones((60, 60), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(filled)
    return sorted(tuple(int(v) for v in row[:4]) for row in stats[1:])


def test_kept_patches_stay_clear_and_pruned_ones_turn_pale():
    crop = np.zeros((256, 192, 3), dtype=np.uint8)
    crop[:] = (200, 80, 40)
    sheet = draw_kept_patches(crop, KEPT, load_skeleton("coco17"))
    found = tiles(sheet)
    assert len(found) == 1 + 1 + 3 + 3  # all patches, coarse, and the groups twice
    x, y, width, height = found[-3]  # last stage, the first group: head, patches 0 and 17 on the diagonal
    patch = sheet[y : y + height, x : x + width]
    centers = np.array(
        [[patch[int((r + 0.5) * height / 16), int((c + 0.5) * width / 16)] for c in range(16)] for r in range(16)]
    )
    kept = (centers == (200, 80, 40)).all(axis=2)
    assert kept[0, 0] and kept[1, 1] and kept.sum() == 2
    pale = centers[~kept]
    assert (pale.max(axis=1) == pale.min(axis=1)).all() and pale.min() > 150  # grey and pale
    assert (patch[0, 0] == ACCENT).all() and not (patch[:, -1] == ACCENT).all(axis=1).any()  # a line around what is kept


def test_a_sheet_for_each_person_with_the_pose_beside():
    skeleton = load_skeleton("coco17")
    crops = np.full((2, 256, 192, 3), 90, dtype=np.uint8)
    kept = {name: [np.repeat(ids, 2, axis=0) for ids in groups] for name, groups in KEPT.items()}
    keypoints = np.repeat(standing(at=(96, 10), height=230.0).to_numpy(), 2, axis=0)
    sheet = draw_kept_patches(crops, kept, skeleton, keypoints=keypoints)
    one = draw_kept_patches(crops[0], KEPT, skeleton, keypoints=keypoints[0])
    assert sheet.shape == (2 * one.shape[0], one.shape[1], 3)
    np.testing.assert_array_equal(sheet[: len(one)], one)
    assert len(tiles(one)) == 9
    assert (one == LEFT).all(axis=2).any() and (one == RIGHT).all(axis=2).any()
    assert draw_kept_patches(crops[:0], {"coarse3": [np.zeros((0, 9), int)]}, skeleton).dtype == np.uint8


def test_kept_patches_that_do_not_fit():
    crop = np.zeros((256, 192, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"0\.\.255, got 3\.\.256"):
        draw_kept_patches(crop, {"coarse3": [np.array([[3, 256]])]}, load_skeleton("coco17"))
    with pytest.raises(ValueError, match="one for each of 3 groups, not 2"):
        draw_kept_patches(crop, {"entry": [np.array([[3]])] * 2}, load_skeleton("coco17"))
    with pytest.raises(ValueError, match=r"a \(1, n\) array for 1 crops, got \(2, 1\)"):
        draw_kept_patches(crop, {"coarse3": [np.array([[3], [4]])]}, load_skeleton("coco17"))


@pytest.mark.integration
def test_real_people(shared):
    """Ground truth on photos: every labelled keypoint is in its side's colour, unless somebody in front covers it."""
    data = json.loads((shared / "data/coco_sample/annotations/person_keypoints_val2017.json").read_text())
    seen = right = 0
    for image in data["images"]:
        people = [
            a for a in data["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"] and a["num_keypoints"]
        ]
        path = shared / "data/coco_sample/images/val2017" / image["file_name"]
        photo = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        points = np.array([a["keypoints"] for a in people]).reshape(-1, 17, 3)
        boxes = np.array([a["bbox"] for a in people]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        poses = make_poses(len(people)).with_(boxes=boxes, keypoints=points[..., :2], keypoint_scores=points[..., 2] > 0)
        picture = draw_poses(photo, poses, ids=False)
        for x, y, _ in points[:, 5::2][points[:, 5::2, 2] > 0]:  # left from the shoulders down
            seen += 1
            right += np.abs(picture[y, x].astype(int) - LEFT).max() < 40
    assert seen > 150 and right / seen > 0.9
