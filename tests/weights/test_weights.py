"""Weights by name: found, verified, downloaded over a real HTTP server that misbehaves in every way it can."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range header

    @property
    def ranges(self) -> list[str | None]:
        return [wanted for _, wanted in self.requests]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        kind = request.path.split("/")[1]
        wanted = request.headers["Range"]
        self.requests.append((request.path, wanted))
        if kind == "missing":
            request.send_error(404)
            return
        content = {"wrong": CONTENT[::-1], "long": CONTENT + b"more"}.get(kind, CONTENT)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and kind != "norange" else 0
        body = content[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if kind != "long":  # without a length nothing tells the client where to stop
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if kind == "slow":
            time.sleep(1.5)
        if kind in ("cut", "norange"):
            body = body[:200_000]  # and the connection closes
        if kind == "drip":
            body = body[:1000]
        if kind == "hang":
            request.wfile.write(body[: 1000 - start])
            request.wfile.flush()
            time.sleep(0.6)
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
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_dir() == tmp_path / "xdg" / "gtpt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "gtpt"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_dir() == Path.home() / "Library" / "Caches" / "gtpt"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_dir() == tmp_path / "local" / "gtpt"


# downloading


def test_download_once_then_from_the_cache(server: Server, registry, cache: Path):
    path = registry(f"{server.url}/good/net.onnx")
    assert list_weights(path)[0]["status"] == "remote"
    found = resolve("net", registry=path)
    assert found == cached(cache) and found.read_bytes() == CONTENT
    assert not found.with_name(found.name + ".part").exists()
    assert resolve("net", registry=path) == download("net", registry=path) == found
    assert len(server.requests) == 1 and list_weights(path)[0]["status"] == "cached"
    download("net", registry=path, force=True)
    assert len(server.requests) == 2


def test_a_cut_connection_is_resumed(server: Server, registry):
    found = resolve("net", registry=registry(f"{server.url}/cut/net.onnx"))
    assert found.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=200000-", "bytes=400000-"]


def test_resumes_what_an_earlier_call_left(server: Server, registry, cache: Path):
    cache.mkdir()
    cached(cache).with_name(cached(cache).name + ".part").write_bytes(CONTENT[:123_456])
    assert resolve("net", registry=registry(f"{server.url}/good/net.onnx")).read_bytes() == CONTENT
    assert server.ranges == ["bytes=123456-"]


def test_a_server_without_ranges_that_breaks_off_is_left(server: Server, registry):
    path = registry(f"{server.url}/norange/net.onnx", f"{server.url}/good/net.onnx")
    assert resolve("net", registry=path).read_bytes() == CONTENT
    assert [p.split("/")[1] for p, _ in server.requests] == ["norange", "norange", "good"]


def test_foreign_beginning_is_thrown_away(server: Server, registry, cache: Path):
    cache.mkdir()
    cached(cache).with_name(cached(cache).name + ".part").write_bytes(b"x" * 1000)
    assert resolve("net", registry=registry(f"{server.url}/good/net.onnx")).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


def test_mirrors_in_order(server: Server, registry):
    kinds = ("missing", "wrong", "long", "good")
    path = registry("http://127.0.0.1:9/closed", *(f"{server.url}/{k}/net.onnx" for k in kinds))
    assert resolve("net", registry=path).read_bytes() == CONTENT
    assert [p.split("/")[1] for p, _ in server.requests] == list(kinds)


def test_when_all_fail_each_reason_is_named_and_nothing_is_kept(server: Server, registry, cache: Path):
    path = registry("http://127.0.0.1:9/closed", f"{server.url}/missing/net.onnx", f"{server.url}/wrong/net.onnx")
    with pytest.raises(
        ConnectionError, match=r"(?s)refused.*HTTP 404.*not the registered file, its sha256 is.*copy net.onnx"
    ):
        resolve("net", registry=path)
    assert not cached(cache).exists()


def test_a_server_that_hangs_is_left(server: Server, registry, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)
    path = registry(f"{server.url}/hang/net.onnx", f"{server.url}/good/net.onnx")
    assert resolve("net", registry=path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-", "bytes=1000-"]  # the last one is the mirror's


def test_a_server_that_drips_is_left(server: Server, registry):
    with pytest.raises(ConnectionError, match="broke off after"):
        resolve("net", registry=registry(f"{server.url}/drip/net.onnx"))
    assert len(server.requests) == fetching.CONNECTIONS


def test_untrusted_certificate_is_refused(server: Server, registry):
    with pytest.raises(ConnectionError, match=r"(?i)ssl|tls"):
        resolve("net", registry=registry(f"{server.url.replace('http:', 'https:')}/good/net.onnx"))


def test_hub_and_mirror_addresses(server: Server, registry, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/good")
    download("net", registry=registry("hf://owner/repository/sub/net.onnx"))
    monkeypatch.setenv("GTPT_MIRROR", f"{server.url}/good/mirror/")
    download("net", registry=registry(f"{server.url}/missing/net.onnx"), force=True)
    assert [p for p, _ in server.requests] == [
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


def test_two_processes_download_once(server: Server, registry, cache: Path):
    code = "import sys; from gtpt.weights import resolve; print(resolve('net', registry=sys.argv[1]).stat().st_size)"
    command = [sys.executable, "-c", code, str(registry(f"{server.url}/slow/net.onnx"))]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [int(p.communicate(timeout=60)[0]) for p in both] == [len(CONTENT)] * 2
    assert len(server.requests) == 1


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_not_blamed_on_the_mirrors(server: Server, registry, cache: Path):
    cache.mkdir()
    cached(cache).with_name(cached(cache).name + ".part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left.*make room"):
        resolve("net", registry=registry(f"{server.url}/good/net.onnx", f"{server.url}/good/again.onnx"))
    assert len(server.requests) == 1
