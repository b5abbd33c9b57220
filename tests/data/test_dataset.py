"""Order and augmentation depend on (seed, epoch, index) alone: what resuming and several processes rest on."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gtpt import load_skeleton
from gtpt.core import simcc
from gtpt.core.geometry import invert_affine, transform_points, turn_boxes
from gtpt.data.augment import AugmentConfig
from gtpt.data.check import check
from gtpt.data.coco import read_coco
from gtpt.data.config import Source
from gtpt.data.crops import load_crops
from gtpt.data.dataset import Collate, CropDataset, EpochBatches
from gtpt.data.images import FileStore
from gtpt.detect import load_boxes
from gtpt.evaluate.run import estimate
from gtpt.io.sources import open_source

from .figures import coco_file, write_set, zipped

BODY = load_skeleton("coco17")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("data") / "set", 6)


def make(root, **changes):
    persons = read_coco(root / "annotations.json", BODY)
    return CropDataset(persons, [FileStore(root / "images")], BODY, (48, 64), AugmentConfig(color=0.5, blur=0.3), **changes)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_an_item_depends_on_seed_epoch_and_index_alone(folder):
    first, second = make(folder), make(zipped(folder), cache=True)
    wanted = [(e, i) for e in range(3) for i in range(6)]
    expected = {item: first[item] for item in wanted}
    for item in wanted[::-1]:  # another order, another store, from the cache
        assert_same(second[item], expected[item])
        assert_same(second[item], expected[item])
    assert not np.array_equal(expected[0, 0]["affine"], expected[1, 0]["affine"])
    assert not np.array_equal(make(folder, seed=1)[0, 0]["affine"], expected[0, 0]["affine"])
    assert (expected[0, 0]["index"], expected[0, 0]["crop"].shape) == (0, (64, 48, 3))


def test_affine_leads_back_to_the_image(folder):
    crops = make(folder)
    crops.augment = AugmentConfig(flip=0)
    for index in range(6):
        item = crops[3, index]
        back = transform_points(item["joints"][None], invert_affine(item["affine"][None]))[0]
        np.testing.assert_allclose(back, crops.persons.keypoints[index], atol=1e-6)


def test_crops_for_timing_are_spread_over_a_file_or_a_folder(folder, tmp_path):
    labelled = make(folder)
    labelled.augment = None
    flat = shutil.copytree(folder / "images", tmp_path / "flat")
    shutil.copy(folder / "annotations.json", flat)
    found = load_crops(flat, BODY, (48, 64), limit=3)
    np.testing.assert_array_equal(found, [labelled[0, i]["crop"] for i in (0, 2, 5)])
    photos = load_crops(folder / "images", BODY, (48, 64), limit=2)
    np.testing.assert_array_equal(photos[1:], load_crops(folder / "images" / "003.png", BODY, (48, 64)))
    Image.new("RGB", (120, 160), "white").save(tmp_path / "white.png")
    (whole,) = load_crops(tmp_path / "white.png", BODY, (48, 64))
    assert whole.shape == (64, 48, 3) and whole[32, 24, 0] == 255 and not whole[:6].any()  # 1 / 1.25 of it is the photo
    assert (whole > 127).mean() == pytest.approx(0.64, abs=0.03)


def test_collate_adds_the_official_targets(folder):
    crops = make(folder)
    items = [crops[0, i] for i in range(3)]
    batch = Collate((48, 64), 2.0)(items)
    x, y, weight = simcc.encode(batch["joints"].numpy(), batch["visible"].numpy(), (48, 64))
    assert batch["crop"].shape == (3, 64, 48, 3) and batch["target_x"].shape == (3, 17, 96)
    for key, expected in (("target_x", x), ("target_y", y), ("weight", weight)):
        np.testing.assert_array_equal(batch[key].numpy(), expected)


@pytest.mark.parametrize(("cache", "decoded"), [(False, 4), (True, 2)])
def test_people_of_one_image_decode_it_once(folder, monkeypatch, cache, decoded):
    """In a row; with the cache in any order."""
    crops, reads = make(folder, cache=cache), []
    crops.persons = crops.persons.select(np.array([0, 0, 0, 1, 1, 0, 1]))
    read = FileStore.read_stored
    monkeypatch.setattr(FileStore, "read_stored", lambda self, name: (reads.append(name), read(self, name))[1])
    for index in range(7):
        crops[0, index]
    assert len(reads) == decoded and len(crops._images) == (2 if cache else 1)


def test_a_pasted_piece_does_not_cost_the_next_person_the_image(folder, monkeypatch):
    """Two people of one image, each covered with a piece of some other: the image is decoded once."""
    crops, reads = make(folder), []
    crops.augment = AugmentConfig(paste=1.0)
    crops.persons = crops.persons.select(np.array([0, 0, *[1] * 50]))
    read = FileStore.read_stored
    monkeypatch.setattr(FileStore, "read_stored", lambda self, name: (reads.append(name), read(self, name))[1])
    crops[0, 0], crops[0, 1]
    first, other = crops.persons.files[0], crops.persons.files[2]
    assert reads.count(first) == 1 and reads.count(other) == 2


def test_estimating_decodes_each_image_once(folder, monkeypatch):
    """Also where a file lists its people in another order, as COCO does; estimates keep that order."""
    crops, reads = make(folder), []
    crops.augment = None
    crops.persons = crops.persons.select(np.array([4, 0, 4, 1, 0, 4, 1]))
    read = FileStore.read_stored
    monkeypatch.setattr(FileStore, "read_stored", lambda self, name: (reads.append(name), read(self, name))[1])

    def network(batch):
        """Points at the column and row that the mean brightness of the crop tells."""
        bright = batch.reshape(len(batch), -1).mean(axis=1)[:, None, None]
        bins = np.arange(96)
        return tuple(np.repeat(-((bins - bright / 4) ** 2), 17, axis=1).astype(np.float32) for _ in "xy")

    found = estimate(network, crops, split=2, flip_test=False, batch_size=2)
    assert reads == ["004.png", "000.png", "001.png"]
    for row in range(7):
        alone = CropDataset(crops.persons.select(np.array([row])), crops.stores, BODY, (48, 64))
        expected = estimate(network, alone, split=2, flip_test=False)
        np.testing.assert_array_equal(found.keypoints[row], expected.keypoints[0])
        np.testing.assert_array_equal(found.raw_scores[row], expected.raw_scores[0])


def test_loader_processes_change_nothing(folder):
    from torch.utils.data import DataLoader

    def batches(workers):
        sampler = EpochBatches(6, 4, epoch=2)
        return list(DataLoader(make(folder), batch_sampler=sampler, collate_fn=Collate((48, 64), 2.0), num_workers=workers))

    alone, shared = batches(0), batches(2)
    assert [len(b["index"]) for b in alone] == [4, 2]
    for a, b in zip(alone, shared, strict=True):
        assert_same({k: v.numpy() for k, v in a.items()}, {k: v.numpy() for k, v in b.items()})


@given(size=st.integers(1, 60), batch=st.integers(1, 9), world=st.integers(1, 4), epoch=st.integers(0, 3))
def test_processes_share_an_epoch(size, batch, world, epoch):
    """Together they see each person once; all make the same number of steps; a step is the same set for any world."""
    shares = [list(EpochBatches(size, batch, rank=r, world=world, epoch=epoch)) for r in range(world)]
    assert {len(share) for share in shares} == {len(EpochBatches(size, batch, world=world))}
    alone = list(EpochBatches(size, batch * world, epoch=epoch))
    for step, together in enumerate(zip(*shares, strict=True)):
        seen = [item for mine in together for item in mine]
        assert all(mine and len(mine) <= batch for mine in together)
        assert set(seen) == set(alone[step]) and (len(seen) == len(alone[step]) or len(alone[step]) < world)
    assert sorted(i for step in alone for _, i in step) == list(range(size))
    assert all(e == epoch for step in alone for e, _ in step)


@given(size=st.integers(1, 40), batch=st.integers(1, 9), data=st.data())
def test_an_epoch_can_start_in_its_middle(size, batch, data):
    whole = list(EpochBatches(size, batch, epoch=1))
    start = data.draw(st.integers(0, len(whole)))
    rest = EpochBatches(size, batch, epoch=1, start=start)
    assert list(rest) == whole[start:] and len(rest) == len(whole)  # len is that of the epoch: the trainer counts with it


def test_every_epoch_has_its_own_order():
    orders = [[i for b in EpochBatches(50, 8, epoch=e) for _, i in b] for e in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1] and orders[0] != sorted(orders[0])
    assert [i for b in EpochBatches(50, 8, shuffle=False) for _, i in b] == list(range(50))
    assert orders[0] != [i for b in EpochBatches(50, 8, seed=1) for _, i in b]


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("annotated", ["stored", "upright"])
def test_crops_check_and_given_boxes_agree_on_the_way_up(tmp_path, orientation, annotated):
    """A red rectangle, annotated on the stored or on the upright picture: the crop shows it, or the check says why not."""
    stored = np.full((60, 90, 3), 30, np.uint8)
    stored[20:50, 10:30] = (220, 20, 20)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "images").mkdir()
    Image.fromarray(stored).save(tmp_path / "images" / "a.png", exif=exif)
    box, size = np.array([[10, 20, 30, 50]]), (90, 60)
    if annotated == "upright":
        box = turn_boxes(box, orientation, size)
        size = size[::-1] if orientation > 4 else size
    left, top, right, bottom = box[0].tolist()
    person = {"image_id": 1, "keypoints": [(left + right) / 2, (top + bottom) / 2, 2] * 17}
    person |= {"bbox": [left, top, right - left, bottom - top], "area": 600.0}
    data = coco_file([person], [{"id": 1, "file_name": "a.png", "width": size[0], "height": size[1]}])
    (tmp_path / "annotations.json").write_text(json.dumps(data))
    persons = read_coco(tmp_path / "annotations.json", BODY)
    crop = CropDataset(persons, [FileStore(tmp_path / "images")], BODY, (48, 64))[0, 0]["crop"]
    middle = crop[20:44, 18:30].reshape(-1, 3).astype(int)
    shown = bool(((middle[:, 0] > 150) & (middle[:, 1] < 90)).mean() > 0.95)
    source = Source(annotations=tmp_path / "annotations.json", images=tmp_path / "images")
    kinds = [finding.kind for finding in check([source], BODY).findings]
    known = orientation == 1 or orientation > 4  # else both pictures have the same size
    assert kinds == ([] if known else ["unclear orientation"])
    assert shown or (annotated == "upright" and not known)
    boxes = load_boxes(tmp_path / "annotations.json")
    with open_source(tmp_path / "images" / "a.png") as photo:
        (found,) = boxes.of_frames([next(photo)])
    if known or annotated == "stored":
        assert found.boxes.tolist() == turn_boxes(np.array([[10, 20, 30, 50]]), orientation, (90, 60)).tolist()


def test_a_size_that_fits_neither_way_is_a_finding(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    Image.new("RGB", (90, 60)).save(tmp_path / "images" / "a.png", exif=exif)
    person = {"image_id": 1, "keypoints": [20, 15, 2] * 17, "bbox": [10, 5, 20, 20], "area": 400.0}
    data = coco_file([person], [{"id": 1, "file_name": "a.png", "width": 45, "height": 30}])
    (tmp_path / "annotations.json").write_text(json.dumps(data))
    source = Source(annotations=tmp_path / "annotations.json", images=tmp_path / "images")
    (finding,) = check([source], BODY).findings
    assert finding.kind == "unclear orientation" and "45x30 is stated and 90x60 stored" in finding.detail


def test_a_mirrored_crop_shows_the_same_place(folder):
    """The centre is mirrored like the joints: pixel u of the crop is then W - u, to the pixel."""
    straight, mirrored = make(folder), make(folder)
    still = {"half_body": 0, "scale": 0, "rotation_chance": 0}
    straight.augment, mirrored.augment = AugmentConfig(flip=0, **still), AugmentConfig(flip=1, **still)
    for index in range(6):
        a, b = straight[0, index]["joints"], mirrored[0, index]["joints"][BODY.flip_index]
        np.testing.assert_allclose(b, np.column_stack([48 - a[:, 0], a[:, 1]]), atol=1e-4)
