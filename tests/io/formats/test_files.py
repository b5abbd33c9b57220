"""What the writers share, and what their files hold besides the poses: room on the disk, names, types, numbers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gtpt.core.errors import OutputError
from gtpt.io.formats import open_writer, parquet, to_coco, to_supervision
from gtpt.io.formats.file import MAX_STEM, RESERVE_STEP, RecordWriter, Reserve, open_partial, short_stem, write_whole

from ...sample import make_poses

FILES = {"jsonl": "r.jsonl", "coco": "r.json", "csv": "r.csv", "npz": "r.npz", "parquet": "r.parquet"}


def held(reserve: Reserve) -> int:
    return os.fstat(reserve._file.fileno()).st_size


def test_a_reserve_holds_whole_pages_and_gives_back_all_but_what_is_kept(tmp_path):
    reserve, page = Reserve(tmp_path), RESERVE_STEP
    sizes = []
    for size in (0, 1, page, page + 1, 5 * page, 3):
        reserve.hold(size)
        sizes.append(held(reserve) // page)
    assert sizes == [0, 1, 1, 2, 5, 5]  # it never shrinks by itself
    reserve.free(keep=2 * page)
    assert held(reserve) == 2 * page
    reserve.hold(3 * page)
    assert held(reserve) == 3 * page
    reserve.free(keep=9 * page)
    assert held(reserve) == 3 * page
    reserve.free()
    assert held(reserve) == 0
    assert list(tmp_path.iterdir()) == []  # it has no name
    reserve.close()


def test_a_refused_reserve_holds_what_it_held(tmp_path, monkeypatch):
    reserve = Reserve(tmp_path)
    reserve.hold(2 * RESERVE_STEP)
    file, writes = reserve._file, []

    class Full:
        def __getattr__(self, name):
            return getattr(file, name)

        def write(self, data):
            writes.append(len(data))
            if len(writes) > 2:
                raise OSError(28, "No space left on device")
            return file.write(data)

    reserve._file = Full()
    with pytest.raises(OSError, match="No space"):
        reserve.hold(9 * RESERVE_STEP)
    assert writes == 3 * [RESERVE_STEP] and held(reserve) == 2 * RESERVE_STEP


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_what_waits_in_memory_has_its_place_on_the_disk(tmp_path, monkeypatch, kind):
    """At most a half more than the arrays need, and the share of names and index; in the folder of the result."""
    monkeypatch.setattr(parquet, "RESERVE", 1 << 16)
    poses, folder = make_poses(40, "coco_wholebody133"), tmp_path / "here"
    with open_writer(folder / FILES[kind]) as writer:
        before = writer._size
        for frame in range(5):
            writer.write(poses, frame=frame, time=0.5, name="a" * 100)
        grown = writer._size - before
        arrays = sum(
            getattr(poses, n).nbytes for n in ("boxes", "scores", "keypoints", "keypoint_scores", "raw_scores", "ids")
        )
        if kind == "npz":
            assert before == 1 << 15
            assert 5 * (1.01 * arrays + 8 * 100) <= grown <= 5 * (1.02 * arrays + 8 * 100 + 100)
        else:
            rows = 40 * 133
            assert before == 1 << 16 and grown >= 5 * rows * (
                3 * 8 + 8 * 4
            )  # whole numbers and time in 8, others in 4 bytes
        assert held(writer._reserve) >= writer._size - RESERVE_STEP
        if sys.platform == "linux":
            assert os.readlink(f"/proc/self/fd/{writer._reserve._file.fileno()}").startswith(str(folder))
        assert writer.images == 5
    assert writer._reserve._file.closed


@pytest.mark.parametrize("kind", FILES)
def test_writers_count_what_is_safely_there(tmp_path, kind):
    writer, counts = open_writer(tmp_path / FILES[kind]), []
    for frame in range(3):
        counts.append(writer.images)
        writer.write(make_poses(2), frame=frame, time=frame, name="v.mp4")
    assert [*counts, writer.images] == [0, 1, 2, 3]
    writer.close()


def test_parquet_has_the_same_types_whatever_is_written(tmp_path):
    with open_writer(tmp_path / "r.parquet") as writer:
        writer.write(make_poses(0), frame=0, time=0, name="v.mp4")
    whole, number, text = pa.int64(), pa.float32(), pa.string()
    assert dict(zip(*(lambda s: (s.names, s.types))(pq.read_schema(tmp_path / "r.parquet")), strict=True)) == {
        **{"frame": whole, "time": pa.float64(), "name": text, "person": whole, "id": whole, "joint": text},
        **dict.fromkeys(("x", "y", "score", "raw_score", "person_score", "x1", "y1", "x2", "y2"), number),
    }


def test_npz_has_the_same_types_whatever_is_written(tmp_path):
    poses = make_poses(2, image_size=(640, 480))
    with open_writer(tmp_path / "r.npz") as writer:
        for frame in (3, 4):
            writer.write(poses, frame=frame, time=frame, name=f"{frame}.jpg")
    with np.load(tmp_path / "r.npz") as data:
        assert data["times"].dtype == np.float64 and data["times"].tolist() == [3, 4]
        assert data["frames"].dtype == data["image_sizes"].dtype == data["person_frames"].dtype == np.int64
        assert data["frames"].tolist() == [3, 4] and data["person_frames"].tolist() == [3, 3, 4, 4]
        assert data["image_sizes"].tolist() == [[640, 480]] * 2 and data["names"].tolist() == ["3.jpg", "4.jpg"]
    open_writer(tmp_path / "none.npz").close()
    with np.load(tmp_path / "none.npz") as data:
        assert data["image_sizes"].shape == (0, 2) and data["times"].dtype == np.float64 and data["names"].dtype.kind == "U"


def test_the_first_id_counts_as_one():
    poses = make_poses(2, ids=[0, 1])
    assert [entry.get("track_id") for entry in to_coco(poses, 1)] == [0, 1]
    keypoints, detections = to_supervision(poses)
    assert detections.tracker_id.tolist() == [0, 1]
    np.testing.assert_array_equal(keypoints.detection_confidence, poses.scores)
    assert keypoints.class_id.tolist() == detections.class_id.tolist() == [0, 0]


def test_changes_of_the_copies_for_supervision_stay_there():
    poses = make_poses(2, ids=[0, 1])
    before = poses.to_dict()
    keypoints, detections = to_supervision(poses)
    for array in (keypoints.keypoint_confidence, keypoints.detection_confidence, keypoints.data["tracker_id"]):
        array[:] = 0
    for array in (detections.xyxy, detections.confidence, detections.tracker_id):
        array[:] = 0
    detections.class_id[:] = 5
    assert poses.to_dict() == before and keypoints.class_id.tolist() == [0, 0]


def test_long_names_are_cut_to_the_same_length_and_stay_apart():
    assert short_stem("a" * MAX_STEM) == "a" * MAX_STEM
    long = [short_stem("a" * MAX_STEM + end) for end in ("b", "c", "b")]
    assert long[0] == long[2] != long[1]
    assert all(len(os.fsencode(stem)) == MAX_STEM and stem.startswith("a" * (MAX_STEM - 9) + "_") for stem in long)
    accents = short_stem("é" * MAX_STEM)  # two bytes each, of which the cut takes one apart
    assert MAX_STEM - 2 < len(os.fsencode(accents)) <= MAX_STEM and accents.startswith("é" * ((MAX_STEM - 9) // 2) + "_")


def test_a_whole_file_is_there_or_not_and_leaves_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    write_whole(path, b"old")
    write_whole(path, b"new" * 100_000)
    assert path.read_bytes() == b"new" * 100_000

    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"half")
    assert path.read_bytes().startswith(b"new") and list(tmp_path.iterdir()) == [path]


def test_a_partial_file_never_follows_a_link(tmp_path):
    (tmp_path / "other").write_text("mine")
    (tmp_path / "r.csv.partial").symlink_to(tmp_path / "other")
    with open_partial(tmp_path / "r.csv") as file:
        file.write(b"x")
        file.seek(0)
        assert file.read() == b"x"
    assert (tmp_path / "other").read_text() == "mine" and not (tmp_path / "r.csv.partial").is_symlink()


def test_an_equal_skeleton_is_the_same_skeleton(tmp_path):
    data = make_poses(1).skeleton.to_dict()
    twin = type(make_poses(1).skeleton).from_dict(data)
    with open_writer(tmp_path / "r.jsonl") as writer:
        writer.write(make_poses(1), frame=0, time=0.0, name="a")
        writer.write(make_poses(1, twin), frame=1, time=0.1, name="a")
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 3


class Broken(RecordWriter):
    """A format that cannot write its end."""

    def finish(self):
        raise OSError(28, "No space left on device")


def test_an_end_that_cannot_be_written_costs_only_the_end(tmp_path):
    path = tmp_path / "r.txt"
    writer = Broken(path)
    writer.append(b"record\n")
    writer.images = 1
    with pytest.raises(OutputError, match=r"cannot write the results to .*No space left") as caught:
        writer.close()
    assert caught.value.errno == 28 and path.read_bytes() == b"record\n" and list(tmp_path.iterdir()) == [path]


def test_after_an_error_before_the_first_result_nothing_is_left(tmp_path):
    (tmp_path / "r.txt").write_text("older")
    with pytest.raises(ZeroDivisionError), Broken(tmp_path / "r.txt"):
        raise ZeroDivisionError
    assert [p.read_text() for p in tmp_path.iterdir()] == ["older"]


def test_a_whole_file_that_fails_says_why_even_if_its_rest_cannot_be_removed(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", fails)
    (tmp_path / "r.json.partial").touch()
    real = Path.unlink
    calls = []

    def unlink(path, missing_ok=False):
        calls.append(path)
        return real(path, missing_ok) if len(calls) == 1 else fails()

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(OutputError, match="Read-only") as caught:
        write_whole(tmp_path / "r.json", b"x")
    assert caught.value.errno == 30 and len(calls) == 2
