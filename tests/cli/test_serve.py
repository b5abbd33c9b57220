"""`gtpt serve` as a process: its options, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gtpt.cli import main

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")
PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "cameraman.jpg"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_server_answers_and_ends_on_request(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("the page")
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--weights", "gtpt-t-coco17", "--detector", "whole-image"]
    limits = ["--threads", "1", "--max-batch", "2", "--max-queue", "4", "--max-bytes", "70000", "--max-pixels", "300000"]
    command = [
        sys.executable,
        "-c",
        "from gtpt.cli import main; main()",
        "serve",
        *options,
        *limits,
        "--page",
        str(tmp_path),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for _ in range(600):
                try:
                    assert client.get("/health").json()["network"] == "gtpt-t"
                    break
                except httpx.ConnectError:
                    assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
                    time.sleep(0.1)
            assert client.get("/").text == "the page"
            headers = {"content-type": "image/jpeg"}
            assert len(client.post("/v1/poses", content=PHOTO.read_bytes(), headers=headers).json()["people"]) == 1
            assert client.post("/v1/poses", content=b"x" * 70_001, headers=headers).status_code == 413
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode in (0, -signal.SIGTERM)  # uvicorn ends as it was told to


def test_folder_without_the_page_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["serve", "--page", str(tmp_path)])
    assert done.value.code == 1 and f"write it with `gtpt web {tmp_path}`" in capsys.readouterr().err
