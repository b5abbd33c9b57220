"""The page's modules against their models in Python: the same people over time, the same files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from gtpt import Poses, Smoother, Tracker, load_skeleton
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
