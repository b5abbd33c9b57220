"""Weights by name: found, verified, downloaded over a real HTTP server that misbehaves in every way it can."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

import gtpt.weights.fetch as fetching
from gtpt.weights import cache_dir, download, list_weights, load_registry, model_card, resolve
from gtpt.weights.registry import BUNDLED

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What it serves under which path, how it fails there, and what it was asked for."""

    url: str = ""
    requests: list[str] = field(default_factory=list)  # their paths
    endless: int = 0  # bytes of an answer that does not end

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        kind = request.path.split("/")[1]
        self.requests.append(request.path)
        if kind == "missing":
            request.send_error(404)
            return
        content = {"wrong": CONTENT[::-1], "long": CONTENT + b"more"}.get(kind, CONTENT)
        body = content
        request.send_response(200)
        if kind not in ("long", "endless"):  # without a length nothing tells the client where to stop
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if kind == "slow":
            time.sleep(1.5)
        if kind == "cut":
            body = body[:200_000]  # and the connection closes
        if kind == "hang":
            request.wfile.write(body[:1000])
            request.wfile.flush()
            time.sleep(0.6)
            return
        if kind == "endless":
            self.endless = 0
            with suppress(OSError):  # the client hangs up
                while self.endless < 100e6:
                    self.endless += request.wfile.write(body)
            return
        request.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}"
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield state
        http.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GTPT_OFFLINE", "GTPT_MIRROR", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("GTPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def registry(tmp_path: Path):
    def write(*sources: str, **changes: object) -> Path:
        file = {"name": "net.onnx", "sha256": SHA256, "bytes": len(CONTENT), "sources": list(sources), **changes}
        entry = {"task": "pose", "skeleton": "coco17", "size": "T", "licence": "Apache-2.0", "card": "net.md"}
        path = tmp_path / "registry.yaml"
        path.write_text(yaml.safe_dump({"net": {**entry, "files": {"onnx": file}}}))
        (tmp_path / "net.md").write_text("# net\n")
        return path

    return write


def cached(cache: Path) -> Path:
    return cache / f"net-{SHA256[:8]}.onnx"


# the registry that is shipped


def test_shipped_entries_are_complete():
    for name, entry in load_registry().items():
        assert model_card(name).startswith(f"# {name}"), name
        assert entry.licence and (entry.skeleton is not None) == (entry.task == "pose")
        for file in entry.files.values():
            assert file.sources or (BUNDLED / file.name).is_file(), f"{name}: {file.name} can come from nowhere"
            if (BUNDLED / file.name).is_file():
                assert fetching.damage(BUNDLED / file.name, file) is None, name


@pytest.mark.integration
def test_shipped_detector_is_the_real_one(shared: Path):
    file = load_registry()["yolox-nano"].file("onnx")
    assert fetching.damage(shared / "data" / "detector" / "yolox_nano.onnx", file) is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sha256": "abc"}, "sha256"),
        ({"bytes": 0}, "bytes"),
        ({"mirror": "x"}, "mirror"),
        ({"name": "../net.onnx"}, "name"),
        ({"sources": ["ftp://host/net.onnx"]}, "ftp://host"),
        ({"sources": ["hf://owner/net.onnx"]}, "hf://owner/repository/file"),
    ],
)
def test_a_wrong_registry_says_what_is_wrong(registry, changes, named):
    with pytest.raises(ValueError, match=named):
        load_registry(registry(**changes))


def test_a_registry_that_is_no_mapping(tmp_path: Path):
    path = tmp_path / "list.yaml"
    path.write_text("- net\n")
    with pytest.raises(ValueError, match="is no registry"):
        load_registry(path)


# finding


def test_a_path_is_taken_as_it_is(tmp_path: Path):
    path = tmp_path / "own.onnx"
    path.write_bytes(b"anything")
    assert resolve(path) == resolve(str(path)) == path


def test_unknown_names_list_the_known_ones():
    with pytest.raises(FileNotFoundError, match="yolox-nano"):
        resolve("no-such")
    with pytest.raises(ValueError, match="yolox-nano"):
        download("no-such")
    with pytest.raises(ValueError, match="onnx"):
        resolve("yolox-nano", format="safetensors")


def test_local_source_beside_the_registry(tmp_path: Path, registry):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "net.onnx").write_bytes(CONTENT)
    path = registry("store/net.onnx")
    assert resolve("net", registry=path).read_bytes() == CONTENT
    (row,) = list_weights(path)
    assert (row["name"], row["format"], row["bytes"], row["status"]) == ("net", "onnx", len(CONTENT), "local")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("GTPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert cache_dir() == tmp_path / "xdg" / "gtpt"
    assert cache_dir().name == "gtpt"


# downloading


def test_download_once_then_from_the_cache(server: Server, registry, cache: Path):
    path = registry(f"{server.url}/good/net.onnx")
    assert list_weights(path)[0]["status"] == "remote"
    found = resolve("net", registry=path)
    assert found == cached(cache) and found.read_bytes() == CONTENT
    assert [file.name for file in cache.iterdir()] == [found.name]
    assert resolve("net", registry=path) == download("net", registry=path) == found
    assert len(server.requests) == 1 and list_weights(path)[0]["status"] == "cached"
    download("net", registry=path, force=True)
    assert len(server.requests) == 2


def test_a_cut_connection_is_no_file(server: Server, registry, cache: Path):
    path = registry(f"{server.url}/cut/net.onnx", f"{server.url}/good/net.onnx")
    assert resolve("net", registry=path).read_bytes() == CONTENT
    assert [p.split("/")[1] for p in server.requests] == ["cut", "good"]
    assert [file.name for file in cache.iterdir()] == [cached(cache).name]


def test_mirrors_in_order(server: Server, registry):
    kinds = ("missing", "wrong", "long", "good")
    path = registry("http://127.0.0.1:9/closed", *(f"{server.url}/{k}/net.onnx" for k in kinds))
    assert resolve("net", registry=path).read_bytes() == CONTENT
    assert [p.split("/")[1] for p in server.requests] == list(kinds)


def test_when_all_fail_each_reason_is_named_and_nothing_is_kept(server: Server, registry, cache: Path):
    path = registry("http://127.0.0.1:9/closed", f"{server.url}/missing/net.onnx", f"{server.url}/wrong/net.onnx")
    with pytest.raises(ConnectionError, match=r"(?s)refused.*404.*not the registered file, its sha256 is.*copy net.onnx"):
        resolve("net", registry=path)
    assert not cached(cache).exists()


def test_a_server_that_hangs_is_left(server: Server, registry, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)
    path = registry(f"{server.url}/hang/net.onnx", f"{server.url}/good/net.onnx")
    assert resolve("net", registry=path).read_bytes() == CONTENT
    assert [p.split("/")[1] for p in server.requests] == ["hang", "good"]


def test_a_server_that_does_not_stop_is_left(server: Server, registry, cache: Path):
    path = registry(f"{server.url}/endless/net.onnx")
    with pytest.raises(ConnectionError, match="sends more than the 512000 bytes"):
        resolve("net", registry=path)
    assert server.endless < 50e6, "it was read to the end"
    assert not [p for p in cache.rglob("*") if p.is_file() and p.stat().st_size > 1000]


def test_untrusted_certificate_is_refused(server: Server, registry):
    with pytest.raises(ConnectionError, match=r"(?i)ssl|tls"):
        resolve("net", registry=registry(f"{server.url.replace('http:', 'https:')}/good/net.onnx"))


def test_hub_and_mirror_addresses(server: Server, registry, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/good")
    download("net", registry=registry("hf://owner/repository/sub/net.onnx"))
    monkeypatch.setenv("GTPT_MIRROR", f"{server.url}/good/mirror/")
    download("net", registry=registry(f"{server.url}/missing/net.onnx"), force=True)
    assert [p for p in server.requests] == [
        "/good/owner/repository/resolve/main/sub/net.onnx",
        "/good/mirror/net.onnx",
    ]


def test_offline_never_asks_the_network(server: Server, registry, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GTPT_OFFLINE", "1")
    path = registry(f"{server.url}/good/net.onnx")
    with pytest.raises(FileNotFoundError, match=r"(?s)GTPT_OFFLINE.*copy net.onnx.*give the path"):
        resolve("net", registry=path)
    cache.mkdir()
    cached(cache).write_bytes(CONTENT)  # copied by hand
    assert resolve("net", registry=path) == cached(cache)
    with pytest.raises(FileNotFoundError, match="GTPT_OFFLINE"):
        download("net", registry=path, force=True)
    assert cached(cache).exists() and not server.requests


def test_two_processes_do_not_disturb_each_other(server: Server, registry, cache: Path):
    code = "import sys; from gtpt.weights import resolve; print(resolve('net', registry=sys.argv[1]).stat().st_size)"
    command = [sys.executable, "-c", code, str(registry(f"{server.url}/slow/net.onnx"))]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [int(p.communicate(timeout=60)[0]) for p in both] == [len(CONTENT)] * 2
    assert cached(cache).read_bytes() == CONTENT


@pytest.mark.parametrize("variable", ["GTPT_MIRROR", "HF_ENDPOINT"])
def test_only_the_web_is_asked(variable: str, server: Server, registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "net.onnx").write_bytes(CONTENT)
    monkeypatch.setenv(variable, tmp_path.as_uri())
    with pytest.raises(ValueError, match="no web address"):
        resolve("net", registry=registry("hf://owner/repository/net.onnx"))


def test_a_forced_download_that_fails_leaves_the_old_file(server: Server, registry, cache: Path):
    cache.mkdir()
    cached(cache).write_bytes(CONTENT)
    with pytest.raises(ConnectionError):
        download("net", registry=registry(f"{server.url}/wrong/net.onnx"), force=True)
    assert cached(cache).read_bytes() == CONTENT


# damage


@pytest.mark.parametrize(
    ("content", "reason"),
    [(CONTENT[:-1], "511999 bytes instead of 512000"), (CONTENT[::-1], "sha256"), (b"", "0 bytes")],
)
def test_a_damaged_cached_file_says_what_to_do(server: Server, registry, cache: Path, content: bytes, reason: str):
    path = registry(f"{server.url}/good/net.onnx")
    cache.mkdir()
    cached(cache).write_bytes(content)
    with pytest.raises(ValueError, match=reason) as raised:
        resolve("net", registry=path)
    assert "gtpt weights download net --force" in str(raised.value) and str(cached(cache)) in str(raised.value)
    assert not server.requests
    assert download("net", registry=path, force=True).read_bytes() == CONTENT


def test_a_file_that_changes_after_the_first_check_is_noticed(server: Server, registry, cache: Path):
    path = registry(f"{server.url}/good/net.onnx")
    found = resolve("net", registry=path)
    found.write_bytes(CONTENT[::-1])
    os.utime(found, ns=(0, 0))
    with pytest.raises(ValueError, match="damaged"):
        resolve("net", registry=path)


def test_a_cache_folder_that_cannot_be_written(server: Server, registry, cache: Path):
    cache.write_text("a file is in the way")
    with pytest.raises(OSError, match="GTPT_CACHE"):
        resolve("net", registry=registry(f"{server.url}/good/net.onnx"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_folder(server: Server, registry, cache: Path):
    cache.mkdir(mode=0o555)
    with pytest.raises(PermissionError, match="GTPT_CACHE"):
        resolve("net", registry=registry(f"{server.url}/good/net.onnx"))


def test_a_full_disk_is_not_blamed_on_the_mirrors(server: Server, registry, cache: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pooch.core.shutil.move", full)
    with pytest.raises(OSError, match=r"No space left.*make room"):
        resolve("net", registry=registry(f"{server.url}/good/net.onnx", f"{server.url}/good/again.onnx"))
    assert len(server.requests) == 1
