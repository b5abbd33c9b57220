"""A real browser plays the videos that are written: picture, length, colour and sound, as the browser tells them."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from gtpt.io.video_writer import VideoWriter

from .test_video_writer import image, video_with_sound

pytest.importorskip("av")
BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
PAGE = """<video id=v src=video.mp4 muted></video><script>
const report = facts => fetch("/report", {method: "POST", body: JSON.stringify(facts)});
v.onerror = () => report({error: v.error.message});
v.onended = () => {
  const canvas = document.createElement("canvas");
  canvas.width = v.videoWidth; canvas.height = v.videoHeight;
  const context = canvas.getContext("2d");
  context.drawImage(v, 0, 0);
  const colour = (x, y) => [...context.getImageData(x, y, 1, 1).data.slice(0, 3)];
  report({width: v.videoWidth, height: v.videoHeight, duration: v.duration, sound: v.webkitAudioDecodedByteCount,
          frames: v.getVideoPlaybackQuality().totalVideoFrames, corner: colour(4, 4), ground: colour(48, 36)});
};
v.play().catch(error => report({error: String(error)}));
</script>"""


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, Queue]]:
    """The folder over HTTP, and what its page reports."""
    reports: Queue = Queue()

    class Handler(SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/page.html", reports
        server.shutdown()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_browser_plays_picture_and_sound(tmp_path: Path) -> None:
    source = video_with_sound(tmp_path / "source.mp4", seconds=1.5)
    with VideoWriter(tmp_path / "video.mp4", (64, 48), 30, audio_from=source) as video:
        for i in range(45):
            video.write(image(i), i / 30)
    (tmp_path / "page.html").write_text(PAGE)
    with served(tmp_path) as (url, reports):
        assert BROWSER
        # its sandbox needs rights that containers lack
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"]
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        browser = subprocess.Popen([BROWSER, *options, profile, url], stderr=subprocess.PIPE, text=True)
        try:
            facts = reports.get(timeout=60)
        except Empty:
            browser.kill()
            pytest.fail(f"the browser told nothing: {browser.stderr.read()[-2000:]}")  # type: ignore[union-attr]
        finally:
            browser.kill()
            browser.communicate()
    assert "error" not in facts, facts["error"]
    assert (facts["width"], facts["height"]) == (64, 48)
    assert facts["duration"] == pytest.approx(1.5, abs=0.1)
    assert facts["frames"] >= 40 and facts["sound"] > 1000
    assert facts["corner"] == pytest.approx(image(44)[4, 4].tolist(), abs=12)  # the last frame, in its colours
    assert facts["ground"] == pytest.approx(image(44)[36, 48].tolist(), abs=12)
