"""The command line as a user meets it: files in, files out, exit codes, messages instead of tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from gtpt.cli import main

from ..data.figures import write_set

torch = pytest.importorskip("torch")
PHOTOS = Path(__file__).parents[2] / "examples/photos"


def run(*arguments: object) -> int:
    """Exit code of a command line."""
    try:
        main([str(a) for a in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gtpt.model import build, save

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    shallow = build("gtpt-t", input_size=(48, 64), coarse_layers=4, group_layers=2)
    save(shallow, path, {"calibration": {"raw": [0.0, 0.01], "calibrated": [0.0, 1.0]}})
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a name that trips careless code, two photos, a broken one and a text file."""
    folder = tmp_path / "Fotos für müde Augen"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("eins.png", (90, 70, 3)), ("zwei ä.png", (60, 100))):
        ok, data = cv2.imencode(".png", rng.integers(0, 256, shape, dtype=np.uint8))
        assert ok
        (folder / name).write_bytes(data.tobytes())
    (folder / "kaputt.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (folder / "notes.txt").write_text("no picture either")
    return folder


def test_predict_photos_to_pictures_and_coco(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    assert run("predict", *sorted(PHOTOS.glob("*.jpg")), "--boxes", "whole-image", "-w", weights, "-o", out, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["sources"][0]["people"] == 3 and not summary["skipped"]
    results = json.loads((out / "photos.json").read_text())
    assert len(results) == 3 and all(len(r["keypoints"]) == 51 and r["category_id"] == 1 for r in results)
    for photo in PHOTOS.glob("*.jpg"):
        assert cv2.imread(str(out / f"{photo.stem}_pose.jpg")).shape == cv2.imread(str(photo)).shape


def test_predict_skips_what_it_cannot_read(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    arguments = ("--detector", "whole-image", "-w", weights, "-o", out, "--json", "--no-draw")
    assert run("predict", photos, tmp_path / "missing.png", *arguments) == 3
    summary = json.loads(capsys.readouterr().out)
    assert summary["sources"][0]["frames"] == 2
    assert {Path(s["name"]).name for s in summary["skipped"]} >= {"kaputt.jpg", "missing.png"}
    assert [p.name for p in out.iterdir() if p.name != ".resume"] == ["Fotos für müde Augen.json"]


def test_predict_options_change_what_they_should(tmp_path: Path) -> None:
    """Bundled weights on a photo with two boxes: what each option changes, and what it must leave alone."""
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,x1,y1,x2,y2,score\ncameraman.jpg,0,62,340,512,0.9\ncameraman.jpg,20,80,320,500,0.4\n")

    def predict(*options: object) -> tuple[np.ndarray, bytes]:
        """(N, 17, 3) keypoints and the drawn picture."""
        photo = PHOTOS / "cameraman.jpg"
        assert run("predict", photo, "--boxes", boxes, "-o", tmp_path, "--threads", 1, "--json", *options) == 0
        people = json.loads((tmp_path / "cameraman.json").read_text())
        picture = (tmp_path / "cameraman_pose.jpg").read_bytes()
        return np.array([p["keypoints"] for p in people]).reshape(-1, 17, 3), picture

    keypoints, picture = predict()
    assert len(keypoints) == 2
    again, other = predict("--threshold", 0.9)
    assert np.array_equal(again, keypoints) and other != picture
    again, other = predict("--batch-size", 1)
    np.testing.assert_allclose(again, keypoints, atol=0.01)
    sure, _ = predict("--detector-threshold", 0.5)
    assert len(sure) == 1 and np.allclose(sure[0], keypoints[0], atol=0.01)
    mirrored, _ = predict("--flip-test")
    moved = np.linalg.norm(mirrored[..., :2] - keypoints[..., :2], axis=-1)
    assert moved.max() > 0.5 and np.median(moved) < 20  # other figures, the same person


def test_predict_detector_on_a_device_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "net.onnx").touch()
    photo, detector = PHOTOS / "cameraman.jpg", ("--detector", tmp_path / "net.onnx", "--detector-device", "abacus")
    assert run("predict", photo, *detector, "-o", tmp_path / "out") == 1
    assert "no device 'abacus'" in capsys.readouterr().err


def test_predict_in_a_precision_that_the_engine_lacks(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    photo, arguments = next(PHOTOS.glob("*.jpg")), ("--boxes", "whole-image", "-o", tmp_path)
    assert run("predict", photo, *arguments, "--precision", "float32", "--json") == 0
    assert run("predict", photo, *arguments, "--precision", "bfloat16", "--engine", "onnxruntime") == 1
    assert "bfloat16" in capsys.readouterr().err


def test_predict_nothing_usable_fails(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("predict", tmp_path / "no.png", "--boxes", "whole-image", "-w", weights, "-o", tmp_path / "out") == 1
    assert "no.png" in capsys.readouterr().err


def test_predict_boxes_of_your_own(weights: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "kaputt.jpg").unlink()
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,x1,y1,x2,y2\neins.png,5,5,60,80\neins.png,10,10,70,90\nzwei ä.png,0,0,90,60\n", encoding="utf-8")
    out = tmp_path / "out"
    code = run("predict", photos, "--boxes", boxes, "-w", weights, "-o", out, "--format", "csv", "--no-draw")
    assert code in (0, 3)  # notes.txt is mentioned
    rows = (out / "Fotos für müde Augen.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 3 * 17


@pytest.mark.parametrize("kind", ["jsonl", "npz", "openpose", "parquet"])
def test_predict_formats(kind: str, weights: Path, tmp_path: Path) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    photo = PHOTOS / "cameraman.jpg"
    assert run("predict", photo, "--boxes", "whole-image", "-w", weights, "-o", out, "--format", kind, "--no-draw") == 0
    assert len([p for p in out.iterdir() if p.name != ".resume"]) == 1


def test_predict_explains_checkpoints(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = run("predict", PHOTOS / "cameraman.jpg", "--boxes", "whole-image", "-w", weights, "-o", out, "--explain")
    assert code == 0
    sheets = list(out.glob("*explain*.png"))
    assert len(sheets) == 1 and min(cv2.imread(str(sheets[0])).shape[:2]) > 100


@pytest.fixture
def video(tmp_path: Path) -> Path:
    av = pytest.importorskip("av")
    path = tmp_path / "ein Video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(12):
            picture = np.full((64, 96, 3), 20 * i, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        container.mux(stream.encode())
    return path


def test_predict_video(video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import av

    out = tmp_path / "out"
    options = ("--stride", 2, "--start", 0.2, "--end", 1.0, "--detect-every", 2, "--smooth", "--track", "--threads", 1)
    tuning = (
        "--batch-size",
        4,
        "--flip-test",
        "--threshold",
        0.5,
        "--min-score",
        0.0,
        "--detector-threshold",
        0.2,
        "--engine",
        "torch",
        "--device",
        "cpu",
    )
    code = run("predict", video, "--detector", "whole-image", "-w", weights, "-o", out, "--json", *options, *tuning)
    assert code == 0
    assert json.loads(capsys.readouterr().out)["sources"][0]["frames"] == 4
    lines = [json.loads(line) for line in (out / "ein Video.jsonl").read_text().splitlines()]
    frames = [line for line in lines if "frame" in line]
    assert [f["frame"] for f in frames] == [2, 4, 6, 8]
    with av.open(str(out / "ein Video_pose.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and sum(1 for _ in container.decode(stream)) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "xml"), "xml"),
        (("--smooth", "--no-track"), "--no-track"),
        (("--explain", "--engine", "openvino"), "explain reads"),
        (("--device", "cuda:9"), "no device"),
        (("--boxes", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_predict_says_what_does_not_go_together(
    options: tuple[str, ...], message: str, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    base = ("predict", PHOTOS / "cameraman.jpg", "-w", weights, "-o", tmp_path / "out")
    boxes = () if "--boxes" in options else ("--boxes", "whole-image")
    assert run(*base, *boxes, *options) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_wrong_usage_is_exit_code_2(weights: Path, tmp_path: Path) -> None:
    assert run("predict") == 2
    assert run("predict", PHOTOS, "--threshold", 2) == 2
    assert run("fly") == 2


def test_version_and_help(capsys: pytest.CaptureFixture) -> None:
    import gtpt

    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == gtpt.__version__
    assert run("--help") == 0
    listed = capsys.readouterr().out
    verbs = "predict train test convert average export info benchmark sweep data weights".split()
    assert all(verb in listed for verb in verbs)


def test_convert_there_and_back(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from gtpt.model import build, load, save

    ours = tmp_path / "ours.safetensors"
    save(build("gtpt-t"), ours)
    assert run("convert", ours, tmp_path / "theirs.pth") == 0
    assert run("convert", tmp_path / "theirs.pth", tmp_path / "again.safetensors", "--branch", "live") == 0
    a, b = load(ours).state_dict(), load(tmp_path / "again.safetensors").state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert run("convert", ours, tmp_path / "x.bin") == 1
    assert "x.bin" in capsys.readouterr().err


def test_average_of_two(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from gtpt.model import build, load, save

    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for file in files:
        save(build("gtpt-t"), file)
    assert run("average", *files, "-o", tmp_path / "mean.safetensors") == 0
    assert "average of 2" in capsys.readouterr().out
    a, b, mean = (load(file).state_dict()["head_x.1.weight"] for file in (*files, tmp_path / "mean.safetensors"))
    assert torch.equal(mean, (a + b) / 2)
    assert run("average", files[0], "-o", tmp_path / "one.safetensors") == 1
    assert "at least two" in capsys.readouterr().err


@pytest.mark.integration
def test_info(capsys: pytest.CaptureFixture) -> None:
    assert run("info") == 0
    assert "gtpt-b" in capsys.readouterr().out.lower()
    assert run("info", "--json") == 0
    assert json.loads(capsys.readouterr().out)


def test_weights_list(capsys: pytest.CaptureFixture) -> None:
    assert run("weights", "list") == 0
    assert "yolox-nano" in capsys.readouterr().out
    assert run("weights", "list", "--json") == 0
    assert any(row["name"] == "yolox-nano" for row in json.loads(capsys.readouterr().out))


def test_weights_download_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("GTPT_OFFLINE", "1")
    monkeypatch.setenv("GTPT_CACHE", str(tmp_path))
    assert run("weights", "download", "yolox-nano", "--force") == 1
    assert "GTPT_OFFLINE" in capsys.readouterr().err
    assert run("weights", "download", "nothing") == 1


def test_detector_that_is_not_here(
    monkeypatch: pytest.MonkeyPatch, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("GTPT_OFFLINE", "1")
    monkeypatch.setenv("GTPT_CACHE", str(tmp_path))
    assert run("predict", PHOTOS / "cameraman.jpg", "-w", weights, "-o", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "whole-image" in error and "boxes of your own" in error


@pytest.mark.integration
def test_train_test_and_check_on_real_crops(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("lightning")
    crops = shared / "data/pose17_train_coco.zip"
    truth = json.loads(__import__("zipfile").ZipFile(crops).read("annotations.json"))
    truth["images"], truth["annotations"] = truth["images"][:8], truth["annotations"][:8]
    (tmp_path / "few.json").write_text(json.dumps(truth))
    source = f"{{annotations: {tmp_path}/few.json, images: {crops}}}"
    cfg = tmp_path / "tiny.yaml"
    cfg.write_text(
        f"out: {tmp_path}/run\nmodel: {{name: gtpt-t, input_size: [48, 64]}}\n"
        f"data: {{train: [{source}], val: {source}, workers: 0}}\n"
        "train: {epochs: 2, batch_size: 4, validate_every: 1, passes: pruned}\n"
    )
    assert run("data", "check", "--cfg", cfg) in (0, 3)
    assert "8" in capsys.readouterr().out
    assert run("train", "--cfg", cfg, "train.lr=0.0005", "--quiet") == 0
    best = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert best.is_file()
    flags = ("--checkpoint", best, "--no-flip", "--keep-rates", "entire", "--batch-size", 3, "--device", "cpu", "--json")
    assert run("test", "--cfg", cfg, *flags) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["persons"] == 8 and report["protocol"]["boxes"] == "ground truth" and not report["protocol"]["flip_test"]
    pytest.importorskip("onnx")
    file = tmp_path / "net.onnx"
    assert run("export", best, "-o", file, "--precision", "int8", "--calibrate", PHOTOS) == 0
    capsys.readouterr()
    exported = ("test", "--cfg", cfg, "--checkpoint", file, "--engine", "onnxruntime", "--precision", "float32", "--json")
    assert run(*exported) == 0
    assert json.loads(capsys.readouterr().out)["protocol"]["flip_test"]
    assert run(*exported, "--keep-rates", "entire") == 1 and "always prunes" in capsys.readouterr().err
    assert run("test", "--cfg", cfg, "--checkpoint", best, "--engine", "openvino") == 1
    assert "exported" in capsys.readouterr().err
    assert run("test", "--cfg", cfg, "--checkpoint", best.with_name("last.ckpt")) == 1
    assert "measure best.safetensors" in capsys.readouterr().err
    assert run("train", "--cfg", cfg, "train.learning_rate=1") == 1
    assert "train.learning_rate" in capsys.readouterr().err


def test_branch_of_an_authors_file_and_a_check_without_decoding(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from gtpt.model import build, to_official_state

    figures = write_set(tmp_path / "set", 2)
    source = f"{{annotations: {figures}/annotations.json, images: {figures}/images}}"
    cfg = tmp_path / "tiny.yaml"
    cfg.write_text(
        f"out: {tmp_path}/run\nmodel: {{name: gtpt-t}}\ndata: {{train: [{source}], val: {source}, workers: 0}}\n"
        "train: {epochs: 1, batch_size: 2}\n"
    )
    (figures / "images/000.png").write_bytes(b"no picture")
    assert run("data", "check", "--cfg", cfg, "--no-decode", "--json") == 0
    assert "000.png" not in capsys.readouterr().out
    assert run("data", "check", "--cfg", cfg) == 3
    assert "000.png" in capsys.readouterr().out
    (figures / "images/000.png").write_bytes((figures / "images/001.png").read_bytes())
    torch.save(to_official_state(build("gtpt-t")), tmp_path / "theirs.pth")
    assert (
        run("test", "--cfg", cfg, "--checkpoint", tmp_path / "theirs.pth", "--branch", "live", "--no-flip", "--json") == 0
    )
    assert json.loads(capsys.readouterr().out)["persons"] == 2
    assert run("test", "--cfg", cfg, "--checkpoint", tmp_path / "theirs.pth", "--branch", "best") == 1
    assert "'best'" in capsys.readouterr().err


def test_verbose_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    code = "from gtpt.cli import main; main()"
    for flags, traceback in (((), False), (("--verbose",), True)):
        command = [sys.executable, "-c", code, *flags, "predict", str(PHOTOS), "--format", "xml", "-o", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1 and "xml" in done.stderr and ("Traceback" in done.stderr) == traceback


def test_interrupted_training_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    training = pytest.importorskip("gtpt.train.run")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", interrupted)
    (tmp_path / "x.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert run("train", "--cfg", tmp_path / "x.yaml", "out=run") == 130
    assert "there is no checkpoint yet" in capsys.readouterr().err  # nothing is promised that is not there
    (tmp_path / "run").mkdir()
    (tmp_path / "run/last.ckpt").touch()
    assert run("train", "--cfg", tmp_path / "x.yaml", "out=run") == 130
    assert f"the same command goes on from {Path('run/last.ckpt')}" in capsys.readouterr().err


@pytest.mark.integration
def test_the_scripts_of_the_original_are_thin_entries(tmp_path: Path) -> None:
    """python tools/train.py and tools/test.py, as its README has them."""
    for name in ("train", "test"):
        command = [sys.executable, PHOTOS.parents[1] / f"tools/{name}.py", "--cfg", tmp_path / "none.yaml"]
        done = subprocess.run(
            [*command, "--checkpoint", "x.pth"] if name == "test" else command, capture_output=True, text=True
        )
        assert done.returncode == 1 and "no configuration at" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.integration
def test_export_and_verify(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("onnx")
    out = tmp_path / "net.onnx"
    options = ("--batch", 2, "--precision", "float16", "--verify", PHOTOS, "--bound", 5)
    assert run("export", weights, "-o", out, *options, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(out) and told["bytes"] == out.stat().st_size
    assert told["verification"]["mean_px"] <= told["verification"]["bound_px"] == 5
    assert run("export", weights, "-o", out, "--opset", 99) == 1 and "20" in capsys.readouterr().err
    photo = PHOTOS / "cameraman.jpg"
    assert run("predict", photo, "--boxes", "whole-image", "-w", out, "-o", tmp_path / "o", "--no-draw") == 0
    assert run("export", weights, "-o", out, "--precision", "int3") == 2
    capsys.readouterr()
    options = ("--decode", "--float-input", "--opset", 20, "--batch", 1, "--verify", PHOTOS)
    assert run("export", weights, "-o", tmp_path / "d.onnx", *options) == 0
    assert " MB\n51 keypoints: max " in capsys.readouterr().out
    assert run("predict", photo, "--boxes", "whole-image", "-w", tmp_path / "d.onnx", "-o", tmp_path / "o") == 1
    assert "--decode" in capsys.readouterr().err


def test_benchmark_prints_a_ratio(weights: Path, capsys: pytest.CaptureFixture) -> None:
    options = (
        "--batch",
        1,
        "--batch",
        2,
        "--repeats",
        3,
        "--threads",
        1,
        "--engine",
        "torch",
        "--device",
        "cpu",
        "--precision",
        "float32",
    )
    assert run("benchmark", weights, "--reference", weights, *options, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["batch"] for row in report["rows"]] == [1, 2] and report["machine"]
    assert all(row["ms"] > 0 and row["ratio"] is None for row in report["rows"])
    several = ("--engine", "torch", "--engine", "onnxruntime", "--precision", "float32", "--precision", "bfloat16")
    assert run("benchmark", weights, *several, "--threads", 1, "--threads", 2, "--batch", 1, "--repeats", 3) == 0
    machine, reference, title, *rows = capsys.readouterr().out.splitlines()
    assert "medians of 3 pairs" in machine and f"{weights}, torch, float32, 1 thread" in reference
    assert title.split() == ["weights", "engine", "precision", "threads", "batch", "ms", "people/s", "ratio"]
    assert len(rows) == 8 and [row.endswith("reference") for row in rows] == [True] + [False] * 7
    assert sum("onnxruntime reads" in row for row in rows) == 4 and sum("bfloat16' needs" in row for row in rows) == 2


def test_benchmark_of_frames(weights: Path, capsys: pytest.CaptureFixture) -> None:
    options = ("--detector", "whole-image", "--batch", 3, "--repeats", 3, "--engine", "torch")
    assert run("benchmark", weights, *options, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    (row,) = report["rows"]
    assert report["detector"] == "whole-image"
    assert row["people_per_s"] == pytest.approx(3 * row["frames_per_s"], rel=0.05)
    assert run("benchmark", weights, *options) == 0
    assert "frames/s" in capsys.readouterr().out
    assert run("benchmark", weights, "--detector", "none.onnx") == 1 and "none.onnx" in capsys.readouterr().err


def test_a_benchmark_whose_reference_cannot_run_is_an_error(weights: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("benchmark", weights, "--precision", "bfloat16", "--precision", "float32") == 1
    assert "bfloat16" in capsys.readouterr().err
    from gtpt.benchmark import benchmark

    for wrong in ({"engine": "torch"}, {"batch": []}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a list"):
            benchmark([weights], **wrong)


def test_benchmark_compares_with_the_reference_beside_it(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratio is that of the pairs, and the reference takes part in each."""
    from gtpt import benchmark

    def beside(mine: object, reference: object, repeats: int) -> tuple[list[float], list[float]]:
        return [1.0] * repeats, [4.0] * repeats

    monkeypatch.setattr(benchmark, "paired_seconds", beside)
    rows = benchmark.benchmark([weights], batch=[2], threads=[1, 2])["rows"]
    assert [(row["threads"], row["ratio"], row["ms"], row["people_per_s"]) for row in rows] == [
        (1, None, 1e3, 2.0),
        (2, 4.0, 1e3, 2.0),
    ]


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_batch_beyond_the_memory_is_a_message() -> None:
    command = 'ulimit -v 6000000; exec "$0" -c "from gtpt.cli import main; main()" benchmark --engine torch --batch 200000'
    done = subprocess.run(["bash", "-c", command, sys.executable], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "200000 crops at once do not fit in memory: use a smaller batch" in done.stderr


def test_a_test_without_an_experiment(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Data by themselves, boxes of a detector, the results as a file; a name is measured as its exported file."""
    pytest.importorskip("faster_coco_eval")
    figures, out = write_set(tmp_path / "set", 2), tmp_path / "results.json"
    truth = json.loads((figures / "annotations.json").read_text())
    boxes = tmp_path / "boxes.json"
    rows = [{"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": 0.9} for a in truth["annotations"]]
    boxes.write_text(json.dumps(rows[:1]))
    data = ("--annotations", figures / "annotations.json", "--images", figures / "images")
    measured = ("test", "--checkpoint", "gtpt-t-coco17", "--threads", 1, "--json")
    assert run(*measured, *data, "--boxes", boxes, "--out", out) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["protocol"]["boxes"] == "boxes.json" and "OnnxEngine" in report["protocol"]["network"]
    (result,) = json.loads(out.read_text())
    assert result["image_id"] == rows[0]["image_id"] and len(result["keypoints"]) == 51
    assert run(*measured, *data, "--out", tmp_path) == 1  # before the work
    assert "cannot write the results" in capsys.readouterr().err
    assert run(*measured) == 1
    assert "give --cfg with data.val, or --annotations and --images" in capsys.readouterr().err
    cfg = tmp_path / "other.yaml"
    source = f"{{annotations: {figures}/annotations.json, images: {figures}/images}}"
    cfg.write_text(f"out: {tmp_path}/run\nmodel: {{name: gtpt-s}}\ndata: {{train: [{source}], val: {source}}}\n")
    assert run(*measured, "--cfg", cfg) == 1
    assert "gtpt-t-coco17 is another network than the experiment's" in capsys.readouterr().err
