"""Engines: the same logits from the same network, whatever runs it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gtpt.estimator import PoseEstimator
from gtpt.runtime import open_engine
from gtpt.runtime.session import open_session
from gtpt.weights import resolve

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

PHOTOS = Path(__file__).parents[2] / "examples/photos"
CROPS = np.random.default_rng(0).integers(0, 256, (3, 64, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from gtpt.export import export_onnx
    from gtpt.model import build, save

    torch.manual_seed(0)
    net = build("gtpt-t", input_size=(48, 64)).eval()
    for parameter in net.stem.parameters():
        if parameter.dim() == 4:
            torch.nn.init.kaiming_normal_(parameter)
    folder, extra = (
        tmp_path_factory.mktemp("weights"),
        {"calibration": {"raw": [0.0, 0.1], "calibrated": [0.0, 1.0]}, "AP": 0.5},
    )
    files = {name: folder / f"{name}.onnx" for name in ("any", "two")} | {"torch": folder / "net.safetensors"}
    save(net, files["torch"], extra)
    export_onnx(net, files["any"], extra=extra)
    export_onnx(net, files["two"], batch=2, extra=extra)
    return files


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_agree_with_torch(files: dict[str, Path], engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    reference, other = open_engine(files["torch"]), open_engine(files["any"], engine, threads=1)
    for a, b in zip(reference(CROPS), other(CROPS), strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert other.info.skeleton.name == "coco17" and other.info.config == reference.info.config
    assert other.info.calibration == reference.info.calibration and other.info.facts["AP"] == 0.5
    assert other.batch is None


@pytest.mark.parametrize("threads", [1, 2, None])
def test_several_people_at_a_time_give_what_one_call_gives(files: dict[str, Path], threads: int | None) -> None:
    """Order and numbers, also when several callers share the engine."""
    engine = open_engine(files["any"], threads=threads)
    crops = np.random.default_rng(1).integers(0, 256, (7, 64, 48, 3), dtype=np.uint8)
    expected = open_session(files["any"]).run(["x", "y"], {"crops": crops})
    with ThreadPoolExecutor(3) as callers:
        given, reversed_, again = callers.map(engine, [crops, crops[::-1], crops])
    for axis in (0, 1):
        np.testing.assert_allclose(given[axis], expected[axis], atol=1e-4)
        np.testing.assert_allclose(reversed_[axis], expected[axis][::-1], atol=1e-4)
        np.testing.assert_array_equal(given[axis], again[axis])
    assert [v.shape for v in engine(crops[:0])] == [(0, *v.shape[1:]) for v in expected]


def test_a_fixed_batch_is_filled_up(files: dict[str, Path]) -> None:
    two, free = PoseEstimator(files["two"], batch_size=32), PoseEstimator(files["any"])
    assert two.batch_size == 2
    image = np.random.default_rng(1).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    boxes = [[0, 0, 50, 80], [20, 10, 80, 90], [5, 5, 60, 60]]
    np.testing.assert_allclose(two(image, boxes).raw_scores, free(image, boxes).raw_scores, rtol=1e-4)


def test_foreign_files_are_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    import onnx

    graph = onnx.load(files["any"])
    del graph.metadata_props[:]
    foreign = tmp_path / "foreign.onnx"
    onnx.save(graph, foreign)
    with pytest.raises(ValueError, match="gtpt export"):
        open_engine(foreign)
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(files["any"].read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cut\.onnx"):
        open_engine(cut)


def test_engine_and_device_that_are_not_there(files: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="onnxruntime reads"):
        open_engine(files["torch"], "openvino")
    with pytest.raises(ValueError, match="cuda"):
        open_engine(files["any"], device="cuda")
    with pytest.raises(ValueError, match="cuda"):
        open_engine(files["torch"], device="cuda")


MOVED = """
import sys
import numpy as np
from gtpt.codec import decode
from gtpt.data.crops import load_crops
from gtpt.runtime import open_engine
exact, rounded = (open_engine(sys.argv[1], "openvino", precision=p) for p in ("float32", "bfloat16"))
config = exact.info.config
crops = load_crops(sys.argv[2], exact.info.skeleton, config.input_size)
a, b = (decode(*engine(crops), config.simcc_split) for engine in (exact, rounded))
assert not np.array_equal(a[1], b[1])
print(np.median(np.linalg.norm(a[0] - b[0], axis=-1)))
"""


def test_bfloat16_moves_keypoints_by_less_than_a_pixel() -> None:
    """On the bundled network and real photos, where the CPU has it; else, and in other engines, an error that says so."""
    openvino = pytest.importorskip("openvino")
    bundled = resolve("gtpt-t-coco17", format="onnx")
    with pytest.raises(ValueError, match="openvino"):
        open_engine(bundled, precision="bfloat16")
    with pytest.raises(ValueError, match="int4"):
        open_engine(bundled, "openvino", precision="int4")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(ValueError, match="bfloat16"):
            open_engine(bundled, "openvino", precision="bfloat16")
        pytest.skip("this CPU has no bfloat16")
    command = [sys.executable, "-c", MOVED, str(bundled), str(PHOTOS)]
    assert float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) <= 1
