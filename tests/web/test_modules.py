"""The page's modules against their models in Python: the same people over time, the same files."""

from __future__ import annotations

import base64
import json
from typing import Any

import cv2
import numpy as np
import pytest

from gtpt import Poses, Smoother, Tracker, load_skeleton
from gtpt.core.geometry import affine_matrices, boxes_to_crops, crop, xyxy_to_xywh
from gtpt.detect.yolox import decode, grid, letterbox, rounded, suppress
from gtpt.estimator import distinct
from gtpt.io.formats.csv import to_csv

from .conftest import Page

pytestmark = pytest.mark.integration
SKELETON = load_skeleton("coco17")


def walk(rng: np.random.Generator, frames: int, people: int) -> list[tuple[float, Poses]]:
    """People who walk to and fro, cross, and are missed now and then; irregular times."""
    body = rng.uniform(-1, 1, (people, 17, 2)) * [20, 60]
    start, speed = rng.uniform(100, 500, (people, 2)), rng.uniform(-80, 80, (people, 2))
    time, video = 0.0, []
    for _ in range(frames):
        time += float(rng.choice([0.04, 0.05, 0.2]))
        points = (start + speed * time)[:, None] + body + rng.normal(0, 2, body.shape)
        seen = rng.permutation(np.flatnonzero(rng.random(people) < 0.85))
        points = points[seen]
        scores = rng.uniform(0.05, 0.95, points.shape[:2])
        boxes = np.concatenate([points.min(axis=1) - 5, points.max(axis=1) + 5], axis=1)
        poses = Poses(boxes, scores.mean(axis=1), points, scores, scores / 20, np.full(len(seen), -1), (640, 480), SKELETON)
        video.append((time, poses))
    return video


def as_people(poses: Poses) -> list[dict[str, Any]]:
    return [
        {
            "box": poses.boxes[i].tolist(),
            "score": float(poses.scores[i]),
            "detection": 1,
            "id": None if poses.ids[i] < 0 else int(poses.ids[i]),
            "keypoints": poses.keypoints[i].ravel().tolist(),
            "scores": poses.keypoint_scores[i].tolist(),
            "rawScores": poses.raw_scores[i].tolist(),
        }
        for i in range(len(poses))
    ]


REVIVE = """
const revive = people => people.map(p => ({...p, keypoints: Float32Array.from(p.keypoints),
    scores: Float32Array.from(p.scores), rawScores: Float32Array.from(p.rawScores)}));
"""


@pytest.mark.parametrize("seed", range(3))
def test_ids_and_smoothing_are_those_of_python(page: Page, seed: int) -> None:
    video = walk(np.random.default_rng(seed), frames=40, people=4)
    got = page.tab.evaluate(
        f"""async ([skeleton, video]) => {{
            const {{Tracker}} = await import('./js/tracker.js');
            const {{Smoother}} = await import('./js/smoother.js');
            {REVIVE}
            const [tracker, smoother] = [new Tracker(skeleton), new Smoother()];
            return video.map(([time, people]) => smoother.update(tracker.update(revive(people), time), time)
                .map(p => [p.id, [...p.keypoints]]));
        }}""",
        [{"sigmas": SKELETON.sigmas.tolist()}, [[time, as_people(poses)] for time, poses in video]],
    )
    tracker, smoother = Tracker(SKELETON), Smoother()
    for (time, poses), people in zip(video, got, strict=True):
        expected = smoother.update(tracker.update(poses, time), time)
        assert [id_ for id_, _ in people] == expected.ids.tolist()
        points = np.array([points for _, points in people]).reshape(len(people), -1, 2)
        np.testing.assert_allclose(points, expected.keypoints, atol=1e-3)
    assert tracker.update(video[0][1], time + 9).ids.max() > 4  # somebody was lost and came back as another


def test_who_is_found_twice_is_dropped_as_in_python(page: Page) -> None:
    rng = np.random.default_rng(4)
    dropped = 0
    for _ in range(80):
        _, once = walk(rng, frames=1, people=3)[0]
        poses = once[[*range(len(once))] * 2]  # each twice, more or less
        off = rng.uniform(0.2, 4, (len(poses), 1, 1))
        poses = poses.with_(
            keypoints=poses.keypoints + rng.normal(0, off, poses.keypoints.shape),
            keypoint_scores=np.clip(poses.keypoint_scores + rng.normal(0.2, 0.2, poses.keypoint_scores.shape), 0, 1),
            boxes=poses.boxes + rng.uniform(-6, 6, poses.boxes.shape),
        )
        kept = page.tab.evaluate(
            f"""async ([people, sigmas]) => {{
                const {{distinct}} = await import('./js/distinct.js');
                {REVIVE}
                const revived = revive(people);
                const kept = distinct(revived, sigmas);
                return revived.map(person => kept.includes(person));
            }}""",
            [as_people(poses), SKELETON.sigmas.tolist()],
        )
        assert kept == distinct(poses).tolist()
        dropped += kept.count(False)
    assert 10 < dropped


def test_assignment_is_the_best_one(page: Page) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    tables = [rng.random(shape).round(1) for shape in [(1, 1), (3, 3), (5, 2), (2, 6), (8, 8)] for _ in range(10)]
    pairs = page.tab.evaluate(
        "async tables => { const {assign} = await import('./js/assignment.js'); return tables.map(assign); }",
        [table.tolist() for table in tables],
    )
    for table, mine in zip(tables, pairs, strict=True):
        rows, columns = zip(*mine, strict=True)
        assert len(set(rows)) == len(set(columns)) == len(mine) == min(table.shape)
        best = optimize.linear_sum_assignment(table, maximize=True)
        assert table[rows, columns].sum() == pytest.approx(table[best].sum())
    assert page.tab.evaluate("async () => (await import('./js/assignment.js')).assign([])") == []


def test_files_are_those_of_python(page: Page) -> None:
    _, poses = walk(np.random.default_rng(5), frames=1, people=3)[0]
    poses = poses.with_(ids=np.arange(1, len(poses) + 1))
    text, table = page.tab.evaluate(
        f"""async ([skeleton, people, size]) => {{
            const {{toJson, toCsv}} = await import('./js/formats.js');
            {REVIVE}
            const poses = {{size, people: revive(people)}};
            return [toJson(poses, skeleton), toCsv([{{frame: 0, time: 0, name: 'a,b.jpg', poses}}], skeleton)];
        }}""",
        [{"file": SKELETON.to_dict(), "keypoints": SKELETON.keypoints}, as_people(poses), [640, 480]],
    )
    assert json.loads(text) == {**json.loads(poses.to_json()), "skeleton": SKELETON.to_dict()}
    header, *rows = to_csv(poses).splitlines()
    mine = table.splitlines()
    assert mine[0] == f"frame,time,name,{header}"
    values = [row.removeprefix('0,0,"a,b.jpg",').split(",") for row in mine[1:]]
    for got, expected in zip(values, (row.split(",") for row in rows), strict=True):
        assert got[:3] == expected[:3]
        assert [np.float32(v) for v in got[3:]] == [np.float32(v) for v in expected[3:]]


def test_older_frames_begin_a_new_session_with_new_ids(page: Page) -> None:
    _, poses = walk(np.random.default_rng(1), frames=1, people=2)[0]
    ids, due = page.tab.evaluate(
        f"""async ([skeleton, people]) => {{
            const {{Session}} = await import('./js/session.js');
            {REVIVE}
            const session = new Session(skeleton);
            const ids = [1, 2, 1.5].map(time =>
                session.add(time, {{size: [640, 480], people: revive(people)}}, true).raw.people.map(p => p.id));
            const due = [[5, 1.6], [5, 1.9], [Infinity, 9]].map(([every, time]) => session.isDetectionDue(every, time));
            return [ids, due];
        }}""",
        [{"sigmas": SKELETON.sigmas.tolist()}, as_people(poses)],
    )
    first, second, again = map(sorted, ids)
    assert first == list(range(1, len(poses) + 1)) and not set(again) & set(first) and len(set(second)) == len(poses)
    assert due == [False, True, False]


ENCODE = """
const encoded = array => btoa(Array.from(new Uint8Array(array.buffer), byte => String.fromCharCode(byte)).join(''));
"""


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """(H, W, 4) uint8: the hardest picture, since every rounding shows."""
    return np.random.default_rng(0).integers(0, 256, (90, 120, 4), dtype=np.uint8)


@pytest.mark.skipif(int(cv2.__version__.split(".")[0]) < 5, reason="older versions of OpenCV round otherwise")
def test_crops_are_those_of_opencv(page: Page, noise: np.ndarray) -> None:
    size = (48, 64)
    corners = np.random.default_rng(1).uniform(-30, 90, (40, 2))
    boxes = np.concatenate([corners, corners + np.random.default_rng(2).uniform(8, 130, (40, 2))], axis=1).astype(
        np.float32
    )
    got = page.tab.evaluate(
        f"""async ([values, [height, width], boxes, size, halved]) => {{
            const {{cropOf, cutOut}} = await import('./js/geometry.js');
            {ENCODE}
            const picture = {{data: Uint8ClampedArray.from(values), width, height}};
            return [...boxes.map(box => cropOf(box, size)), halved].map(crop => {{
                const out = new Uint8Array(3 * size[0] * size[1]);
                cutOut(picture, crop, size, out);
                return encoded(out);
            }});
        }}""",
        [noise.ravel().tolist(), noise.shape[:2], boxes.tolist(), size, {"scale": 0.5, "shift": [-0.25, -0.25]}],
    )
    matrices = affine_matrices(*boxes_to_crops(xyxy_to_xywh(boxes), size[0] / size[1]), size)
    halved = [[0.5, 0, -0.25], [0, 0.5, -0.25]]  # means of four pixels, many of them halfway between two numbers
    for mine, matrix in zip(got, [*matrices, np.array(halved)], strict=True):
        pixels = np.frombuffer(base64.b64decode(mine), np.uint8).reshape(size[1], size[0], 3)
        np.testing.assert_array_equal(pixels, crop(noise[..., :3], matrix, size))


@pytest.mark.parametrize("side", [64, 160, 416])
def test_detector_sees_and_tells_what_python_does(page: Page, noise: np.ndarray, side: int) -> None:
    rng = np.random.default_rng(3)
    cells, strides = grid((side, side))
    raw = np.concatenate([rng.normal(0, 1, (len(cells), 4)), rng.uniform(0, 1, (len(cells), 2))], axis=1).astype(np.float32)
    seen, ratio, people = page.tab.evaluate(
        f"""async ([values, [height, width], side, raw]) => {{
            const yolox = await import('./js/yolox.js');
            {ENCODE}
            const picture = {{data: Uint8ClampedArray.from(values), width, height}};
            const {{input, ratio}} = yolox.letterbox(picture, [side, side]);
            const people = yolox.people(Float32Array.from(raw), 6, [side, side], ratio, [width, height], 0.3);
            return [encoded(input), ratio, people];
        }}""",
        [noise.ravel().tolist(), noise.shape[:2], side, raw.ravel().tolist()],
    )
    expected = np.full((3, side, side), 114, np.float32)
    assert ratio == letterbox(noise[..., :3], expected)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(seen), np.float32).reshape(expected.shape), expected)
    scores = raw[:, 4] * raw[:, 5]
    exact = decode(raw[:, :4], cells, strides) / ratio
    boxes = rounded(exact, ratio)
    usable = (scores >= 0.3) & ((boxes[:, 2:] > 0) & (boxes[:, :2] < (120, 90))).all(axis=1)
    kept = suppress(exact[usable], scores[usable], 0.5)
    np.testing.assert_array_equal([person["box"] for person in people], boxes[usable][kept])
    np.testing.assert_array_equal(np.float32([person["score"] for person in people]), scores[usable][kept])
