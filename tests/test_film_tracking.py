"""The whole chain on a real film: two people and a bystander, detected, estimated and followed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gtpt import Pipeline, PoseEstimator, Tracker
from gtpt.detect import YoloxDetector
from gtpt.sources import open_source

pytest.importorskip("av")
pytest.importorskip("scipy")


@pytest.mark.integration
def test_people_keep_their_ids(shared: Path) -> None:
    estimator = PoseEstimator(threads=1)
    detector = YoloxDetector(shared / "data/detector/yolox_nano.onnx", threads=1)
    pipeline = Pipeline(estimator, detector, tracker=Tracker(estimator.skeleton))
    frames, seen = 0, Counter()
    with open_source(shared / "data/video/pose2sim_MultiPerson_cam01.mp4", stride=4) as source:
        for result in pipeline(source):
            frames += 1
            assert len(np.unique(result.poses.ids)) == len(result.poses)
            seen.update(result.poses.ids.tolist())
    assert frames == 25
    # the three people who are in view most of the time keep one id each
    assert all(count >= 0.8 * frames for _, count in seen.most_common(3)), seen
    assert len(seen) <= 6, seen
