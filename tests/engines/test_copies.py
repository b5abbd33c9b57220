"""Networks in other processes and places: forked, pickled, copied."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gtpt import Pipeline, PoseEstimator, Poses, Smoother, Tracker, load_skeleton, read_image
from gtpt.detect import WholeImage, make_detector
from gtpt.engines import open_engine, processes
from gtpt.engines.onnx import open_session
from gtpt.io.sources import Frame
from gtpt.weights import resolve

PHOTO = Path(__file__).parents[2] / "examples/photos/cameraman.jpg"
IMAGE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
BOXES = [[10, 10, 60, 80], [30, 5, 110, 85]]
COPIES = [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy, copy.copy]


@pytest.mark.integration
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without forks")
@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_a_forked_child_estimates_and_ends(engine: str) -> None:
    """As a server that forks its workers after it has warmed up, and data loaders; by exit, not by `os._exit` alone."""
    pytest.importorskip({"onnxruntime": "onnxruntime"}.get(engine, engine))
    code = f"""
        import os, sys
        import numpy as np
        from gtpt import PoseEstimator
        image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
        estimator = PoseEstimator(engine={engine!r}, threads=2)
        before = estimator(image, {BOXES})
        child = os.fork()
        if child == 0:
            after = estimator(image, {BOXES})
            one = estimator(image, {BOXES[:1]})
            same = np.abs(after.keypoints - before.keypoints).max() < 1e-2
            sys.exit(7 if same and len(one) == 1 else 8)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(estimator(image, {BOXES})))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["7", "2"], done.stderr


@pytest.mark.integration
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without forks")
@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_workers_of_a_data_loader_estimate(engine: str) -> None:
    """The estimator has run before, in the process that PyTorch forks them from; two rounds of two workers."""
    pytest.importorskip("torch")
    code = f"""
        import numpy as np
        from torch.utils.data import DataLoader, Dataset
        from gtpt import PoseEstimator
        estimator = PoseEstimator(engine={engine!r}, threads=2, detector="whole-image")
        image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
        before = estimator(image).keypoints

        class Photos(Dataset):
            def __len__(self):
                return 6

            def __getitem__(self, index):
                return float(np.abs(estimator(image).keypoints - before).max())

        for _ in range(2):
            loader = DataLoader(Photos(), num_workers=2, multiprocessing_context="fork", batch_size=None)
            print(*(difference < 1e-2 for difference in loader))
        print(len(estimator(image)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=240)
    assert done.stdout.split() == ["True"] * 12 + ["1"], done.stderr


@pytest.mark.integration
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without forks")
def test_workers_of_a_preloaded_server_find_people(shared: Path) -> None:
    """As gunicorn's --preload: everything has run, several workers are forked, some of them again, and threads ask them."""
    code = f"""
        import os, sys, threading
        import numpy as np
        import gtpt
        from gtpt.detect import make_detector
        detector = make_detector({str(shared / "data/detector/yolox_nano.onnx")!r}, threads=2)
        estimator = gtpt.PoseEstimator(threads=2, detector=detector)
        image = gtpt.read_image({str(PHOTO)!r})
        before = len(estimator(image))

        def work(fork_again):
            found = []
            threads = [threading.Thread(target=lambda: found.append(len(estimator(image)))) for _ in range(3)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            status = 0
            if fork_again:
                if (child := os.fork()) == 0:
                    work(False)
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            sys.exit(status if found == [before] * 3 else 8)

        children = []
        for number in range(2):
            if (child := os.fork()) == 0:
                work(number == 1)
            children.append(child)
        print(before, *(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), len(estimator(image)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=240)
    assert done.stdout.split() == ["1", "0", "0", "1"], done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without forks")
def test_openvino_says_at_once_that_it_cannot_run_in_a_forked_child() -> None:
    pytest.importorskip("openvino")
    code = f"""
        import os, sys
        import numpy as np
        from gtpt import PoseEstimator
        estimator = PoseEstimator(engine="openvino", threads=2)
        estimator(np.zeros((90, 120, 3), np.uint8), {BOXES})
        if (child := os.fork()) == 0:
            try:
                estimator(np.zeros((90, 120, 3), np.uint8), {BOXES})
            except ValueError as error:
                sys.exit(7 if "spawn" in str(error) else 8)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["7"], done.stderr


@pytest.mark.integration
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="a system without signals of the user's own")
def test_signals_are_handled_when_engines_of_openvino_have_been_closed() -> None:
    """Closed in the order they were opened, with the stack for handlers that faulthandler, and so pytest, sets."""
    pytest.importorskip("openvino")
    code = """
        import faulthandler, gc, os, signal
        from gtpt import PoseEstimator
        faulthandler.enable()
        signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
        first = PoseEstimator(engine="openvino", threads=1)
        second = PoseEstimator(engine="openvino", threads=1)
        del first
        gc.collect()
        del second
        gc.collect()
        os.kill(os.getpid(), signal.SIGUSR1)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.parametrize("again", COPIES)
def test_copies_of_estimators_estimate(again: Callable) -> None:
    estimator = PoseEstimator(threads=1, batch_size=5, flip_test=True)
    twin = again(estimator)
    assert twin.engine is not estimator.engine and (twin.batch_size, twin.flip_test) == (5, True)
    np.testing.assert_array_equal(twin(IMAGE, BOXES).keypoints, estimator(IMAGE, BOXES).keypoints)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
@pytest.mark.parametrize("again", COPIES)
def test_copies_of_engines_run(engine: str, again: Callable) -> None:
    pytest.importorskip({"onnxruntime": "onnxruntime"}.get(engine, engine))
    path = resolve("gtpt-t-coco17", format="safetensors" if engine == "torch" else "onnx")
    first = open_engine(path, engine, threads=1)
    width, height = first.info.config.input_size
    crops = np.zeros((1, height, width, 3), np.uint8)
    np.testing.assert_allclose(again(first)(crops)[0], first(crops)[0], atol=1e-5)


def test_copies_remember_relative_paths_and_say_what_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(resolve("gtpt-t-coco17", format="onnx").read_bytes())
    monkeypatch.chdir(tmp_path)
    estimator, engine = PoseEstimator("mine.onnx"), open_engine("mine.onnx")
    texts = pickle.dumps(estimator), pickle.dumps(engine)
    monkeypatch.chdir("/")
    for text in texts:
        pickle.loads(text)
    path.unlink()
    for text in texts:
        with pytest.raises(FileNotFoundError, match=r"mine\.onnx"):
            pickle.loads(text)


@pytest.mark.parametrize("again", COPIES)
def test_copies_of_detectors_detect(again: Callable, shared: Path) -> None:
    detector = make_detector(shared / "data/detector/yolox_nano.onnx", threads=1, threshold=0.1)
    image = read_image(PHOTO)
    (found,), (other,) = detector([image]), again(detector)([image])
    assert len(found)
    np.testing.assert_array_equal(found.boxes, other.boxes)


@pytest.mark.parametrize("again", COPIES)
def test_copies_of_trackers_and_pipelines_go_on(again: Callable) -> None:
    estimator = PoseEstimator(threads=1)
    tracker, smoother = Tracker(estimator.skeleton), Smoother()
    pipeline = Pipeline(estimator, WholeImage(), tracker=tracker, smoother=smoother)
    (first,) = pipeline([Frame(IMAGE, 0, 0.0)])
    (second,) = again(pipeline)([Frame(IMAGE, 1, 0.1)])
    assert first.poses.ids.tolist() == second.poses.ids.tolist() == [1]  # known from before


def test_results_are_pickled_whole() -> None:
    poses = Poses.empty((4, 3), load_skeleton("coco_wholebody133"))
    twin = pickle.loads(pickle.dumps(poses))
    assert twin.skeleton == poses.skeleton and twin.image_size == (4, 3)


QUOTAS = [
    ({}, 8, None),
    ({"cpu.max": "max 100000\n"}, 8, None),
    ({"cpu.max": "150000 100000\n"}, 2, 2),
    ({"cpu.max": "20000 100000\n"}, 1, 1),
    ({"cpu.max": "1600000 100000\n"}, 8, None),
    ({"cpu.max": "nonsense"}, 8, None),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8, None),
    ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1, 1),
]


@pytest.mark.parametrize(("files", "cores", "limit"), QUOTAS)
def test_cores_of_a_container(
    files: dict, cores: int, limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(processes, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert (processes.available_cores(), processes.limited_cores()) == (cores, limit)


def test_no_more_threads_than_allowed_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)  # as under taskset
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    path = resolve("gtpt-t-coco17", format="onnx")
    assert open_session(path).get_session_options().intra_op_num_threads == 1
    assert open_session(path, threads=3).get_session_options().intra_op_num_threads == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(processes, "CGROUPS", Path("nowhere"))
    assert open_session(path).get_session_options().intra_op_num_threads == 0  # onnxruntime knows the machine


@pytest.mark.parametrize("limited", [1])
def test_openvino_has_no_more_threads_than_allowed_cores(limited: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("gtpt.engines.openvino.limited_cores", lambda: limited)
    engine = open_engine(resolve("gtpt-t-coco17", format="onnx"), "openvino")
    assert engine._live.get_property("INFERENCE_NUM_THREADS") == limited
