"""Engines: the same logits from the same network, whatever runs it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from gtpt.engines import open_engine
from gtpt.engines.onnx import open_session
from gtpt.engines.torch import check_torch_device, in_chunks, torch_network
from gtpt.estimator import PoseEstimator
from gtpt.weights import resolve

pytestmark = pytest.mark.integration

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

PHOTOS = Path(__file__).parents[2] / "examples/photos"
CROPS = np.random.default_rng(0).integers(0, 256, (3, 64, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from gtpt.export.onnx import export_onnx
    from gtpt.model import build, save

    torch.manual_seed(0)
    net = build("gtpt-t", input_size=(48, 64), coarse_layers=4, group_layers=2).eval()
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
    assert other.info.calibration == reference.info.calibration and other.info.metadata["AP"] == 0.5
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


def test_an_engine_fills_its_batch_and_says_when_it_is_full(files: dict[str, Path]) -> None:
    two, free = open_engine(files["two"]), open_engine(files["any"])
    np.testing.assert_allclose(two(CROPS[:1])[0], free(CROPS[:1])[0], atol=1e-4)
    with pytest.raises(ValueError, match="at most 2 crops at once, got 3"):
        two(CROPS)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (
            "torch",
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
        ),
        ("torch", "CUDA out of memory. Tried to allocate 2.00 GiB"),
        ("any", "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bad allocation"),
        ("any", "Failed to allocate memory for requested buffer of size 4294967296"),
        ("any", "std::bad_alloc"),
    ],
)
def test_a_batch_that_does_not_fit_says_so(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, engine: str, said: str
) -> None:
    network = open_engine(files[engine])

    def full(*_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(network, "_run", full)
    with pytest.raises(MemoryError, match=r"3 crops at once do not fit in memory: use a smaller batch .*--batch-size"):
        network(CROPS)
    said = "another error"
    with pytest.raises(RuntimeError, match="another error"):
        network(CROPS)


FULL = """
import resource, sys
import numpy as np
from gtpt.engines import open_engine
engine = open_engine(sys.argv[1], threads=1)
width, height = engine.info.config.input_size
engine(np.zeros((1, height, width, 3), np.uint8))
crops = np.zeros((20, height, width, 3), np.uint8)
with open("/proc/self/statm") as file:
    limit = int(file.read().split()[0]) * resource.getpagesize() + (4 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    engine(crops)
except MemoryError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_real_batch_that_does_not_fit() -> None:
    weights = resolve("gtpt-t-coco17", format="safetensors")
    done = subprocess.run([sys.executable, "-c", FULL, str(weights)], capture_output=True, text=True)
    assert done.stdout.startswith("20 crops at once do not fit in memory"), done.stderr


def test_torch_shows_what_it_kept(files: dict[str, Path]) -> None:
    """The engine runs rewritten weights; what it kept is what the network keeps."""
    from gtpt.model import load, normalize

    with torch.inference_mode():
        expected = load(files["torch"]).eval()(normalize(torch.from_numpy(CROPS)), return_kept=True)
    engine = open_engine(files["torch"])
    for got, wanted in zip(engine(CROPS), (expected.x, expected.y), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
    kept = engine.kept(CROPS)
    assert set(kept) == set(expected.kept)
    for stage, groups in expected.kept.items():
        for got, wanted in zip(kept[stage], groups, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_torch_engines_keep_their_threads(files: dict[str, Path]) -> None:
    """The number belongs to the process, so that the second engine changes it for the first."""
    one, two = (open_engine(files["torch"], threads=count) for count in (1, 2))
    for engine, threads in ((one, 1), (two, 2), (one, 1)):
        engine(CROPS)
        assert torch.get_num_threads() == threads


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
    for engine in ("onnxruntime", "openvino"):
        if engine == "onnxruntime" or find_spec("openvino"):
            expected = rf"cannot open .*cut\.onnx: expected a complete ONNX network that (?i:{engine})"
            with pytest.raises(ValueError, match=expected):
                open_engine(cut, engine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h["config"].update(depth_of_tomorrow=3), r"another version of gtpt: .*depth_of_tomorrow.*; update gtpt"),
        (lambda h: h["config"].pop("groups"), "another version of gtpt: no 'groups'; update gtpt"),
        (lambda h: h.pop("config"), "another version of gtpt: no 'config'"),
        (lambda h: h.update(skeleton=[1]), "a skeleton must be a mapping"),
        (lambda h: h["config"].update(stem="resnet"), "another version of gtpt: stem must be"),
        (lambda h: h.update(calibration={"knots": [1]}), "the calibration in its header cannot be used: .*'knots'"),
        (lambda h: h.update(calibration=[[1]]), "the calibration in its header cannot be used"),
    ],
)
def test_headers_of_other_versions_are_refused_in_every_format(
    files: dict[str, Path], tmp_path: Path, change: Callable, message: str
) -> None:
    import onnx
    from safetensors.torch import load_file, save_file

    graph = onnx.load(files["any"])
    entry = next(entry for entry in graph.metadata_props if entry.key == "gtpt")
    header = json.loads(entry.value)
    change(header)
    entry.value = json.dumps(header)
    onnx.save(graph, tmp_path / "other.onnx")
    save_file(load_file(files["torch"]), tmp_path / "other.safetensors", metadata={"gtpt": json.dumps(header)})
    for name in ("other.onnx", "other.safetensors"):
        with pytest.raises(ValueError, match=rf"{name}:? .*{message}"):
            open_engine(tmp_path / name)
    entry.value = "{"
    onnx.save(graph, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=r"other\.onnx .*not JSON"):
        open_engine(tmp_path / "other.onnx")


def test_threads_are_checked_by_every_engine(files: dict[str, Path]) -> None:
    for engine in ("onnxruntime", "openvino", "torch"):
        for threads in (0, -1):
            with pytest.raises(ValueError, match=f"threads must be at least 1.*got {threads}"):
                PoseEstimator(files["torch" if engine == "torch" else "any"], engine=engine, threads=threads)


def test_torch_devices(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """One check for estimating and measuring: what is there may be asked for, the rest is an error that lists it."""
    from gtpt.evaluate import test as measure

    def refused(device: str) -> None:
        with pytest.raises(ValueError, match=f"no device '{device}' here, only {there}"):
            open_engine(files["torch"], device=device)
        with pytest.raises(ValueError, match=f"no device '{device}' here, only {there}"):
            measure(files["torch"], "", "", device=device)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    there = r"\['cpu'\]; a GPU needs"
    for device in ("cuda", "cuda:0", "gpu", "CPU"):
        refused(device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    there = r"\['cpu', 'cuda', 'cuda:0', 'cuda:1'\]$"
    for device in ("cuda:2", "cuda:x", "gpu"):
        refused(device)
    for device in ("cpu", "cuda", "cuda:1"):
        check_torch_device(device)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 21])
def test_pytorch_takes_a_few_crops_at_a_time_on_the_cpu(count: int) -> None:
    """Chunks hold all crops in order, and their largest array, 32 floats per pixel, is less than glibc's 32 MiB."""
    crops = np.zeros((count, 192, 144, 3), np.uint8)
    crops[:, 0, 0, 0] = np.arange(count)
    chunks = in_chunks(crops, "cpu")
    np.testing.assert_array_equal(np.concatenate(chunks), crops)
    assert {len(chunk) for chunk in chunks[:-1]} <= {9} and 9 * 192 * 144 * 32 * 4 < 32 << 20
    assert [len(chunk) for chunk in in_chunks(crops, "cuda")] == [count]


def test_chunks_do_not_change_the_numbers(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from gtpt.model import load

    whole = open_engine(files["torch"])(CROPS), torch_network(load(files["torch"]))(CROPS)
    monkeypatch.setattr("gtpt.engines.torch.KEPT", 1)  # one crop at a time
    parts = open_engine(files["torch"])(CROPS), torch_network(load(files["torch"]))(CROPS)
    for a, b in zip(sum(whole, ()), sum(parts, ()), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_a_pass_that_fails_leaves_a_network_in_training(files: dict[str, Path]) -> None:
    from gtpt.model import load

    net = load(files["torch"]).train()
    with pytest.raises(ValueError, match="input"):
        torch_network(net)(CROPS[:, :-1])
    assert net.training


def test_pytorch_prunes_at_the_rates_that_it_is_given(files: dict[str, Path]) -> None:
    entire, own = open_engine(files["torch"], keep_rates="entire"), open_engine(files["torch"])
    assert entire.kept(CROPS) == {} and own.kept(CROPS)["coarse2"][0].shape == (3, 11)
    assert entire.info.config.keep_rates == (1, 1, 1, 1) and entire.info.calibration == own.info.calibration
    assert pickle.loads(pickle.dumps(entire)).kept(CROPS) == {}
    assert (
        PoseEstimator(files["torch"], engine="torch", keep_rates=(1, 1, 0.5, 0.5)).engine.info.config.keep_rates[2] == 0.5
    )
    with pytest.raises(ValueError, match="exported with"):
        open_engine(files["any"], keep_rates="entire")


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
from gtpt.core.simcc import decode
from gtpt.data.crops import load_crops
from gtpt.engines import open_engine
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
