"""Shares of a call, joined, are what one call writes, byte for byte; shares that cannot be joined are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gtpt
from gtpt.cli import main
from gtpt.io.formats import FORMATS
from gtpt.prediction.options import Share
from gtpt.prediction.outputs import Summary
from gtpt.prediction.shards import ShardWriter

SIZE = (48, 64)


def photo(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 6, 3), np.uint8)
    Image.fromarray(pixels).resize(SIZE).save(path)
    return path


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """A folder with what makes names and numbers clash, an animation, and photos given one by one."""
    for seed, name in enumerate(("1.png", "7.png", "a.jpg", "a.png", "a_pose.jpg", "b.png")):
        photo(tmp_path / "in" / name, seed)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no picture")
    frames = [Image.fromarray(np.full((64, 48, 3), shade, np.uint8)) for shade in (40, 120, 200)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:], duration=100)
    return [tmp_path / "in", tmp_path / "film.gif", photo(tmp_path / "x" / "1.png", 8), photo(tmp_path / "y" / "1.png", 9)]


def run(sources: list[Path], out: Path, **options: object) -> Summary:
    return gtpt.predict(sources, out, **{"boxes": "whole-image", "threads": 1, "quiet": True, **options})


def shares(sources: list[Path], out: Path, count: int, **options: object) -> list[Summary]:
    return [run(sources, out, shard=f"{number}/{count}", **options) for number in range(1, count + 1)]


def tree(folder: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(("shard-", ".resume"))}


OTHERS = [pytest.param(form, marks=pytest.mark.integration) for form in FORMATS if form != "parquet"]


@pytest.mark.parametrize("form", [None, "parquet", *OTHERS])
def test_shards_joined_are_what_one_call_writes(form: str | None, sources: list[Path], tmp_path: Path) -> None:
    one = run(sources, tmp_path / "one", format=form)
    parts = shares(sources, tmp_path / "out", 3, format=form)
    assert sum(source.frames for part in parts for source in part.sources) == 11
    assert all(source.frames < 9 for part in parts for source in part.sources), "no share is the whole"
    merged = gtpt.merge(tmp_path / "out")
    expected = tree(tmp_path / "one")
    assert len(expected) > 10 and tree(tmp_path / "out") == expected
    before, after = one.to_dict(), merged.to_dict()
    for summary in (before, after):
        for source in summary["sources"]:
            source["files"] = sorted(Path(file).name for file in source["files"])
    assert after == before and merged.exit_code == 3


def test_more_shards_than_photos_and_boxes_of_ones_own(tmp_path: Path) -> None:
    """Nobody is found in the second photo, the third has no box; image ids are those of the file."""
    for seed in range(3):
        photo(tmp_path / "in" / f"{seed}.png", seed)
    people = [{"id": 1, "image_id": 70, "category_id": 1, "bbox": [4, 4, 30, 40]}]
    images = [{"id": 70 + i, "file_name": f"{i}.png", "width": 48, "height": 64} for i in range(2)]
    boxes = tmp_path / "boxes.json"
    categories = [{"id": 1, "name": "person"}]
    boxes.write_text(json.dumps({"images": images, "annotations": people, "categories": categories}))
    options = {"boxes": boxes, "format": "coco", "draw": False}
    run([tmp_path / "in"], tmp_path / "one", **options)
    parts = shares([tmp_path / "in"], tmp_path / "out", 5, **options)
    assert [part.exit_code for part in parts] == [0, 0, 1, 0, 0]
    gtpt.merge([tmp_path / "out" / f"shard-{i}-of-5" for i in (3, 1, 2, 5, 4)], tmp_path / "merged")
    assert tree(tmp_path / "merged") == tree(tmp_path / "one")
    assert json.loads((tmp_path / "merged" / "in.json").read_text())[0]["image_id"] == 70


def test_sources_of_a_list(sources: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run(sources, tmp_path / "one", draw=False)
    listing = tmp_path / "list.txt"
    listing.write_text("\r\n".join(map(str, sources)) + "\n\n", encoding="utf-8")
    arguments = ["predict", "--list", str(listing), "--boxes", "whole-image", "--no-draw", "--json"]
    for number in (1, 2):
        with pytest.raises(SystemExit, match="3" if number == 2 else "0"):  # one share has the broken photo
            main([*arguments, "--shard", f"{number}/2", "-o", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="3"):
        main(["merge", str(tmp_path / "out"), "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["sources"][0]["people"] == 2
    assert tree(tmp_path / "out") == tree(tmp_path / "one")
    with pytest.raises(SystemExit, match="2"):
        main(["predict"])


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two shards of a folder of four photos."""
    for seed in range(4):
        photo(tmp_path / "in" / f"{seed}.png", seed)
    shares([tmp_path / "in"], tmp_path / "out", 2)
    return tmp_path / "out" / "shard-1-of-2", tmp_path / "out" / "shard-2-of-2"


def flip(record: Path) -> None:
    content = bytearray(record.read_bytes())
    content[len(content) // 2] ^= 1
    record.write_bytes(content)


def drop_line(record: Path) -> None:
    lines = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(b"".join(lines[:3] + lines[4:]))


def picture(record: Path) -> Path:
    return sorted(record.parent.glob("*_pose.jpg"))[0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda one, two: shutil.rmtree(two), "of 2 shards these are missing: 2;"),
        (lambda one, two: shutil.copytree(two, two.with_name("shard-copy-of-2")), r"share 2/2 is there twice: .* and "),
        (lambda one, two: (two / "shard.jsonl").unlink(), "has no shard.jsonl: that share was not finished"),
        (lambda one, two: (two / "shard.jsonl").write_bytes(b""), "is empty"),
        (lambda one, two: (two / "shard.jsonl").write_bytes(b"\xff\n{}\n"), "is damaged, it is no record"),
        (lambda one, two: flip(two / "shard.jsonl"), "is damaged"),
        (lambda one, two: drop_line(two / "shard.jsonl"), "is damaged, it is not as it was written"),
        (lambda one, two: picture(two / "shard.jsonl").unlink(), "_pose.jpg is missing or not as it was written"),
        (lambda one, two: picture(two / "shard.jsonl").write_bytes(b""), "_pose.jpg is missing or not as it was written"),
        (
            lambda one, two: run([one.parents[1] / "in"], one.parent, shard="2/2", stride=2),
            "other options, stride: 1 and 2",
        ),
        (lambda one, two: run([one.parents[1] / "in"], one.parent, shard="2/3"), "share 1/2 and .* is share 2/3"),
        (lambda one, two: run([one.parents[1] / "out"], one.parent, shard="2/2"), "are of other sources"),
    ],
)
def test_shards_that_cannot_be_joined_are_refused(spoil: Callable, message: str, pair: tuple[Path, Path]) -> None:
    spoil(*pair)
    with pytest.raises(gtpt.GtptError, match=message):
        gtpt.merge(pair[0].parent)
    assert not tree(pair[0].parent), "before anything is written"


def test_photos_that_came_between_the_shards_are_noticed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "in" / "3.png").rename(tmp_path / "in" / "9.png")
    run([tmp_path / "in"], tmp_path / "out", shard="2/2")
    with pytest.raises(gtpt.GtptError, match=r"not seen the same photos in .*in \(4 and 4\)"):
        gtpt.merge(tmp_path / "out")


def test_an_interrupted_share_is_not_complete(pair: tuple[Path, Path], tmp_path: Path) -> None:
    def detector(images: list[np.ndarray]) -> list[np.ndarray]:
        raise KeyboardInterrupt

    assert run([tmp_path / "in"], tmp_path / "out", shard="2/2", boxes=None, detector=detector).exit_code == 130
    with pytest.raises(gtpt.GtptError, match="share 2/2 was not finished"):
        gtpt.merge(tmp_path / "out")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5", "٣/٤"])
def test_impossible_shares(text: str) -> None:
    with pytest.raises(gtpt.GtptError, match="shard must be i/n"):
        Share.parse(text)


def test_photos_that_follow_each_other_are_not_shared_out(sources: list[Path], tmp_path: Path) -> None:
    with pytest.raises(gtpt.GtptError, match="only every n-th photo"):
        run(sources[:1], tmp_path / "out", shard="1/2", track=True)


def test_nothing_to_merge(tmp_path: Path) -> None:
    with pytest.raises(gtpt.GtptError, match="no such folder"):
        gtpt.merge(tmp_path / "gone")
    with pytest.raises(gtpt.GtptError, match="is no shard and holds none"):
        gtpt.merge(tmp_path)


def test_a_skeleton_without_a_place_in_the_format_is_said_by_the_share(tmp_path: Path) -> None:
    """Not only when all are joined."""
    horse = gtpt.Skeleton.from_dict({"name": "horse", "keypoints": ["head", "tail"]})
    with ShardWriter(tmp_path / "shard.jsonl") as record:
        record.open(0, "openpose", False, [])
        with pytest.raises(gtpt.GtptError, match="OpenPose needs the body keypoints"):
            record.write(gtpt.Poses.empty((4, 4), horse), frame=0, time=0.0, name="a")
        record.open(1, "csv", False, [])
        record.write(gtpt.Poses.empty((4, 4), horse), frame=0, time=0.0, name="a")
