"""Every format is read back with the tool that its users have, and equals what was written."""

import csv
import json
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from gtpt import Poses, Skeleton, load_skeleton
from gtpt.core.errors import OutputError
from gtpt.evaluate.coco import evaluate_coco
from gtpt.io.formats import FORMATS, open_writer, parquet, to_coco, to_openpose, to_pandas
from gtpt.io.formats.file import open_partial, write_whole

from ...sample import assert_same, make_poses

FILES = {"jsonl": "r.jsonl", "coco": "r.json", "csv": "r.csv", "npz": "r.npz", "parquet": "r.parquet"}
FRAMES = [make_poses(n, seed=n) for n in (2, 0, 3)]  # nobody in the second image


def write(writer, frames=FRAMES, start=0):
    for i, poses in enumerate(frames, start):
        writer.write(poses, frame=i, time=i / 4, name="video, part 1.mp4")


def expected_table(frames=FRAMES):
    tables = [
        pd.DataFrame({"frame": i, "time": i / 4, "name": "video, part 1.mp4", **to_pandas(poses)})
        for i, poses in enumerate(frames)
    ]
    return pd.concat([t for t in tables if len(t)], ignore_index=True)


def assert_same_table(read, expected):
    assert list(read) == list(expected)
    for column in read:
        values = expected[column].to_numpy()
        np.testing.assert_array_equal(read[column].to_numpy().astype(values.dtype), values, err_msg=column)


def test_jsonl(tmp_path):
    with open_writer(tmp_path / "r.jsonl") as writer:
        write(writer)
    header, *lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert header["format"] == "gtpt-poses" and header["version"] == 1
    assert [line["frame"] for line in lines] == [0, 1, 2]
    assert lines[2]["time"] == 0.5 and lines[2]["name"] == "video, part 1.mp4"
    for line, poses in zip(lines, FRAMES, strict=True):
        assert_same(Poses.from_dict({**line, "skeleton": header["skeleton"]}), poses)


def test_csv(tmp_path):
    with open_writer(tmp_path / "r.csv") as writer:
        write(writer)
    assert_same_table(pd.read_csv(tmp_path / "r.csv"), expected_table())


def test_parquet(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 30)
    with open_writer(tmp_path / "r.parquet") as writer:
        write(writer)
    assert pq.ParquetFile(tmp_path / "r.parquet").num_row_groups == 2  # 34 and 51 rows
    read = pd.read_parquet(tmp_path / "r.parquet")
    assert_same_table(read, expected_table())
    assert read["x"].dtype == np.float32 and read["frame"].dtype == np.int64


def test_npz(tmp_path):
    with open_writer(tmp_path / "r.npz") as writer:
        write(writer)
    with np.load(tmp_path / "r.npz", allow_pickle=False) as data:
        assert data["frames"].tolist() == [0, 1, 2] and data["times"].tolist() == [0, 0.25, 0.5]
        assert data["names"].tolist() == ["video, part 1.mp4"] * 3
        assert data["joints"].tolist() == list(FRAMES[0].skeleton.keypoints)
        for i, poses in enumerate(FRAMES):
            rows = data["person_frames"] == i
            read = {
                name: data[name][rows] for name in ("boxes", "scores", "keypoints", "keypoint_scores", "raw_scores", "ids")
            }
            skeleton = Skeleton.from_dict(json.loads(str(data["skeleton"])))
            assert_same(Poses(**read, image_size=tuple(data["image_sizes"][i].tolist()), skeleton=skeleton), poses)


def test_coco(tmp_path):
    with open_writer(tmp_path / "r.json") as writer:
        write(writer)
    entries = json.loads((tmp_path / "r.json").read_text())
    expected = [entry for i, poses in enumerate(FRAMES) for entry in to_coco(poses, i)]
    assert [{k: v for k, v in e.items() if k != "file_name"} for e in entries] == expected
    assert {e["file_name"] for e in entries} == {"video, part 1.mp4"}


@pytest.mark.parametrize(
    ("name", "image_id"),
    [("000000018519.jpg", 18519), ("7.PNG", 7), ("2024.mp4", 5), ("holiday.jpg", 5), ("٣.jpg", 3), ("²2.jpg", 5), ("", 5)],
)
def test_coco_image_id(tmp_path, name, image_id):
    with open_writer(tmp_path / "r.json") as writer:
        writer.write(FRAMES[0], frame=5, time=0.0, name=name)
    assert {e["image_id"] for e in json.loads((tmp_path / "r.json").read_text())} == {image_id}


def test_coco_never_gives_two_photos_one_image_id(tmp_path, caplog):
    names = ["1.jpg", "2.webp", "cat.jpg", "1.jpg", "9.jpg"]  # cat.jpg is the photo number 2
    with open_writer(tmp_path / "r.json") as writer:
        for i, name in enumerate(names):
            writer.write(FRAMES[0], frame=i, time=0.0, name=name)
    entries = json.loads((tmp_path / "r.json").read_text())
    found = dict.fromkeys((e["image_id"], e["file_name"]) for e in entries)  # 1.jpg of another folder is another photo
    assert list(found) == [(1, "1.jpg"), (2, "2.webp"), (3, "cat.jpg"), (4, "1.jpg"), (9, "9.jpg")]
    assert "cat.jpg gets image_id 3" in caplog.text


@pytest.mark.integration
def test_coco_evaluates_to_one_on_its_own_ground_truth(shared, tmp_path, capsys):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(shared / "data/coco_sample/annotations/person_keypoints_val2017.json"))
    with open_writer(tmp_path / "r.coco.json") as writer:
        for frame, image in enumerate(truth.loadImgs(truth.getImgIds())):
            people = truth.loadAnns(truth.getAnnIds(imgIds=image["id"], iscrowd=False))
            people = [p for p in people if p["num_keypoints"]]
            boxes = np.array([p["bbox"] for p in people]).reshape(-1, 4)
            points = np.array([p["keypoints"] for p in people]).reshape(-1, 17, 3)
            poses = make_poses(len(people), image_size=(image["width"], image["height"])).with_(
                boxes=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1), keypoints=points[..., :2]
            )
            writer.write(poses, frame=frame, time=0.0, name=image["file_name"])
    results = truth.loadRes(str(tmp_path / "r.coco.json"))
    evaluation = COCOeval(truth, results, "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == evaluation.stats[5] == 1.0  # AP and AR


def test_coco_results_of_the_whole_body_are_evaluated_part_by_part(tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    videos = [make_poses(n, "coco_wholebody133", seed=n) for n in (1, 2)]
    wrong = [poses.with_(keypoints=poses.keypoints.copy()) for poses in videos]
    for poses in wrong:
        poses.keypoints[:, -21:] += 1000  # nothing but the right hand
    with open_writer(tmp_path / "r.json") as writer:
        write(writer, wrong)
    people = [
        {"image_id": image, "box": poses.boxes[i], "points": np.concatenate([points, np.full((133, 1), 2)], axis=1)}
        for image, poses in enumerate(videos)
        for i, points in enumerate(poses.keypoints)
    ]
    parts = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
    ends = dict(zip(parts, np.cumsum(list(parts.values())), strict=True))
    annotations = [
        {
            **{
                "id": number,
                "image_id": p["image_id"],
                "category_id": 1,
                "iscrowd": 0,
                "area": 20_000,
                "num_keypoints": 17,
            },
            "bbox": [*p["box"][:2].tolist(), *(p["box"][2:] - p["box"][:2]).tolist()],
            **{key: p["points"][end - parts[key] : end].ravel().tolist() for key, end in ends.items()},
        }
        for number, p in enumerate(people, start=1)
    ]
    truth = {
        "images": [{"id": 0, "file_name": "0.jpg"}, {"id": 1, "file_name": "1.jpg"}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    figures = evaluate_coco(truth, tmp_path / "r.json", load_skeleton("coco_wholebody133")).figures
    ap = {part: figures[part]["AP"] for part in ("body", "foot", "face", "left_hand", "right_hand")}
    assert ap == pytest.approx({"body": 1, "foot": 1, "face": 1, "left_hand": 1, "right_hand": 0})
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    body = COCO(str(tmp_path / "truth.json"))  # looks at the 17 points of "keypoints" only
    evaluation = COCOeval(body, body.loadRes(str(tmp_path / "r.json")), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


# OpenPose's documentation, "Pose Output Format (BODY_25)"; the hip and the neck, which we compute, are checked apart
BODY_25 = (
    *("nose", None, "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", None),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
    *("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel"),
)


def test_openpose_folder_by_its_documented_form(tmp_path):
    """Keypoint i lies at (i, 2 i) with score i / 200, so what a reader must find is known by hand."""
    whole = load_skeleton("coco_wholebody133")
    number = np.arange(133)
    points = np.stack([number, 2 * number], axis=1)[None]
    poses = make_poses(1, whole, ids=[3]).with_(keypoints=points, keypoint_scores=number[None] / 200)
    with open_writer(tmp_path / "video_json") as writer:
        writer.write(poses, frame=41, time=1.64, name="video.mp4")
    (file,) = (tmp_path / "video_json").iterdir()
    assert file.name == "video_000000000041_keypoints.json"  # NAME_%012d_keypoints.json
    frame = json.loads(file.read_text())
    (person,) = frame["people"]
    assert frame["version"] == 1.3 and person["person_id"] == [3]
    counts = {"pose_keypoints_2d": 25, "face_keypoints_2d": 70, "hand_left_keypoints_2d": 21, "hand_right_keypoints_2d": 21}
    read = {key: np.array(person[key]).reshape(count, 3) for key, count in counts.items()}

    def at(i):
        return pytest.approx([i, 2 * i, i / 200])

    for row, name in zip(read["pose_keypoints_2d"], BODY_25, strict=True):
        assert name is None or row == at(whole.index(name)), name
    body, face = read["pose_keypoints_2d"], read["face_keypoints_2d"]
    assert body[4] == at(10) and body[14] == at(15)  # right wrist and left ankle are COCO's 10 and 15
    assert body[1] == pytest.approx([5.5, 11, 0.025])  # neck: between the shoulders 5 and 6, the lower score
    assert body[8] == pytest.approx([11.5, 23, 0.055])  # mid-hip: between the hips 11 and 12
    assert face[0] == at(23) and face[67] == at(90) and face[68] == at(2) and face[69] == at(1)  # right pupil, then left
    assert [row[0] for row in read["hand_left_keypoints_2d"]] == list(range(91, 112))
    assert [row[0] for row in read["hand_right_keypoints_2d"]] == list(range(112, 133))


def test_openpose_of_body_and_feet_has_all_of_body_25():
    (person,) = to_openpose(make_poses(1, "coco_feet23"))["people"]
    assert np.reshape(person["pose_keypoints_2d"], (25, 3))[:, 2].all() and not person["face_keypoints_2d"]


@pytest.mark.parametrize("kind", [None, "controlnet"])
def test_openpose_folder(tmp_path, kind):
    with open_writer(tmp_path / "new" / "video_json", kind) as writer:
        write(writer)
    files = sorted((tmp_path / "new" / "video_json").iterdir())
    assert [f.name for f in files] == [f"video, part 1_{i:012d}_keypoints.json" for i in range(3)]
    for file, poses in zip(files, FRAMES, strict=True):
        assert json.loads(file.read_text()) == to_openpose(poses, controlnet=kind is not None)


@pytest.mark.parametrize("kind", FILES)
def test_the_file_appears_complete_and_at_once(tmp_path, kind):
    path = tmp_path / "deep" / FILES[kind]
    writer = open_writer(path)
    write(writer)
    assert [p.name for p in path.parent.iterdir()] == [path.name + ".partial"]
    writer.close()
    writer.close()  # harmless
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", FILES)
def test_a_video_without_frames_and_frames_without_people(tmp_path, kind):
    path = tmp_path / FILES[kind]
    readers = {
        "jsonl": lambda: len(path.read_text().splitlines()[1:]),
        "coco": lambda: len(json.loads(path.read_text())),
        "csv": lambda: len(pd.read_csv(path)),
        "parquet": lambda: len(pd.read_parquet(path)),
        "npz": lambda: len(np.load(path)["frames"]),
    }
    open_writer(path).close()
    assert readers[kind]() == 0
    with open_writer(path) as writer:
        write(writer, [make_poses(0)])
    assert readers[kind]() == (1 if kind in ("jsonl", "npz") else 0)  # these record an image with nobody


def count_frames(path, kind):
    if kind == "jsonl":
        return len(path.read_text().splitlines()) - 1
    if kind == "coco":
        return len({e["image_id"] for e in json.loads(path.read_text())})
    if kind == "csv":
        with path.open(newline="") as file:
            return len({row["frame"] for row in csv.DictReader(file, strict=True)})
    return len(np.load(path)["frames"]) if kind == "npz" else pd.read_parquet(path)["frame"].nunique()


@pytest.mark.parametrize("kind", FILES)
def test_an_error_keeps_what_is_done(tmp_path, kind):
    path = tmp_path / FILES[kind]
    with pytest.raises(KeyboardInterrupt), open_writer(path) as writer:
        write(writer, [make_poses(2), make_poses(1)])
        raise KeyboardInterrupt
    assert count_frames(path, kind) == 2
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), open_writer(path):
        raise ZeroDivisionError  # before the first result
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
@pytest.mark.parametrize("kind", ["jsonl", "coco", "csv"])
def test_a_full_disk_keeps_whole_records(tmp_path, kind):
    import resource

    path = tmp_path / FILES[kind]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    written = 0
    try:
        with pytest.raises(OSError, match=rf"cannot write the results to .*{path.name}"), open_writer(path) as writer:
            for written in range(1000):
                write(writer, [make_poses(2)], start=written)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 3 < written < 100
    assert count_frames(path, kind) == written
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_a_full_disk_costs_only_what_is_refused(tmp_path, kind, monkeypatch):
    """These wait in memory, and have their place on the disk all the same."""
    import resource

    monkeypatch.setattr(parquet, "RESERVE", 100_000)
    path, taken = tmp_path / FILES[kind], 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    try:
        with pytest.raises(OSError, match=rf"cannot write the results to .*{path.name}"), open_writer(path) as writer:
            for taken in range(3000):
                write(writer, [make_poses(2, seed=taken)], start=taken)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 20 < taken < 2999
    assert count_frames(path, kind) == taken
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["jsonl", "coco", "npz"])
def test_one_file_has_one_skeleton(tmp_path, kind):
    with pytest.raises(ValueError, match=r"'coco17' first and then 'coco_wholebody133'"):
        with open_writer(tmp_path / FILES[kind]) as writer:
            write(writer, [make_poses(1), make_poses(1, "coco_wholebody133")])
    assert count_frames(tmp_path / FILES[kind], kind) == 1


@pytest.mark.parametrize("kind", ["jsonl", "coco", "csv", "parquet", "openpose"])
def test_memory_does_not_grow_with_the_video(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 200)
    poses = make_poses(3)
    with open_writer(tmp_path / FILES.get(kind, "folder")) as writer:
        write(writer, [poses] * 20)
        tracemalloc.start()
        try:
            held = [0]
            for start in (20, 120):
                write(writer, [poses] * 100, start=start)
                held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    growth = np.diff(held)  # twice, as one of them may be a table of Python's own that had to grow
    assert growth.min() < 60_000  # one frame's table alone has 51 rows of 15 columns, about 20 kB


def test_unknown_formats_and_places_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"no result format for '\.xml': use \.jsonl, \.json, \.csv"):
        open_writer(tmp_path / "r.xml")
    with pytest.raises(ValueError, match=r"unknown result format 'xml'.*'openpose'"):
        open_writer(tmp_path / "r.jsonl", "xml")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError, match=r"folder\.csv: there is a folder of that name"):
        open_writer(tmp_path / "folder.csv", "csv")
    (tmp_path / "file").touch()
    for place in ("file/r.jsonl", "file/folder"):
        with pytest.raises(OSError, match="cannot write the results to"):
            open_writer(tmp_path / place)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.csv"]


def test_the_format_can_go_against_the_extension(tmp_path):
    with open_writer(tmp_path / "results.txt", "csv") as writer:
        write(writer)
    assert_same_table(pd.read_csv(tmp_path / "results.txt"), expected_table())
    assert set(FILES) < set(FORMATS)


@pytest.mark.parametrize("kind", FILES)
def test_file_names_of_any_bytes(tmp_path, kind):
    with open_writer(tmp_path / FILES[kind]) as writer:
        writer.write(make_poses(1), frame=0, time=0.0, name="caf\udce9.mp4")
    assert count_frames(tmp_path / FILES[kind], kind) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there the system refuses what is open")
@pytest.mark.parametrize("kind", FILES)
def test_a_second_writer_of_a_name_is_refused_and_the_first_goes_on(tmp_path, kind):
    path = tmp_path / FILES[kind]
    with open_writer(path) as writer:
        write(writer)
        with pytest.raises(OutputError, match="another call is writing it"):
            open_writer(path)
    first = path.read_bytes()
    with open_writer(path) as writer:  # after the first, the name is free
        write(writer)
    assert kind in ("npz", "parquet") or path.read_bytes() == first


@pytest.mark.skipif(sys.platform == "win32", reason="there the system refuses what is open")
def test_a_whole_file_leaves_what_another_is_writing_alone(tmp_path):
    with open_partial(tmp_path / "a.json") as file:
        file.write(b"mine")
        with pytest.raises(OutputError, match="another call is writing it"):
            write_whole(tmp_path / "a.json", b"other")
        assert (tmp_path / "a.json.partial").read_bytes() == b"mine"
    write_whole(tmp_path / "a.json", b"other")  # closed, as by a killed process: it holds nothing
    assert (tmp_path / "a.json").read_bytes() == b"other" and len(list(tmp_path.iterdir())) == 1
