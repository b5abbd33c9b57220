"""The page as users have it: written by `write_web`, served by a plain server, opened in Chromium."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gtpt import read_image
from gtpt.web import write_web
from gtpt.web.runtime import read_runtime

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
SHARED = Path(__file__).parents[3] / "shared"
DETECTOR = SHARED / "data" / "detector" / "yolox_nano.onnx"
BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = (  # its sandbox needs rights that containers lack, and a test calls nobody
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"),
)
PATIENCE = 180  # seconds, on a busy machine
SHIFT, FRAMES, FPS = 8, 12, 10  # of the video: pixels per frame


class Folder:
    """A folder behind a server that sends no headers of its own, as the simplest hosts do."""

    def __init__(self, path: Path):
        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(path)))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://localhost:{self._server.server_port}/"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real runtime as a folder; without one in the cache and without a registry the tests of the page skip."""
    folder = tmp_path_factory.mktemp("runtime")
    try:
        for name, content in read_runtime():
            (folder / name).write_bytes(content)
    except (FileNotFoundError, ConnectionError, subprocess.SubprocessError) as error:
        pytest.skip(f"no onnxruntime-web here: {error}")
    return folder


@pytest.fixture(scope="session")
def site(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    path = tmp_path_factory.mktemp("page") / "site"
    write_web(path, runtime=runtime, detector=DETECTOR if DETECTOR.is_file() else None)
    folder = Folder(path)
    yield folder
    folder.stop()


@pytest.fixture(scope="session")
def moving_photo() -> list[np.ndarray]:
    """Frames in which somebody moves to the right by the same way each time."""
    person = cv2.resize(read_image(PHOTOS / "astronaut.jpg"), (240, 240), interpolation=cv2.INTER_AREA)
    frames = []
    for i in range(FRAMES):
        frame = np.full((256, 400, 3), 90, np.uint8)
        frame[8:248, SHIFT * i : SHIFT * i + 240] = person
        frames.append(frame)
    return frames


@pytest.fixture(scope="session")
def video(moving_photo: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("video") / "walk, right.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = moving_photo[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "10"}
        for frame in moving_photo:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def camera_video(moving_photo: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the camera sees, as Chromium plays it: a real video of people where there is one, else the moving photo."""
    real = SHARED / "data" / "video" / "pose2sim_SinglePerson_cam01.mp4"
    frames = moving_photo
    if real.is_file():
        av = pytest.importorskip("av")
        with av.open(str(real)) as container:
            decoded = (f for i, f in enumerate(container.decode(video=0)) if i % 6 == 0)
            frames = [f.reformat(width=360, height=640).to_ndarray(format="rgb24") for f in decoded]
    height, width = frames[0].shape[:2]
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{FPS}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())
    return path


@pytest.fixture(scope="session")
def browser(camera_video: Path) -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    camera = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera_video}")
    with sync.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=[*FLAGS, *camera], headless=True)
        yield opened
        opened.close()


class Page:
    """The page in a browser, and what it shows."""

    def __init__(self, tab: Any, url: str):
        self.tab = tab
        self.errors: list[str] = []
        tab.set_default_timeout(PATIENCE * 1000)
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        tab.add_init_script(
            # of the picture and the way of finding that the test asked for: an earlier one may still be under way, even
            # of the same name; a photo counts from where it is opened, which shows it without poses
            "window.shown = []; window.asked = {}; document.addEventListener('gtpt:shown', ({detail}) => {"
            "  if (!detail.poses) asked.opened = detail.name;"
            "  else if (detail.name === asked.name && detail.find === asked.find &&"
            "    (detail.time !== undefined || asked.opened === asked.name)) shown.push(detail); })"
        )
        self.open(url)

    def open(self, url: str) -> None:
        self.tab.goto(url)
        self.tab.wait_for_selector("html[data-ready=true]", timeout=PATIENCE * 1000)

    def give(self, *files: Path | dict[str, Any]) -> None:
        names = [file["name"] if isinstance(file, dict) else file.name for file in files]
        self.ask(name=names[0], opened=None)
        self.tab.set_input_files("#file", list(files))

    def ask(self, **about: str | None) -> None:
        """From now on only what is shown of this file, or found in this way, counts."""
        self.tab.evaluate("about => { shown.length = 0; Object.assign(asked, about); }", about)

    def find(self, how: str) -> None:
        """Choose "detector", "whole" or "hand"."""
        self.ask(find=how)
        self.tab.locator(f"input[name=find][value={how}]").check(force=True)

    def people(self, frames: int = 1) -> list[dict[str, Any]]:
        """Of the last picture, when so many more have been shown."""
        return self.frames(frames)[-1]["people"]

    def frames(self, least: int = 1) -> list[dict[str, Any]]:
        self.wait_until(f"shown.length >= {least}")
        return self.tab.evaluate(
            "shown.map(({time, poses}) => ({time, size: poses.size, people: poses.people.map(p => ({...p, "
            "keypoints: [...p.keypoints], scores: [...p.scores], rawScores: [...p.rawScores]}))}))"
        )

    def wait_until(self, condition: str) -> None:
        """Playwright's own waiting evaluates text in the page, which the page's policy forbids."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.tab.evaluate(condition):
                return
            self.tab.wait_for_timeout(50)
        raise AssertionError(f"still not so: {condition}; the page says: {self.problems()}")

    def problems(self) -> str:
        return self.tab.inner_text("#problems")

    def wait_for_problem(self) -> str:
        self.tab.wait_for_selector("#problems .message", timeout=PATIENCE * 1000)
        text = self.problems()
        self.tab.evaluate("document.querySelectorAll('#problems .message').forEach(m => m.remove())")
        return text

    def drag(self, box: tuple[float, float, float, float]) -> None:
        """Draw a box, corners as shares of the picture."""
        self.ask()
        layer = self.tab.locator("#hand-layer").bounding_box()
        (x1, x2), (y1, y2) = (
            [layer[start] + share * layer[length] for share in shares]
            for start, length, shares in (("x", "width", box[::2]), ("y", "height", box[1::2]))
        )
        mouse = self.tab.mouse
        mouse.move(x1, y1)
        mouse.down()
        mouse.move((x1 + x2) / 2, (y1 + y2) / 2)
        mouse.move(x2, y2)
        mouse.up()


@pytest.fixture(scope="session")
def context(browser: Any, site: Folder) -> Iterator[Any]:
    made = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"])
    yield made
    made.close()


@pytest.fixture(scope="session")
def opened(context: Any, site: Folder) -> Page:
    """One page for all tests: starting the engine takes longest."""
    return Page(context.new_page(), site.url)


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    yield opened
    assert opened.errors == []
    if opened.tab.inner_text("#camera") != "Camera":
        opened.tab.click("#camera")
    opened.tab.evaluate("document.querySelectorAll('#problems .message').forEach(m => m.remove())")
