"""Cameras, by OpenCV."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import cv2

from gtpt.core.errors import SourceError
from gtpt.io.sources.base import Frame, Selection, Skipped, Source


def open_camera(number: int, selection: Selection) -> Source:
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        capture.release()
        raise SourceError(f"cannot open camera {number}: is it plugged in, free, and may this program use it?")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not the oldest; a hint that some drivers ignore
    skipped = Skipped()
    return Source(
        "camera",
        _camera_frames(capture, selection, skipped),
        skipped,
        fps=fps if 0 < (fps := capture.get(cv2.CAP_PROP_FPS)) < math.inf else None,  # a driver may say -1
        close=capture.release,
    )


def _camera_frames(capture: cv2.VideoCapture, selection: Selection, skipped: Skipped) -> Iterator[Frame]:
    def grabbed() -> Iterator[tuple[int, float, None]]:
        began, index = None, 0
        while capture.grab():
            now = time.monotonic()
            began = now if began is None else began
            yield index, now - began, None
            index += 1
        skipped.add("camera", "gave no more pictures: unplugged, or taken by another program")

    for index, seconds, _ in selection.of(grabbed()):
        ok, image = capture.retrieve()
        if ok and image is not None:
            yield Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), index, seconds)
        else:
            skipped.add(f"frame {index}", "cannot decode")
