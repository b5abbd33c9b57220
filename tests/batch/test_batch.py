"""`gtpt batch` finds what `gtpt predict` finds, once each, whatever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gtpt

from ..sample import assert_same, make_poses

arrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")
pytest.importorskip("ray")
import pyarrow.parquet as parquet  # noqa: E402

from gtpt.batch import batch, read_batch, run  # noqa: E402
from gtpt.batch.inputs import Part, list_inputs  # noqa: E402
from gtpt.batch.places import place_of  # noqa: E402
from gtpt.batch.table import Row, rows_of, to_arrow  # noqa: E402
from gtpt.batch.worker import Worker  # noqa: E402
from gtpt.prediction.options import Options  # noqa: E402

QUICK = {"boxes": "whole-image"}


def photo(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 6, 3), np.uint8)
    Image.fromarray(pixels).resize((48, 64)).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos, one below a folder, one that is none, and a file that is ignored."""
    photo(tmp_path / "in/a.png", 1)
    photo(tmp_path / "in/below/b.jpg", 2)
    (tmp_path / "in/bad.png").write_bytes(b"no picture")
    (tmp_path / "in/notes.txt").write_text("notes")
    return tmp_path / "in"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """Parts are done in this process, without Ray; the list tells which."""
    ran: list[Part] = []

    def run(missing: list[Part], source: Any, target: Any, options: Options, workers: int) -> Iterator[Any]:
        worker = Worker(source.address, target.address, options)
        for part in missing:
            ran.append(part)
            yield worker({"part": [part.to_json()]})

    monkeypatch.setattr("gtpt.batch.run._run", run)
    monkeypatch.setattr("gtpt.batch.run._ray", lambda workers, options: nullcontext(1))
    return ran


def predicted(source: Path, out: Path, **options: Any) -> dict[tuple[str, int], gtpt.Poses]:
    """What `gtpt predict` finds, by name and frame; frames of photos count as 0."""
    summary = gtpt.predict(source, out, **{"threads": 1, "draw": False, "format": "jsonl", "quiet": True, **options})
    lines = [json.loads(line) for line in Path(summary.sources[0].files[0]).read_text().splitlines()]
    film = source.is_file()
    return {
        (line["name"], line["frame"] if film else 0): gtpt.Poses.from_dict({**line, "skeleton": "coco17"})
        for line in lines[1:]
    }


def test_poses_come_back_as_they_were() -> None:
    poses = [make_poses(3), make_poses(0), make_poses(2, seed=1)]
    poses[0].keypoints[1, 2] = np.nan
    rows = [Row(f"{i}.jpg", i, i / 3, each) for i, each in enumerate(poses)]
    sink = arrow.BufferOutputStream()
    parquet.write_table(to_arrow(rows, poses[0].skeleton), sink)
    found = list(rows_of(parquet.ParquetFile(arrow.BufferReader(sink.getvalue()))))
    assert [(r.source, r.frame, r.time) for r in found] == [(r.source, r.frame, r.time) for r in rows]
    for row, expected in zip(found, poses, strict=True):
        assert_same(row.poses, expected)


def test_a_second_run_does_only_what_is_missing(photos: Path, here: list[Part], tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = batch(photos, out, **QUICK)
    assert (first.inputs, first.ignored, first.images, first.people, first.errors) == (3, 1, 2, 2, 1)
    assert first.exit_code == 3 and not any((out / "begun").iterdir())
    (error,) = (out / "errors").glob("*.parquet")
    assert parquet.read_table(error).to_pylist()[0]["source"] == "bad.png"
    assert {row.source for row in read_batch(out)} == {"a.png", "below/b.jpg"}
    here.clear()
    photo(photos / "c.png", 3)
    next((out / "poses").glob("*.parquet")).with_suffix(".parquet.partial").write_bytes(b"half")
    (out / "errors" / "orphan.parquet").write_bytes(error.read_bytes())  # its worker was killed before the poses
    again = batch(photos, out, **QUICK)
    assert [part.sources for part in here] == [["c.png"]]
    assert (again.images, again.errors, again.done_before) == (3, 1, 3)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["complete"] and manifest["images"] == sum(part["images"] for part in manifest["parts"].values()) == 3
    assert not list(out.rglob("*.partial")) and not (out / "errors" / "orphan.parquet").exists()
    here.clear()
    batch(photos, out, **QUICK)
    assert not here
    with pytest.raises(gtpt.GtptError, match="results of other options, flip_test: False then, True now"):
        batch(photos, out, flip_test=True, **QUICK)


def test_films_are_as_predicted(here: list[Part], tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    (tmp_path / "in").mkdir()
    film = tmp_path / "in" / "film.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 96, "yuv420p"
        for shade in range(20, 220, 40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((96, 64, 3), shade, np.uint8), format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "in" / "cut.mp4").write_bytes(film.read_bytes()[:500])
    options = {"smooth": True, "detect_every": 2, "stride": 2, **QUICK}
    summary = batch(tmp_path / "in", tmp_path / "out", **options)
    assert (summary.images, summary.errors) == (3, 1)
    expected = predicted(film, tmp_path / "one", **options)
    found = {(row.source, row.frame): row for row in read_batch(tmp_path / "out")}
    assert found.keys() == expected.keys() and list(found) == [("film.mp4", n) for n in (0, 2, 4)]
    for key, poses in expected.items():
        assert_same(found[key].poses, poses)
    assert found["film.mp4", 2].poses.ids.tolist() == [1] and found["film.mp4", 4].time == pytest.approx(0.4)


@pytest.mark.integration
def test_tables_of_paths_and_of_bytes_on_s3(
    photos: Path, here: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real server on loopback, read and written by pyarrow's own client."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    where = f"?endpoint_override={host}:{port}&scheme=http&allow_bucket_creation=true"
    contents = {name: (photos / name).read_bytes() for name in ("a.png", "below/b.jpg", "bad.png")}
    bucket = place_of(f"s3://bucket/tables{where}")
    bucket.files.create_dir("bucket", recursive=True)
    for name, data in contents.items():
        with bucket.files.open_output_stream(f"bucket/photos/{name}") as stream:
            stream.write(data)
    columns = {"path": [*contents], "bytes": [*contents.values()]}
    with bucket.files.open_output_stream("bucket/tables/some.parquet") as stream:
        parquet.write_table(arrow.table(columns), stream, row_group_size=2)
    local = {row.source: row.poses for row in read_batch(_done(photos, tmp_path / "local"))}
    for source in ("photos", "tables"):
        summary = batch(f"s3://bucket/{source}{where}", f"s3://bucket/of-{source}{where}", **QUICK)
        assert (summary.images, summary.errors) == (2, 1)
        found = {row.source: row.poses for row in read_batch(f"s3://bucket/of-{source}{where}")}
        assert found.keys() == local.keys()
        for name, poses in local.items():
            assert_same(found[name], poses)
    here.clear()
    batch(f"s3://bucket/tables{where}", f"s3://bucket/of-tables{where}", **QUICK)
    assert not here
    paths = tmp_path / "paths.parquet"
    addresses = [f"s3://bucket/photos/{name}{where}" for name in contents]
    parquet.write_table(arrow.table({"path": [*addresses, str(photos / "a.png")]}), paths)
    assert batch(paths, tmp_path / "out", **QUICK).images == 3
    server.stop()


def _done(photos: Path, out: Path) -> Path:
    batch(photos, out, **QUICK)
    return out


def test_photos_of_any_address_of_fsspec(
    photos: Path, here: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert batch(f"local://{photos}", f"local://{tmp_path}/out", **QUICK).images == 2

    def offline(*_: object) -> bytes:
        raise OSError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr("gtpt.batch.worker._decode", offline)
        patch.setattr("gtpt.batch.places.Place.local", False)
        with pytest.raises(gtpt.GtptError, match=r"cannot read .*: no answer; what is done is kept"):
            batch(f"local://{photos}", tmp_path / "offline", **QUICK)
    assert not list(tmp_path.glob("offline/errors/*")), "storage that does not answer makes no photo bad"
    assert batch(f"local://{photos}", tmp_path / "offline", **QUICK).images == 2
    with pytest.raises(gtpt.GtptError, match="cannot open nosuch://"):
        batch("nosuch://bucket", tmp_path / "out")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"file": ["a.jpg"]}, r"needs a column 'path' .* its columns are file: string"),
        ({"path": [1]}, r"its columns are path: int64"),
        ({"path": ["a"], "bytes": ["text"]}, r"bytes: string"),
        ({"path": ["a", "b", "a"]}, r"1 values of column 'path' are there twice, 'a' first"),
        ({"path": ["a", None]}, r"has a row without a value, number 1"),
        ({"path": arrow.array([], arrow.string())}, r"has no rows"),
    ],
)
def test_tables_of_another_schema(columns: dict, message: str, tmp_path: Path) -> None:
    parquet.write_table(arrow.table(columns), tmp_path / "in.parquet")
    with pytest.raises(gtpt.GtptError, match=message):
        batch(tmp_path / "in.parquet", tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()


def test_inputs_that_are_none(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("gone", "there is nothing at"),
        ("empty", "no photos or films in"),
        ("in/a.png", "is one file: give its folder"),
        ("broken.parquet", "cannot read .* as Parquet"),
    ):
        with pytest.raises(gtpt.GtptError, match=message):
            batch(tmp_path / name, tmp_path / "out", **QUICK)


def test_outputs_that_cannot_be(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/manifest.json").write_text("{}")
    for name, message in (
        ("file", "it is a file"),
        ("file/below", "cannot write to"),
        ("in/out", "lies in INPUT"),
        ("other", "no manifest of gtpt batch"),
    ):
        with pytest.raises(gtpt.GtptError, match=message):
            batch(photos, tmp_path / name, **QUICK)
    monkeypatch.setattr("gtpt.batch.run.shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(OSError, match="0 MB left, 3 inputs need about"):
        batch(photos, tmp_path / "full", **QUICK)


def test_a_disk_without_space_is_said_before_the_work(photos: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    code = (
        f"from gtpt.cli import main; main(['batch', {str(photos)!r}, {str(tmp_path / 'out')!r}, '--boxes', 'whole-image'])"
    )
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # noqa: E731
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1 and "cannot write to" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.parquet"))


def test_options_that_are_none_of_a_batch(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no option 'draw'"):
        batch(photos, tmp_path / "out", draw=True)
    for options, message in (({"track": True}, "do not follow each other"), ({"workers": 0}, "workers must be at least 1")):
        with pytest.raises(gtpt.GtptError, match=message):
            batch(photos, tmp_path / "out", **options, **QUICK)


def test_a_part_that_kills_its_workers_comes_to_an_end(photos: Path, tmp_path: Path) -> None:
    worker = Worker(str(photos), str(tmp_path / "out"), Options(boxes="whole-image", threads=1))
    part = Part(["a.png"])
    (tmp_path / "out/begun").mkdir(parents=True)
    (tmp_path / "out/begun" / part.name).write_bytes(bytes(3))
    assert worker.do(part)["images"] == 1
    (tmp_path / "out/begun" / part.name).write_bytes(bytes(4))
    with pytest.raises(gtpt.GtptError, match=r"4 workers died.*a\.png"):
        worker.do(part)


@pytest.mark.parametrize(
    ("workers", "threads", "cores", "used"),
    [(None, 1, 6, (6, 6)), (None, 2, 6, (6, 3)), (None, 4, 6, (4, 1)), (None, 8, 6, (8, 1)), (3, 4, 6, (12, 3))],
)
def test_as_many_workers_as_the_cores_have_room_for(
    workers: int | None, threads: int, cores: int, used: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a Ray just for this call; who asks for more gets them."""
    asked: dict[str, Any] = {}
    ray = SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda **options: asked.update(options),
        cluster_resources=lambda: {"CPU": asked["num_cpus"]},
        shutdown=lambda: None,
    )
    monkeypatch.setattr(run, "require", lambda *_: ray)
    monkeypatch.setattr(run, "available_cores", lambda: cores)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with run._ray(workers, Options(threads=threads)) as there:
        assert (asked["num_cpus"], there) == used


def test_parts_hold_each_input_once_and_films_come_first(tmp_path: Path) -> None:
    for i in range(300):
        (tmp_path / f"{i}.jpg").touch()
    (tmp_path / "z.mp4").touch()
    inputs = list_inputs(place_of(tmp_path))
    parts = inputs.parts({"7.jpg"}, workers=2)
    assert sorted(source for part in parts for source in part.sources) == sorted(set(inputs) - {"7.jpg"})
    assert parts[0].sources == ["z.mp4"] and len(parts) == 9 and len({part.name for part in parts}) == 9
    assert Part.from_json(parts[1].to_json()).name == parts[1].name


def killing(mark: Path) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """A detector that finds one box in each photo, and ends its process at the third, once."""
    seen = [0]

    def detector(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        seen[0] += len(images)
        if seen[0] >= 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [np.array([[5.0, 5.0, 40.0, 60.0]])] * len(images)

    return detector


@pytest.mark.integration
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_two_workers_one_killed_find_what_predict_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(gtpt.__file__).parents[1]))
    for i in range(24):
        photo(tmp_path / "in" / f"{i}.png", i)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    mark = tmp_path / "killed"
    options = {"detector": killing(mark), "min_score": 0}  # in noise nobody is sure
    summary = batch(tmp_path / "in", tmp_path / "out", workers=2, **options)
    assert mark.exists(), "a worker was killed"
    assert (summary.images, summary.people, summary.errors, summary.workers) == (24, 24, 1, 2)
    rows = list(read_batch(tmp_path / "out"))
    assert len(rows) == 24, "none twice"
    expected = predicted(tmp_path / "in", tmp_path / "one", **options)
    for row in rows:
        assert_same(row.poses, expected[row.source, 0])
    assert not any((tmp_path / "out/begun").iterdir())
