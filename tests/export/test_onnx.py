"""Exported files: the numbers of the network in every form, the contract of the file, and refusals."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from gtpt import Skeleton, load_skeleton  # noqa: E402
from gtpt.core import simcc  # noqa: E402
from gtpt.data.crops import load_crops  # noqa: E402
from gtpt.export.onnx import METADATA, export, export_onnx  # noqa: E402
from gtpt.export.verify import verify_onnx  # noqa: E402
from gtpt.model import GTPT, build, normalize, save  # noqa: E402
from gtpt.model.config import GTPTConfig  # noqa: E402

pytestmark = pytest.mark.integration

PHOTOS = Path(__file__).parents[2] / "examples/photos"
SHALLOW = {"input_size": (96, 128), "coarse_layers": 4, "group_layers": 2}  # exported in seconds


def lively(skeleton="coco17", **changes):
    torch.manual_seed(0)  # of the biases: else they depend on the tests before, and so does how close two peaks are
    net = build("gtpt-t", skeleton, **{**SHALLOW, **changes})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 1.5 / math.sqrt(parameter[0].numel()))
    return net.eval()


def read_header(path):
    return json.loads({p.key: p.value for p in onnx.load(path).metadata_props}[METADATA])


def pixels(count, seed=0):
    """Blocks of colour, so that neighbouring pixels agree as in a photo."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 16, 12, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def run(path, feed):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, {"crops": feed})


@pytest.fixture(scope="module")
def net():
    return lively()


@pytest.fixture(scope="module")
def logits(net):
    with torch.inference_mode():
        return [v.numpy() for v in net(normalize(torch.from_numpy(pixels(5))))]


@pytest.fixture(scope="module")
def exported(net, tmp_path_factory):
    """Any batch, uint8 in, logits out."""
    return export_onnx(net, tmp_path_factory.mktemp("onnx") / "net.onnx", extra={"AP": 0.7})


def test_any_batch_gives_the_logits(exported, logits):
    for count in (1, 2, 5):
        for got, expected in zip(run(exported, pixels(5)[:count]), logits, strict=True):
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, expected[:count], rtol=0, atol=1e-4)


def test_openvino_runs_the_same_file(exported, logits):
    openvino = pytest.importorskip("openvino")
    out = openvino.Core().compile_model(exported, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([pixels(5)])
    for name, expected in zip("xy", logits, strict=True):
        np.testing.assert_allclose(out[name], expected, rtol=0, atol=1e-4)


def test_the_file_says_what_it_is(exported, net):
    graph = onnx.load(exported)
    header = json.loads({p.key: p.value for p in graph.metadata_props}["gtpt"])
    assert header == read_header(exported)
    assert GTPTConfig.from_dict(header["config"]) == net.config
    assert Skeleton.from_dict(header["skeleton"]) == net.skeleton
    assert (header["input"], header["output"], header["AP"]) == ("uint8", "simcc", 0.7)
    assert [i.name for i in graph.graph.input] == ["crops"]
    assert [o.name for o in graph.graph.output] == ["x", "y"]
    assert {o.domain for o in graph.opset_import} <= {"", "ai.onnx"}  # nothing that only one engine knows
    assert not {"If", "Loop", "NonZero", "GatherElements"} & {n.op_type for n in graph.graph.node}  # static, whole rows


def test_every_option_at_once(net, logits, exported, tmp_path):
    """Normalised float crops in fixed batches, decoded, stored in half, attention as one operator."""
    path = tmp_path / "sub" / "half.onnx"
    assert path == export_onnx(net, path, batch=5, uint8_input=False, decode=True, precision="float16", opset=23)
    assert sum(node.op_type == "Attention" for node in onnx.load(path).graph.node) == 6
    assert path.stat().st_size < 0.6 * exported.stat().st_size
    keypoints, scores = run(path, normalize(torch.from_numpy(pixels(5))).contiguous().numpy())
    expected = simcc.decode(*logits)
    moved = np.abs(keypoints - expected[0]).max(axis=-1) > 0.5
    assert moved.mean() < 0.1  # peaks of random weights are flat
    np.testing.assert_allclose(scores, expected[1], atol=1e-3)
    assert (read_header(path)["input"], read_header(path)["output"]) == ("float32", "keypoints")
    assert verify_onnx(path, net, pixels(7), bound_px=10).max_logit < 1e-3  # the last batch is not full
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.InvalidArgument):
        run(path, np.zeros((4, 3, 128, 96), np.float32))


@pytest.mark.parametrize(("batch", "uint8_input"), [(None, True), (2, False)])
def test_int8_is_small_and_near(net, logits, exported, tmp_path, batch, uint8_input):
    """Weights in 8 bits, attention in float32, any engine; the file still says what it is."""
    path = tmp_path / "int8.onnx"
    form = {"batch": batch, "uint8_input": uint8_input, "extra": {"AP": 0.7}}
    export_onnx(net, path, precision="int8", calibration_crops=pixels(5), **form)
    assert path.stat().st_size < 0.4 * exported.stat().st_size
    kinds = {t.name: t.data_type for t in onnx.load(path).graph.initializer}
    assert sum(kind == onnx.TensorProto.INT8 for kind in kinds.values()) > 50
    assert read_header(path)["AP"] == 0.7
    difference = verify_onnx(path, net, pixels(5), bound_px=100).max_logit
    assert 1e-3 < difference < 0.2 * np.abs(logits[0]).max()
    if uint8_input:
        openvino = pytest.importorskip("openvino")
        out = openvino.Core().compile_model(path, "CPU")([pixels(5)])
        assert np.abs(out["x"] - logits[0]).max() < 0.2 * np.abs(logits[0]).max()


def test_verification_measures_and_refuses(exported, net):
    result = verify_onnx(exported, net, pixels(10), bound_px=0.01)
    assert result.keypoints == 10 * 17 and result.max_px == result.mean_px == result.changed == 0
    assert 0 < result.max_logit < 1e-4 and "170 keypoints" in str(result)
    other = lively()
    with torch.no_grad():
        other.head_x[1].bias[100] += 100  # everybody now stands at bin 100
    with pytest.raises(ValueError, match=r"differs from its network.*allowed is a mean of 0\.5 px"):
        verify_onnx(exported, other, pixels(2))


def test_a_file_that_fails_its_verification_leaves_the_older_one(net, tmp_path):
    save(net, tmp_path / "net.safetensors")
    older = tmp_path / "net.onnx"
    older.write_bytes(b"older")
    with pytest.raises(ValueError, match=rf"^{re.escape(str(older))} differs from its network"):
        export(tmp_path / "net.safetensors", older, verify=PHOTOS, bound=-1)
    assert older.read_bytes() == b"older"
    with pytest.raises(FileNotFoundError):
        export(tmp_path / "net.safetensors", older, verify=tmp_path / "gone")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.safetensors"]
    assert export(tmp_path / "net.safetensors", older, verify=PHOTOS).mean_px < 0.1
    with pytest.raises(ValueError, match=r"\*\.onnx"):
        export(tmp_path / "net.safetensors", tmp_path / "net.pt")


def test_keep_rates_are_chosen_at_export(net, tmp_path):
    """The file prunes as the network does at these rates, and says so."""
    save(net, tmp_path / "net.safetensors", {"AP": 0.7})
    file = tmp_path / "net.onnx"
    assert export(tmp_path / "net.safetensors", file, keep_rates="1,.5,.5,.25", verify=PHOTOS).mean_px < 0.1
    with torch.inference_mode():
        expected = net(normalize(torch.from_numpy(pixels(3))), (1, 0.5, 0.5, 0.25))[0].numpy()
    np.testing.assert_allclose(run(file, pixels(3))[0], expected, rtol=0, atol=1e-4)
    header = read_header(file)
    assert header["config"]["keep_rates"] == [1, 0.5, 0.5, 0.25]
    assert (header["trained_keep_rates"], header["AP"]) == (list(net.config.keep_rates), 0.7)
    for wrong in ("1,.5", "1,.5,.6,.1", "quick"):
        with pytest.raises(ValueError, match="keep_rates"):
            export(tmp_path / "net.safetensors", tmp_path / "other.onnx", keep_rates=wrong, verify=tmp_path / "gone")


def test_what_cannot_be_exported(net, tmp_path):
    for wrong, message in (
        ({"model": torch.nn.Linear(2, 2)}, "Linear"),
        ({"model": GTPT(net.config)}, "no skeleton"),
        ({"opset": 17}, "opset must be 20 .* to 23 .*, got 17"),
        ({"opset": 24}, "opset must be 20 .* to 23 .*, got 24"),
        ({"precision": "bfloat16"}, r"'float32', 'float16', 'int8'\], got 'bfloat16'"),
        ({"precision": "int8"}, "go together"),
        ({"calibration_crops": pixels(1)}, "go together"),
        ({"precision": "int8", "calibration_crops": pixels(1)[:0]}, "no crops"),
        ({"precision": "int8", "calibration_crops": pixels(1)[:, ::2]}, "crops must be"),
        ({"precision": "int8", "calibration_crops": pixels(1), "batch": 2}, "do not fill one batch of 2"),
        ({"batch": 0}, "1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            export_onnx(**{"model": net, "path": tmp_path / "x.onnx", **wrong})
    assert not list(tmp_path.iterdir())


def test_broken_and_foreign_files(exported, net, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(exported.read_bytes()[:5000])
    foreign = onnx.load(exported)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(ValueError, match=r"broken\.onnx"):
        verify_onnx(broken, net, pixels(1))
    with pytest.raises(ValueError, match="written by `gtpt export`"):
        verify_onnx(tmp_path / "foreign.onnx", net, pixels(1))
    with pytest.raises(FileNotFoundError, match="missing"):
        verify_onnx(tmp_path / "missing.onnx", net, pixels(1))
    for crops in (pixels(1)[:0], pixels(1)[:, ::2], pixels(1).astype(np.float32)):
        with pytest.raises(ValueError, match="crops"):
            verify_onnx(exported, net, crops)


@pytest.mark.parametrize("failing", ["PyTorch", "onnxruntime"])
def test_a_failing_export_says_what_to_do_and_leaves_the_older_file(net, tmp_path, monkeypatch, failing):
    def fails(*_, **__):
        raise torch.onnx.OnnxExporterError("no operator\nand forty lines more")

    def gives_a_foreign_graph(*_, **__):
        kind = onnx.TensorProto.FLOAT
        x, y = (onnx.helper.make_tensor_value_info(name, kind, ["batch"]) for name in ("crops", "y"))
        graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["crops"], ["y"])], "other", [x], [y])
        return SimpleNamespace(model_proto=onnx.helper.make_model(graph, ir_version=8))

    monkeypatch.setattr(torch.onnx, "export", fails if failing == "PyTorch" else gives_a_foreign_graph)
    older = tmp_path / "net.onnx"
    older.write_bytes(b"older")
    with pytest.raises(ValueError, match=rf"{failing}.* (could not export .*no operator; take opset 20|cannot run )"):
        export_onnx(net, older)
    assert older.read_bytes() == b"older" and [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.integration
def test_whole_body_on_real_crops(shared, tmp_path):
    """The deep network on people: no keypoint leaves its bin."""
    net = lively("coco_wholebody133", input_size=(192, 256), coarse_layers=6, group_layers=6)
    crops = load_crops(shared / "data" / "pose17_devval.zip", load_skeleton("coco17"), (192, 256), 4)
    path = export_onnx(net, tmp_path / "wholebody.onnx")
    assert verify_onnx(path, net, crops, bound_px=0.05).max_logit < 1e-4
