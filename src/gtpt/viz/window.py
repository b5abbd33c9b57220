"""A window that shows pictures while they are made. Tk comes with Python; OpenCV's headless wheels have no windows."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any

import cv2
import numpy as np

from gtpt.core.errors import InputError, MissingExtraError

FREE = 0.9  # of the screen that a picture may take: the rest is for the window's frame and the desktop's bars
PAUSE = 0.02  # seconds between looks at the keyboard while a picture waits


class Window(AbstractContextManager["Window"]):
    """One window, opened at once; q, Esc or its own button close it.

    Use it in the main thread: macOS allows windows nowhere else.

    Attributes:
        open: whether nobody has closed it.

    Raises:
        MissingExtraError: a Python without Tk.
        InputError: no display.
    """

    def __init__(self) -> None:
        try:
            import tkinter
        except ImportError as error:
            raise MissingExtraError(
                "a window needs tkinter, which this Python comes without: apt install python3-tk (Debian, Ubuntu), dnf "
                "install python3-tkinter (Fedora), brew install python-tk (Homebrew), conda install tk; or leave out show",
                name="tkinter",
            ) from error
        try:
            self._root = tkinter.Tk(className="gtpt")
        except tkinter.TclError as error:
            raise InputError(
                f"there is no display for a window ({error}): set DISPLAY, connect with `ssh -X`, or leave out show, as "
                f"the drawn pictures are written to files too"
            ) from error
        self.open, self._pressed = True, False
        self._root.resizable(False, False)
        self._root.protocol("WM_DELETE_WINDOW", self._close)
        self._root.bind("<Key>", self._press)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._photo = tkinter.PhotoImage

    def show(self, picture: np.ndarray, title: str = "gtpt", *, wait: bool = False) -> bool:
        """Show a picture in place of the one before; one that is too large for the screen is shrunk.

        Args:
            picture: (H, W, 3) uint8, RGB.
            title: of the window.
            wait: come back when a key is pressed, instead of at once.

        Returns:
            `open`.
        """
        height, width = picture.shape[:2]
        ratio = min(1, FREE * self._root.winfo_screenwidth() / width, FREE * self._root.winfo_screenheight() / height)
        if ratio < 1:
            size = max(int(width * ratio), 1), max(int(height * ratio), 1)
            picture = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
        header = f"P6 {picture.shape[1]} {picture.shape[0]} 255\n".encode()  # PPM: Tk reads nothing else as fast
        self._shown = self._photo(master=self._root, data=header + picture.tobytes())  # Tk itself keeps no picture alive
        self._label.configure(image=self._shown)
        self._root.title(title)
        self._pressed = False
        self._root.update()
        while wait and self.open and not self._pressed:
            time.sleep(PAUSE)  # and not Tk's own loop, which Ctrl-C does not end
            self._root.update()
        return self.open

    def _press(self, event: Any) -> None:
        self._pressed = True
        if event.keysym in ("q", "Q", "Escape"):
            self._close()

    def _close(self) -> None:
        self.open = False

    def __exit__(self, *error: object) -> None:
        self._root.destroy()
