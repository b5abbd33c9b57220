"""A drawn picture: an array that can be saved and looked at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gtpt.core.errors import InputError, OutputError


class Picture(np.ndarray):
    """RGB uint8 (H, W, 3) like any array, and in a notebook the picture itself.

    poses.draw(image).save("drawn.jpg")
    """

    @classmethod
    def of(cls, pixels: np.ndarray) -> Picture:
        """The same pixels, without a copy."""
        return pixels.view(cls)

    def save(self, path: str | Path) -> Path:
        """Write it as .jpg, .png or what else OpenCV encodes by the name's suffix; a file of that name is replaced.

        Folders that are missing are made.

        Raises:
            InputError: a suffix that is no kind of image, or a picture that is larger than this kind can be.
            OutputError: the file cannot be written.
        """
        path = Path(path)
        data = encoded(self, path.suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise OutputError(error.errno, f"cannot write the picture to {path}: {error.strerror}") from error
        return path

    def show(self) -> None:
        """Look at it: in a notebook below the cell, else in the system's viewer; without one it says where the file is."""
        if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()) and hasattr(shell, "kernel"):
            sys.modules["IPython"].display.display(self)
            return
        with tempfile.NamedTemporaryFile(suffix=".png", prefix="gtpt_", delete=False) as file:
            file.write(encoded(self, ".png"))
        if not _open_viewer(file.name):
            print(f"no window can be opened here; the picture is {file.name}")

    def _repr_png_(self) -> bytes | None:
        if self.dtype != np.uint8 or self.ndim != 3 or self.shape[2] != 3 or not self.size:
            return None  # what was made of a picture need not be one
        return encoded(self, ".png")


def encoded(picture: np.ndarray, suffix: str) -> bytes:
    """The content of an image file.

    Args:
        picture: (H, W, 3) uint8, RGB.
        suffix: kind of file, such as ".jpg".

    Raises:
        InputError: no kind of image, or a picture that is larger than this kind can be.
    """
    try:
        ok, data = cv2.imencode(suffix, np.ascontiguousarray(np.asarray(picture)[..., ::-1]))
    except cv2.error:  # what some versions raise and others return
        ok, data = False, np.zeros(0, np.uint8)
    if not ok:
        height, width = picture.shape[:2]
        raise InputError(f"a picture of {width}x{height} cannot be written as {suffix or 'a file without a suffix'}")
    return data.tobytes()


def _open_viewer(path: str) -> bool:
    """Whether a viewer was started."""
    if sys.platform == "win32":
        os.startfile(path)  # noqa: S606  # a picture that was just written
        return True
    if sys.platform == "darwin":
        return _started(["open", path])
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(display and shutil.which("xdg-open")) and _started(["xdg-open", path])


def _started(command: list[str]) -> bool:
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(command, check=False, **quiet).returncode == 0  # noqa: S603
