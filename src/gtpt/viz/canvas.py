"""To draw on: smooth lines and discs, text, and the colours of all pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

Color = tuple[int, int, int]
LEFT: Color = (240, 150, 0)
RIGHT: Color = (70, 175, 240)
MIDDLE: Color = (255, 255, 255)
DARK: Color = (24, 24, 28)
PAPER: Color = (255, 255, 255)
PENCIL: Color = (190, 190, 194)
ACCENT: Color = (0, 158, 115)
_SHIFT = 4  # OpenCV draws at 1/16 pixel
_ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)  # (16, 2)


@dataclass(frozen=True)
class Layer:
    """Pixels to draw on, `scale` times as fine as the image; `origin` is the image pixel of its top left corner."""

    pixels: np.ndarray
    origin: tuple[int, int] = (0, 0)
    scale: int = 1

    def bones(
        self, a: np.ndarray, b: np.ndarray, radius_a: np.ndarray, radius_b: np.ndarray, colors: Sequence[Color]
    ) -> None:
        """Lines with round ends from (n, 2) a to b, with half their width at both; cv2.line knows whole widths only."""
        ends = [p[:, None] + r[:, None, None] * _CIRCLE for p, r in ((a, radius_a), (b, radius_b))]
        rings = (np.concatenate(ends, axis=1) - self.origin + 0.5) * self.scale - 0.5
        for ring, color in zip(np.round(rings * (1 << _SHIFT)).astype(np.int32), colors, strict=True):
            cv2.fillConvexPoly(self.pixels, cv2.convexHull(ring), color, cv2.LINE_AA, _SHIFT)

    def discs(self, centers: np.ndarray, radius: np.ndarray, colors: Sequence[Color]) -> None:
        self.bones(centers, centers, radius, radius, colors)


@contextmanager
def enlarged(canvas: np.ndarray, points: np.ndarray, margin: float) -> Iterator[Layer]:
    """The canvas around some points, up to four times as large while one draws: lines finer than a pixel stay smooth."""
    limits = canvas.shape[1::-1]
    x0, y0 = np.clip(np.floor(points.min(axis=0) - margin), 0, limits).astype(int)
    x1, y1 = np.clip(np.ceil(points.max(axis=0) + margin) + 1, 0, limits).astype(int)
    region = canvas[y0:y1, x0:x1]
    scale = int(np.clip(1000 // max(*region.shape, 1), 1, 4))
    pixels = region.repeat(scale, axis=0).repeat(scale, axis=1) if region.size else np.zeros((1, 1, 3), dtype=np.uint8)
    yield Layer(pixels, (int(x0), int(y0)), scale)
    if region.size:
        region[:] = cv2.resize(pixels, region.shape[1::-1], interpolation=cv2.INTER_AREA)  # undoes repeat exactly


def text_width(text: str, height: float) -> int:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, height / 22, _stroke(height))[0][0]


def draw_text(canvas: np.ndarray, text: str, at: tuple[float, float], height: float, color: Color) -> None:
    """Text with capitals `height` pixels high, centred on x, its base line on y."""
    origin = (round(at[0] - text_width(text, height) / 2), round(at[1]))
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, height / 22, color, _stroke(height), cv2.LINE_AA)


def _stroke(height: float) -> int:
    return max(1, round(height / 16))


def within(points: np.ndarray, canvas: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """(...) bool for (..., 2) points: in the image or at most a margin outside; far away OpenCV's integers overflow."""
    with np.errstate(invalid="ignore"):  # NaN is nowhere
        inside = (points >= -0.5 - margin) & (points < np.array(canvas.shape[1::-1]) - 0.5 + margin)
    return np.asarray(inside.all(axis=-1))
