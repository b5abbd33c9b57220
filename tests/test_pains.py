"""Usual pains of users of other tools: what no other test shows is shown here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import metadata, requires
from pathlib import Path

import numpy as np
import pytest
import yaml

import gtpt
from gtpt import Pipeline, PoseEstimator, Poses, Skeleton, Smoother, Tracker, draw_poses, read_image
from gtpt.cli import main
from gtpt.io.formats import to_csv
from gtpt.io.sources import open_source
from gtpt.weights import list_weights

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT / "examples/photos"


def core_requirements() -> list[str]:
    return [r for r in requires("gtpt") or [] if "extra ==" not in r]


def test_installation_is_pure_python_without_pins() -> None:
    names = {re.split(r"[^\w-]", r)[0] for r in core_requirements()}
    maths, files = {"numpy", "opencv-python-headless", "onnxruntime"}, {"pillow", "pooch", "platformdirs"}
    assert names == maths | files | {"pydantic", "pyyaml", "typer", "rich"}
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+", r) for r in core_requirements())  # nothing keeps newer versions out
    package = Path(gtpt.__file__).parent
    assert not [p for p in package.rglob("*") if p.suffix in (".so", ".pyd", ".dll", ".dylib", ".c", ".cpp")]


BARE = """
import sys
sys.modules.update(dict.fromkeys(("torch", "scipy", "av", "openvino", "pandas", "pyarrow", "lightning", "onnx")))
import gtpt
summary = gtpt.predict(sys.argv[1], sys.argv[3], boxes=sys.argv[2], quiet=True)
print(summary.exit_code, summary.sources[0].people, len(summary.sources[0].files))
"""


def test_the_core_alone_predicts_on_photos(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BARE, str(PHOTOS / "astronaut.jpg"), str(PHOTOS / "boxes.csv"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "1", "2"], done.stderr


def test_weights_work_offline_and_all_others_have_a_hash_and_a_mirror(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GTPT_OFFLINE", "1")
    monkeypatch.setenv("GTPT_CACHE", str(tmp_path))
    assert len(PoseEstimator(threads=1, detector="whole-image")(read_image(PHOTOS / "cameraman.jpg"))) == 1
    assert all(re.fullmatch(r"[0-9a-f]{64}", row["sha256"]) for row in list_weights())
    registry = yaml.safe_load((Path(gtpt.__file__).parent / "weights/registry.yaml").read_text())
    for entry in registry.values():
        for file in entry["files"].values():
            sources = file.get("sources")
            assert sources is None or (len(sources) > 1 and all(s.startswith(("https://", "hf://")) for s in sources))


def test_one_batch_for_all_people_of_all_images() -> None:
    estimator, calls = PoseEstimator(threads=1), []
    engine = estimator.engine

    class Counting:
        info, batch = engine.info, engine.batch

        def __call__(self, crops: np.ndarray):
            calls.append(len(crops))
            return engine(crops)

    estimator.engine = Counting()
    image, boxes = np.zeros((100, 100, 3), np.uint8), np.array([[0, 0, 50, 90], [40, 0, 90, 90]])
    poses = estimator([image, image, image], [boxes, [], boxes])
    assert calls == [4] and [len(p) for p in poses] == [2, 0, 2]


def test_scores_are_in_0_1_and_the_raw_ones_stay_beside_them() -> None:
    poses = PoseEstimator(threads=1)(read_image(PHOTOS / "grace_hopper.jpg"), [[5, 20, 512, 600]])
    order = np.argsort(poses.raw_scores[0])
    assert (np.diff(poses.keypoint_scores[0, order]) >= 0).all()  # the same order
    assert poses.raw_scores.max() < 0.2 < 0.5 < poses.keypoint_scores.max() <= 1


def test_nobody_is_invented_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,x1,y1,x2,y2\nastronaut.jpg,,,,\ncameraman.jpg,0,62,340,512\n")
    photos = [PHOTOS / "astronaut.jpg", PHOTOS / "cameraman.jpg"]
    for options, people in (((), 1), (("--min-score", "0.999"), 0)):
        command = ["predict", *map(str, photos), "--boxes", str(boxes), "-o", str(tmp_path), "--json", *options]
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code == 0
        assert json.loads(capsys.readouterr().out)["sources"][0]["people"] == people


def test_ids_and_calm_keypoints_come_from_one_option() -> None:
    estimator = PoseEstimator(threads=1)
    pipeline = Pipeline(estimator, lambda images: [[[0, 62, 340, 512]]] * len(images), tracker=Tracker(estimator.skeleton))
    calm = Pipeline(estimator, pipeline.detector, tracker=Tracker(estimator.skeleton), smoother=Smoother())
    for follow in (pipeline, calm):
        with open_source([PHOTOS / "cameraman.jpg"] * 3) as source:
            assert [result.poses.ids.tolist() for result in follow(source)] == [[1]] * 3


def test_one_file_is_all_that_custom_keypoints_need(tmp_path: Path) -> None:
    path = tmp_path / "horse.yaml"
    path.write_text("name: horse\nkeypoints: {left_ear: 0.05, right_ear: 0.05, tail: 0.1}\nedges: [[left_ear, tail]]\n")
    horse = gtpt.load_skeleton(path)
    assert horse.flip_index.tolist() == [1, 0, 2]  # by name
    points, scores = np.array([[[10.0, 10], [50, 10], [30, 60]]]), np.ones((1, 3))
    poses = Poses([[0, 0, 64, 64]], [0.9], points, scores, scores * 0.1, [1], (64, 64), horse)
    assert (draw_poses(np.full((64, 64, 3), 120, np.uint8), poses) != 120).any()
    assert Poses.from_dict(json.loads(poses.to_json())).skeleton == horse and "tail" in to_csv(poses)
    assert isinstance(horse, Skeleton)


VIDEO = """
import resource, sys
import numpy as np
from gtpt import Pipeline, PoseEstimator, Smoother, Tracker
from gtpt.detect import GivenBoxes
from gtpt.io.sources import Frame
from gtpt.io.formats import open_writer

def video():
    for i in range(3000):
        yield Frame(np.full((360, 640, 3), i % 256, np.uint8), i, i / 30)

# the network is the slow part: someone is in every tenth frame
detect = GivenBoxes({i: [[50, 50, 200, 350]] for i in range(0, 3000, 10)})
estimator = PoseEstimator(threads=1)
pipeline = Pipeline(estimator, detect, tracker=Tracker(estimator.skeleton), smoother=Smoother())
with open_writer(sys.argv[1]) as writer:
    for result in pipeline(video()):
        writer.write(result.poses, frame=result.frame.index, time=result.frame.time, name="video")
        if result.frame.index in (500, 2999):
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory in kB as Linux tells it")
def test_resident_memory_is_flat_over_3000_frames(tmp_path: Path) -> None:
    command = [sys.executable, "-c", VIDEO, str(tmp_path / "video.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    early, late = map(int, done.stdout.split())
    assert late - early < 6_000, f"{early} kB after 500 frames, {late} kB at the end"  # 9 frames
    assert len((tmp_path / "video.jsonl").read_text().splitlines()) == 3001


def test_licences_are_permissive_and_every_weight_file_has_a_card() -> None:
    assert metadata("gtpt")["License-Expression"] == "Apache-2.0"
    for name in (re.split(r"[^\w-]", r)[0] for r in core_requirements()):
        about = metadata(name)
        said = " ".join(
            [about.get("License-Expression") or "", about.get("License") or "", *(about.get_all("Classifier") or [])]
        )
        assert re.search("MIT|BSD|Apache", said) and not re.search(r"\b[AL]?GPL", said), f"{name}: {said}"
    for row in list_weights():
        card = Path(gtpt.__file__).parent / "weights/cards" / f"{row['name']}.md"
        assert row["licence"] == "Apache-2.0" and "Apache-2.0" in card.read_text(encoding="utf-8")
