"""Whatever a file holds, its reader gives what it promises or raises a GtptError: nothing else, and at once."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gtpt import Poses, Skeleton
from gtpt.core.errors import GtptError
from gtpt.core.geometry import MAX_COORDINATE
from gtpt.core.skeleton import load_skeleton
from gtpt.data.annotations import Annotations, read_results
from gtpt.data.yolo import from_yolo
from gtpt.detect import load_boxes
from gtpt.engines.base import NetworkInfo
from gtpt.prediction.journal import Journal, read_header

pytestmark = pytest.mark.integration
COCO17 = load_skeleton("coco17")
many = settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))

numbers = st.one_of(
    st.integers(-3, 1000),
    st.integers(-(10**420), 10**420),
    st.floats(width=64),
    st.sampled_from([1e308, -0.0, 2**63, 2**31]),
)
scalars = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=8), st.sampled_from(["person", "a.png", "1", "nan"])
)


def content(*keys: str) -> st.SearchStrategy[Any]:
    """JSON of any kind, in which the keys that a reader looks for are frequent."""
    names = st.sampled_from(keys) | st.text(max_size=4)
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=6), max_leaves=25
    )


def only_ours(read: Callable[..., Any], *arguments: Any) -> Any:
    """What was read; None where it was refused with a message."""
    try:
        return read(*arguments)
    except GtptError as error:
        assert str(error)
        return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readers")


cells = st.one_of(
    numbers.map(str), st.text(max_size=6), st.sampled_from(["a.png", "", '"', "1e999", "inf", ",", "\0", "\r"])
)
rows = st.lists(st.lists(cells, max_size=7).map(",".join), max_size=6)
heads = st.sampled_from(["name,x1,y1,x2,y2", "frame,x,y,w,h,score", "file;x1;y1;x2;y2", "name,x1,x1,y1,x2,y2", '"name', ""])


@many
@given(heads, rows, st.sampled_from(["utf-8", "utf-16", "latin-1"]), st.booleans())
@example("name,x1,y1,x2,y2", ["a.png,1,2,3", '"a.png,1,2,3,4'], "utf-8", False)
def test_tables_of_boxes(folder: Path, head: str, lines: list[str], encoding: str, ended: bool) -> None:
    path = folder / "boxes.csv"
    path.write_bytes("\n".join([head, *lines, ""][: None if ended else -1]).encode(encoding, errors="replace"))
    given_boxes = only_ours(load_boxes, path)
    for found in [] if given_boxes is None else [*given_boxes._by_name.values(), *given_boxes._by_number.values()]:
        assert np.isfinite(found.boxes).all() and np.abs(found.boxes).max(initial=0) <= MAX_COORDINATE
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all() and ((found.scores >= 0) & (found.scores <= 1)).all()


KEYS = ("images", "annotations", "categories", "id", "file_name", "width", "height", "image_id", "category_id", "bbox")
KEYS += ("keypoints", "iscrowd", "area", "score", "name", "face_kpts")
entries = st.lists(st.dictionaries(st.sampled_from(KEYS), scalars | st.lists(scalars, max_size=4), max_size=9), max_size=4)


@many
@given(content(*KEYS) | entries | st.fixed_dictionaries(dict.fromkeys(KEYS[:3], entries)))
def test_annotations(folder: Path, data: Any) -> None:
    path = folder / "boxes.json"
    path.write_text(json.dumps(data))
    only_ours(load_boxes, path)
    only_ours(read_results, data if isinstance(data, list) else [data], ("image_id",))
    if (file := only_ours(Annotations, data, "x.json")) is not None:
        only_ours(file.images_by_id)
        only_ours(file.person_category)
        only_ours(file.check_keypoint_names, COCO17)
        file.categories_of(COCO17)
        for person in file.annotations:
            only_ours(person.box, "annotation")
            only_ours(person.joints, COCO17, "annotation")
            person.counts  # noqa: B018


POSES = ("image_size", "people", "skeleton", "id", "box", "score", "keypoints", "raw_scores")
people = st.lists(st.dictionaries(st.sampled_from(POSES), scalars | st.lists(scalars, max_size=4), max_size=8), max_size=3)
sizes = st.lists(numbers, max_size=3) | scalars


@many
@given(content(*POSES) | st.fixed_dictionaries({"image_size": sizes, "people": people, "skeleton": st.just("coco17")}))
def test_poses(data: Any) -> None:
    poses = only_ours(Poses.from_dict, data)
    assert poses is None or isinstance(Poses.from_dict(json.loads(poses.to_json())), Poses)


@many
@given(content("name", "keypoints", "edges", "flip_pairs", "parts", "groups", "left_eye", "right_eye"))
def test_skeletons(data: Any) -> None:
    only_ours(Skeleton.from_dict, data)


HEADER = ("config", "skeleton", "calibration", "name", "input_size", "channels", "keep_rates", "keypoints", "raw", "score")


@many
@given(content(*HEADER))
def test_headers_of_networks(data: Any) -> None:
    only_ours(lambda: NetworkInfo.from_header(data if isinstance(data, dict) else {"config": data}, "x.onnx"))


@many
@given(
    st.binary(max_size=200)
    | content("__metadata__", "gtpt", "dtype", "shape", "data_offsets").map(lambda d: json.dumps(d).encode()),
    st.integers(0, 2**64 - 1) | st.none(),
)
def test_headers_of_safetensors(folder: Path, text: bytes, length: int | None) -> None:
    checkpoint = pytest.importorskip("gtpt.model.checkpoint")
    path = folder / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text)
    assert only_ours(checkpoint.read_header, path) is None or b"gtpt" in text
    only_ours(checkpoint.load, path)


YOLO = ("kpt_shape", "names", "flip_idx", "kpt_names", "train", "val", "path")
labels = st.lists(st.lists(numbers.map(str) | st.sampled_from(["nan", "x", "0.5"]), max_size=12).map(" ".join), max_size=3)


@settings(many, max_examples=60)
@given(
    content(*YOLO) | st.fixed_dictionaries({"kpt_shape": st.just([2, 3]), "names": scalars, "train": st.just("images")}),
    labels,
)
@example({"kpt_shape": [2, 3], "names": ["a"], "train": "images"}, ["0 0.5 0.5 0.2 0.2 1e300 0 2 0 0 0"])
@example({"kpt_shape": [2, 3], "names": {0: "a"}, "train": "images"}, ["0 0.5 0.5 0.2 -0.2 0 0 2 0 0 0"])
def test_yolo(folder: Path, data: Any, lines: list[str]) -> None:
    for name in ("images", "labels"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "images" / "a.png").write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    (folder / "labels" / "a.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text(json.dumps(data))
    try:
        converted = only_ours(from_yolo, folder / "data.yaml", folder / "out")
    except FileNotFoundError:  # a split that is named and not there
        return
    if converted is not None:
        json.loads(converted.splits["train"][0].read_text(), parse_constant=lambda value: pytest.fail(value))


@many
@given(
    st.lists(
        st.binary(max_size=60) | content("frames", "done", "picture", "key", "of").map(lambda d: json.dumps(d).encode())
    )
)
def test_journals(folder: Path, lines: list[bytes]) -> None:
    path = folder / "out" / ".resume" / "x.jsonl"
    with Journal(path, {"a": 1}, COCO17):
        path.write_bytes(path.read_bytes() + b"\n".join(lines))
        assert read_header(path) is not None
    if path.exists():
        with Journal(path, {"a": 1}, COCO17, resume=True) as journal:
            assert "a.png" not in journal
