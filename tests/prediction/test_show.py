"""`--show`: a real window on a display of its own (Xvfb), looked at pixel by pixel.

Each window is of a process of its own: Tk keeps its connection to a display, and ends with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

import gtpt
from gtpt.core.errors import MissingExtraError

PHOTO = Path(__file__).parents[2] / "examples/photos/astronaut.jpg"
BOX = [60, 0, 420, 512]
SCREEN = 1000, 800
PREPARED = f"""
import sys, time, tkinter
import numpy as np
from PIL import ImageGrab
import gtpt

def screen():
    while not (window().winfo_viewable() and window().focus_displayof()):  # keys that come earlier go nowhere
        window().focus_force()
        window().update()
        time.sleep(0.02)
    window().update_idletasks()
    window().winfo_pointerxy()  # an answer of the display: what was drawn before is there
    seen.append(np.asarray(ImageGrab.grab(xdisplay=None).convert("RGB")))

def window():
    return tkinter._get_default_root()

def each_time(act):
    calls = []
    def detect(images):
        act(len(calls))
        calls.append(1)
        return [[{BOX}] for _ in images]
    return detect

seen = []
"""

Run = Callable[..., np.ndarray]


@pytest.fixture
def on_screen(tmp_path: Path) -> Iterator[Run]:
    """Runs Python lines where a display is, and gives the pictures of the screen that they took."""
    pytest.importorskip("tkinter")
    if shutil.which("Xvfb") is None or not features.check("xcb"):
        pytest.skip("no Xvfb, or a Pillow that takes no pictures of its screen")
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", f"{SCREEN[0]}x{SCREEN[1]}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as ready:
        display = f":{ready.readline().strip()}"

    def run(lines: str, *arguments: str | Path) -> np.ndarray:
        script = f"{PREPARED}\n{lines}\nnp.save(sys.argv[1], seen)"
        command = [sys.executable, "-c", script, str(tmp_path / "seen.npy"), *map(str, arguments)]
        subprocess.run(command, check=True, env={**os.environ, "DISPLAY": display}, timeout=120)
        return np.load(tmp_path / "seen.npy")

    try:
        yield run
    finally:
        server.terminate()
        server.wait()


def drawn(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(gtpt.PoseEstimator()(pixels, [BOX]).draw(pixels))


def test_a_film_is_shown_with_its_people_until_q(on_screen: Run, tmp_path: Path) -> None:
    """The key comes while the second of three frames is worked on: that one is still shown and kept."""
    image = gtpt.read_image(PHOTO)
    frames = [Image.fromarray(image // n) for n in (1, 2, 3)]
    frames[0].save(tmp_path / "film.webp", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    lines = """
def act(frame):
    if frame == 1:
        screen()
        window().event_generate("<Key-q>")
summary = gtpt.predict(sys.argv[2], sys.argv[3], detector=each_time(act), show=True, draw=False, track=False, quiet=True)
assert (summary.sources[0].frames, summary.exit_code) == (2, 0), summary
assert [file.rpartition(".")[2] for file in summary.sources[0].files] == ["jsonl"], summary
"""
    (shown,) = on_screen(lines, tmp_path / "film.webp", tmp_path / "out")
    np.testing.assert_array_equal(shown[:512, :512], drawn(image))
    assert (shown[:512, :512] != image).any(axis=2).sum() > 3000  # pixels of a skeleton
    assert not shown[512:].any() and not shown[:, 512:].any()  # the window is as large as the picture


def test_photos_wait_for_a_key_and_closing_ends_it(on_screen: Run, tmp_path: Path) -> None:
    """Three photos: a key after the first, the window's own button at the second, and the third is not worked on."""
    folder = tmp_path / "photos"
    folder.mkdir()
    pictures = [gtpt.read_image(PHOTO) // n for n in (1, 2, 3)]
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    lines = """
def look():
    screen()
    if len(seen) == 1:
        window().event_generate("<Key-n>")
    else:
        window().tk.eval(window().protocol("WM_DELETE_WINDOW"))
detector = each_time(lambda _: window().after(200, look))
summary = gtpt.predict([sys.argv[2], sys.argv[4]], sys.argv[3], detector=detector, show=True, quiet=True)
assert [(s.name, s.frames) for s in summary.sources] == [(sys.argv[2], 2)] and summary.exit_code == 0, summary
"""
    shown = on_screen(lines, folder, tmp_path / "out", tmp_path)
    for found, pixels in zip(shown, pictures, strict=False):
        np.testing.assert_array_equal(found[:512, :512], drawn(pixels))
    assert len(shown) == 2 and sorted(p.name for p in (tmp_path / "out").glob("*.jpg")) == ["0_pose.jpg", "1_pose.jpg"]


def test_a_picture_larger_than_the_screen_is_shrunk(on_screen: Run) -> None:
    lines = """
from gtpt.viz.window import Window
with Window() as shown:
    assert shown.show(np.full((3000, 300, 3), (10, 200, 30), np.uint8))
    screen()
"""
    found = (on_screen(lines)[0] == (10, 200, 30)).all(axis=2)
    assert (found.any(axis=1).sum(), found.any(axis=0).sum()) == (0.9 * SCREEN[1], 72)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there is always a display")
def test_without_a_display_nothing_is_begun(tmp_path: Path) -> None:
    pytest.importorskip("tkinter")
    command = [sys.executable, "-m", "gtpt", "predict", str(PHOTO), "--show", "--out", str(tmp_path / "out")]
    bare = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    ran = subprocess.run(command, capture_output=True, text=True, env=bare, check=False)
    assert ran.returncode == 1 and "DISPLAY" in ran.stderr and "Traceback" not in ran.stderr
    assert not (tmp_path / "out").exists()


def test_a_python_without_tk_says_what_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(MissingExtraError, match="python3-tk"):
        gtpt.predict(PHOTO, tmp_path / "out", show=True)
    assert not (tmp_path / "out").exists()
