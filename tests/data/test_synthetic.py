"""Synthetic people: points lie where their names say, archives are what the reader takes, and equal runs are equal."""

import json
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from gtpt import load_skeleton
from gtpt.cli import main
from gtpt.core.errors import GtptError, InputError, MissingExtraError, OutputError, SourceError
from gtpt.core.skeleton import Skeleton
from gtpt.data.coco import read_coco
from gtpt.data.config import TrainSource
from gtpt.data.images import FileStore
from gtpt.data.synthetic import (
    Generator,
    SyntheticConfig,
    ensure_synthetic,
    generate,
    renderer,
    surroundings,
    write_synthetic,
)
from gtpt.data.synthetic.body import Shape
from gtpt.data.synthetic.points import MIRRORED, Points
from gtpt.data.synthetic.poses import SIZES, Pose, PoseBank, mirrored, rotation
from gtpt.data.synthetic.scene import Plan
from gtpt.data.synthetic.surroundings import Surroundings, draw_scene, paint_out

from .figures import BOX, JOINTS, write_set

pytest.importorskip("anny")
pytest.importorskip("moderngl")
WHOLE = load_skeleton("coco_wholebody133")
BODY = load_skeleton("coco17")
FEW = SyntheticConfig(people=3, height=96, seed=5)


@pytest.fixture(scope="module")
def generator():
    try:
        return Generator(FEW, WHOLE)
    except GtptError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def body(generator):
    return generator.studio.body


def neutral(body, face=None):
    actions = np.array([float(name == face) for name in body.model.facial_action_labels])
    return Shape(np.full(len(body.model.phenotype_labels), 0.5), np.zeros(len(body.model.local_change_labels)), actions)


def points_of(generator, face=None, bones=None):
    """(133, 3) of the mean body: x to the person's left, y to the back, z up."""
    body = generator.studio.body
    bones = np.tile(np.eye(3), (len(body.bones), 1, 1)) if bones is None else bones
    vertices, frames = body.pose(bones[None], [neutral(body, face)])
    return generator.studio.points(vertices[0], frames[0, :, :3, 3])


def index(name):
    return WHOLE.keypoints.index(name)


def test_left_is_the_persons_left_and_mirrors_right(generator):
    points = points_of(generator)
    np.testing.assert_allclose(points[WHOLE.flip_index], points * [-1, 1, 1], atol=0.004)
    for k, name in enumerate(WHOLE.keypoints):
        if name.startswith(("left_", "right_")):
            assert (points[k, 0] > 0) == name.startswith("left_"), name


def test_body_and_feet_stand_upright_and_look_ahead(generator):
    points = points_of(generator)
    heights = [points[index(f"left_{name}"), 2] for name in ("eye", "shoulder", "hip", "knee", "ankle", "heel")]
    assert heights == sorted(heights, reverse=True)
    assert points[index("nose"), 1] < points[index("left_ear"), 1]  # y points backwards
    toe, small, heel = (points[index(f"left_{name}")] for name in ("big_toe", "small_toe", "heel"))
    assert toe[1] < small[1] < heel[1] and small[0] > toe[0]


def test_face_follows_the_order_of_ibug(generator):
    face = points_of(generator)[23:91]
    x, y, z = face.T
    assert (np.diff(x[:17]) > 0).all() and z[:17].argmin() == 8  # from the right ear over the chin to the left ear
    assert (np.diff(x[17:27]) > 0).all() and z[17:27].min() > z[36:48].max()  # brows above the eyes
    assert (np.diff(z[27:31]) < 0).all() and y.argmin() == 30  # down the nose to its tip
    assert (np.diff(x[31:36]) > 0).all() and z[31:36].max() < z[30]
    for corner, other, upper, lower in ((36, 39, (37, 38), (40, 41)), (42, 45, (43, 44), (46, 47))):
        assert x[corner] < min(x[[*upper, *lower]]) and x[other] > max(x[[*upper, *lower]])
        assert min(z[list(upper)]) > max(z[list(lower)])
        assert x[upper[0]] < x[upper[1]] and x[lower[0]] > x[lower[1]]
    assert (np.diff(x[48:55]) > 0).all() and (np.diff(x[55:60]) < 0).all()
    assert x[48] < x[60] < x[61] < x[62] < x[63] < x[64] < x[54]
    assert z[51] > z[62] >= z[66] - 0.002 and z[66] > z[57]
    assert sorted(MIRRORED) == list(range(68))


def test_lips_and_lids_are_those_that_move(generator):
    rest, open_, shut = (points_of(generator, face)[23:91, 2] for face in (None, "jawOpen", "eyeBlinkLeft"))
    moved = open_ - rest
    assert (moved[[8, 56, 57, 58, 65, 66, 67]] < -0.006).all() and (
        np.abs(moved[[27, 33, 50, 51, 52, 61, 62, 63]]) < 0.004
    ).all()
    moved = shut - rest
    assert (moved[[43, 44]] < -0.003).all() and (np.abs(moved[[37, 38]]) < 0.0005).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_fingers_go_from_root_to_tip_and_close(generator, side):
    first = index(f"{side}_hand_wrist")
    hand = points_of(generator)[first : first + 21]
    from_wrist = np.linalg.norm(hand - hand[0], axis=1)[1:].reshape(5, 4)
    assert (np.diff(from_wrist, axis=1) > 0).all()
    assert np.linalg.norm(np.diff(hand[1:].reshape(5, 4, 3), axis=1), axis=2).max() < 0.06
    bank = generator.studio.bank
    letter = side[0].upper()

    class Fist:  # the largest curl, without chance
        choice = staticmethod(lambda options, p: 1.2)
        normal = uniform = staticmethod(lambda *a: 0.0)
        random = staticmethod(lambda: 1.0)

    bones = np.tile(np.eye(3), (len(bank.index), 1, 1))
    for name, vector in bank._fingers(letter, Fist()).items():
        bones[bank.index[f"{name}.{letter}"]] = rotation(vector)
    closed = points_of(generator, bones=bones)[first : first + 21]
    tips = [8, 12, 16, 20]
    assert (np.linalg.norm(closed[tips] - closed[0], axis=1) < 0.75 * np.linalg.norm(hand[tips] - hand[0], axis=1)).all()


def test_any_choice_of_points_in_any_order(generator, body):
    names = ("right_heel", "nose", "face_30", "left_hand_thumb_4")
    few = Points(body, Skeleton(name="few", keypoints=names, sigmas=(0.1,) * 4))
    heads = np.concatenate([body.bone_heads])
    expected = generator.studio.points(body.rest, heads)[[index(name) for name in names]]
    np.testing.assert_allclose(few(body.rest, heads), expected)
    with pytest.raises(InputError, match="synthetic people have not: tail"):
        Points(body, Skeleton(name="cat", keypoints=("nose", "tail"), sigmas=(0.1, 0.1)))


def test_a_sample_depends_on_its_number_alone(generator):
    together = list(generator.samples([0, 1, 2]))
    alone = [next(iter(generator.samples([i]))) for i in (2, 0, 1)]
    for a, b in zip(together, [alone[1], alone[2], alone[0]], strict=True):
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-3)
        assert a.image.shape == b.image.shape
        assert np.abs(a.image.astype(int) - b.image).mean() < 0.1  # bodies posed in another batch differ in the last bit
    other = next(iter(generator.samples([0], epoch=1)))
    assert other.image.shape != together[0].image.shape or (other.image != together[0].image).mean() > 0.5


@pytest.mark.integration
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_pictures_of_any_size_take_the_memory_of_one(generator):
    light = renderer.Light(*np.array([[0, 0.6, 0.8], [1, 1, 1], [0.5, 0.5, 0.5], [0.2, 0.2, 0.2], [0, -1, 0]], float))
    draw, window = generator.studio.renderer.render, np.array([-1.0, -1, 1, 1])
    vertices = np.tile([0.0, 0, 3], (len(generator.studio.body.rest), 1))
    figure = renderer.Figure(vertices, 0 * vertices, np.zeros((1, 3)), np.eye(3), [])
    draw([figure], light, window, (800, 800))
    before = _memory()
    for width in range(500, 564):
        color, depth, number = draw([figure], light, window, (width, 700))
        assert (color.shape, depth.shape, number.any()) == ((700, width, 4), (700, width), False)
    assert _memory() - before < 100e6  # each has 6 MB


def _memory():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_labels_lie_in_the_crop_and_the_box_holds_what_is_seen(generator):
    for sample in generator.samples(range(5)):
        height, width = sample.image.shape[:2]
        x, y, seen = sample.keypoints.T
        assert sample.image.dtype == np.uint8 and height <= FEW.height + 1 and set(seen) <= {0, 1, 2}
        assert ((x >= 0) & (x < width) & (y >= 0) & (y < height)).all()
        left, top, w, h = sample.box
        assert left >= 0 and top >= 0 and left + w <= width and top + h <= height
        body = sample.keypoints[:17][seen[:17] == 2]
        inside = (body[:, 0] > left - 3) & (body[:, 0] < left + w + 3) & (body[:, 1] > top - 3) & (body[:, 1] < top + h + 3)
        assert inside.mean() > 0.9
        assert 0 < sample.area <= 1.1 * w * h


def shoot(generator, yaws, depths, seed=1):
    """People in the reference pose behind each other; the first is labelled."""
    body = generator.studio.body
    bones = np.tile(np.eye(3), (len(body.bones), 1, 1))
    poses = [Pose(bones, rotation(np.array([0, 0, yaw]))) for yaw in yaws]
    places = np.array([[0.0, 0.0, depth] for depth in depths])
    for attempt in range(20 if len(yaws) == 1 else 2):
        plan = Plan(poses, [neutral(body)] * len(yaws), places, np.eye(3), np.random.default_rng([seed, attempt]))
        vertices, frames = body.pose(np.stack([bones] * len(yaws)), plan.shapes)
        sample = generator.studio.shoot(plan, vertices, body.normals(vertices), frames)
        if sample is not None and (len(yaws) > 1 or (sample.keypoints[:17, 2] > 0).all()):
            return sample
    return None


def test_the_side_that_faces_the_camera_is_seen(generator):
    front, back = shoot(generator, [0.0], [4.0]), shoot(generator, [np.pi], [4.0])
    for sample, seen in ((front, 2), (back, 1)):
        assert sample.keypoints[index("nose"), 2] == seen
        assert sample.keypoints[5:17, 2].mean() > 1.6  # joints are inside limbs, and seen from both sides
    assert front.keypoints[index("left_shoulder"), 0] > front.keypoints[index("right_shoulder"), 0]
    assert back.keypoints[index("left_shoulder"), 0] < back.keypoints[index("right_shoulder"), 0]
    assert (front.keypoints[23:91, 2] == 2).mean() > 0.8 and (back.keypoints[23:91] == 0).all()


def test_someone_in_front_hides(generator):
    sample = shoot(generator, [0.0, 0.0], [4.0, 1.5])
    assert sample is None or (sample.keypoints[5:13, 2] == 2).mean() < 0.5


def test_archives_are_what_the_reader_takes_and_interrupted_ones_go_on(generator, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(generate, "Generator", lambda *a: made.append(a) or generator)
    monkeypatch.setattr(generate, "CHUNK", 2)
    write_synthetic(tmp_path / "whole.zip", FEW, WHOLE)
    persons = read_coco(tmp_path / "whole.zip/annotations.json", WHOLE)
    assert len(persons) == 3 and persons.visible[:, :17].sum(1).min() >= 4
    image = FileStore(tmp_path / "whole.zip").read_image(persons.files[2])
    sample = next(iter(generator.samples([2])))
    assert image.shape == sample.image.shape and np.abs(image.astype(int) - sample.image).mean() < 12
    np.testing.assert_allclose(persons.keypoints[2], sample.keypoints[:, :2], atol=0.06)

    def stop(chunks):
        yield chunks[0]
        raise KeyboardInterrupt

    out = tmp_path / "resumed.zip"
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(out, FEW, WHOLE, stop)
    assert not out.exists()
    with pytest.raises(OutputError, match=r"resumed.zip.part is of other people"):
        write_synthetic(out, FEW, BODY)
    before = len(made)
    write_synthetic(out, FEW, WHOLE)
    assert len(made) == before + 1 and sorted(p.name for p in tmp_path.iterdir()) == ["resumed.zip", "whole.zip"]
    with zipfile.ZipFile(out) as a, zipfile.ZipFile(tmp_path / "whole.zip") as b:
        assert a.namelist() == b.namelist()
        assert a.read("annotations.json") == b.read("annotations.json")
    ensure_synthetic(out, FEW, WHOLE)  # it is there
    with pytest.raises(InputError, match="does not hold"):
        ensure_synthetic(out, FEW.model_copy(update={"seed": 6}), WHOLE)
    with pytest.raises(OutputError, match="exists"):
        write_synthetic(out, FEW, WHOLE)


def test_preview_shows_an_archive(tmp_path):
    root = archive(tmp_path / "set", 3)
    main_ok(["data", "preview", str(root), str(tmp_path / "sheet.png"), "--people", "3", "--columns", "2"])
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * 512, 2 * 384, 3)
    main_ok(["data", "preview", str(root), str(tmp_path / "bare.png"), "--people", "3", "--columns", "2", "--no-labels"])
    assert (cv2.imread(str(tmp_path / "bare.png")) != sheet).any(2).mean() > 0.01


def archive(root, count):
    """A folder whose file names start at the annotations' place, as those of crop archives."""
    write_set(root, count)
    for image in (root / "images").iterdir():
        image.rename(root / image.name)
    return root


def main_ok(arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0


def test_sources_of_an_experiment_can_be_rendered(tmp_path):
    source = TrainSource.model_validate({"images": str(tmp_path / "people.zip"), "synthetic": {"people": 9}})
    assert source.annotations == tmp_path / "people.zip/annotations.json" and source.synthetic.people == 9
    for wrong in ({"people": 0}, {"people": 5, "hats": 3}):
        with pytest.raises(ValidationError):
            TrainSource.model_validate({"images": "a.zip", "synthetic": wrong})


def test_refusals_before_work_starts(tmp_path, monkeypatch, body):
    with pytest.raises(InputError, match=r"end in .zip"):
        write_synthetic(tmp_path / "people.tar", FEW, BODY)
    with pytest.raises(FileNotFoundError):
        Surroundings(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(SourceError, match="no pictures"):
        Surroundings(tmp_path)
    import moderngl

    def refuse(**_):
        raise ValueError("libEGL.so not loaded")

    monkeypatch.setattr(moderngl, "create_standalone_context", refuse)
    with pytest.raises(GtptError, match=r"no OpenGL 3.3 .*libEGL.so not loaded.*apt-get install"):
        renderer.Renderer(body)
    monkeypatch.setitem(sys.modules, "moderngl", None)
    with pytest.raises(MissingExtraError, match=r"gtpt\[synthetic\]"):
        renderer.Renderer(body)


def test_poses_bend_as_people_do(body):
    bank = PoseBank(body.bones, body.bone_heads)
    assert len(bank) > 2500
    columns = dict(zip(SIZES, np.split(bank.angles.T, np.cumsum(list(SIZES.values()))[:-1]), strict=True))
    for side in "LR":
        assert columns["knee" + side].min() >= 0 and columns["knee" + side].max() < 2.7  # straight to heel at the seat
        assert columns["elbow" + side].min() > -1.05
    pose = {name: np.arange(size) + 0.5 for name, size in SIZES.items()}
    twice = mirrored(mirrored(pose))
    assert all((twice[name] == pose[name]).all() for name in SIZES)
    drawn = bank.draw(np.random.default_rng(0))
    np.testing.assert_allclose(
        drawn.bones @ np.swapaxes(drawn.bones, 1, 2), np.tile(np.eye(3), (len(body.bones), 1, 1)), atol=1e-9
    )
    np.testing.assert_allclose(rotation(np.array([0, 0, np.pi / 2])) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_labelled_people_are_painted_out(tmp_path, monkeypatch):
    image = np.full((400, 320, 3), (20, 120, 200), np.uint8)
    for x, y in JOINTS.astype(int):
        cv2.circle(image, (int(x), int(y)), 8, (255, 0, 0), -1)
    joints = np.column_stack([JOINTS, np.full(17, 2)])
    result = paint_out(image, np.array(BOX), joints, np.random.default_rng(0)).astype(int)
    assert ((image[..., 0] > 200).sum() > 1000) and (result[..., 0] > 100).sum() == 0
    assert (result[:, :20] == image[:, :20]).all()
    rng = np.random.default_rng(0)
    assert draw_scene(rng, (40, 60)).shape == (60, 40, 3)
    folder = archive(tmp_path / "set", 3)
    data = json.loads((folder / "annotations.json").read_text())
    del data["annotations"][2]["keypoints"]  # whoever is not labelled stays
    (folder / "annotations.json").write_text(json.dumps(data))
    around = Surroundings(folder)
    assert [person is None for person in around.people.values()] == [False, False, True]
    assert around.draw(rng, (30, 50), np.array([5.0, 5, 20, 40])).shape == (50, 30, 3)
    assert around.patches(5, rng) == []  # too small for cloth
    monkeypatch.setattr(surroundings, "LEAST_PATCH", 4)
    assert len(around.patches(5, rng)) == 2 and len(around.patches(1, rng)) == 1
