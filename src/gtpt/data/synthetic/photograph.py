"""What light, lens and codec do to a picture, and how people are set into it. All images are float32 RGB, 0..255."""

from __future__ import annotations

import cv2
import numpy as np

from gtpt.data.synthetic.renderer import Light

GREY_PICTURE = 0.08  # mean spread of the channels below which a picture is black and white


def draw_light(rng: np.random.Generator, up: np.ndarray) -> Light:
    """From flat and cloudy to hard sun; from above, mostly from the camera's side.

    Args:
        rng: source of chance.
        up: (3,) upwards in camera space.
    """
    direction = np.array([rng.normal(), 0.0, rng.normal(-0.5, 0.9)])
    direction = direction / np.linalg.norm(direction) + up * rng.uniform(0.3, 2.0)
    hard = rng.beta(1.6, 1.4)
    warm, cold = rng.normal(0, 0.09), rng.normal(0, 0.05)
    exposure = 1.15 * np.exp(rng.normal(0, 0.25))
    sky = (0.85 - 0.5 * hard) * np.array([1 - cold, 1, 1 + cold]) * rng.uniform(0.8, 1.2) * exposure
    return Light(
        sun=direction / np.linalg.norm(direction),
        sun_color=2.0 * hard * np.array([1 + warm, 1, 1 - 1.2 * warm]) * exposure,
        sky=sky,
        ground=np.clip(sky * rng.uniform(0.25, 0.75) * (1 + rng.normal(0, 0.08, 3)), 0, 2),
        up=up,
    )


def insert(background: np.ndarray, people: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Set rendered people before a background, their light brought a part of the way to its own.

    Args:
        background: (H, W, 3) RGB.
        people: (H, W, 4) RGBA, colours already multiplied by alpha.
        rng: source of chance.
    """
    background, color, alpha = background.astype(np.float32), people[..., :3], people[..., 3:] / 255
    mean = background.mean((0, 1))
    if np.ptp(background, axis=2).mean() < GREY_PICTURE * mean.mean():
        color = np.repeat(color.mean(2, keepdims=True), 3, axis=2)
    tint = mean / max(mean.mean(), 1)
    gain = np.clip((mean.mean() / 118) ** 0.45, 0.55, 1.35) * np.maximum(tint, 0.2) ** rng.uniform(0.2, 0.6)
    haze = rng.uniform(0, 12) * alpha
    color = np.minimum(color * gain.astype(np.float32), 255 * alpha) * (1 - haze / 255) + haze
    return background * _contact(alpha[..., 0], rng)[..., None] * (1 - alpha) + color


def _contact(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Soft darkening around and below people: the shadow that holds them in the picture."""
    height = alpha.shape[0]
    shift = np.array([[1, 0, rng.normal(0, 0.03) * height], [0, 1, rng.uniform(0, 0.03) * height]])
    moved = cv2.warpAffine(alpha, shift, alpha.shape[::-1])
    return 1 - cv2.GaussianBlur(moved, (0, 0), height * rng.uniform(0.01, 0.04)) * rng.uniform(0.0, 0.55)


def occlude(
    image: np.ndarray, texture: np.ndarray, seen: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Put a thing before the person: a board or table, a blob, a pole.

    Args:
        image: (H, W, 3).
        texture: (H, W, 3) of the thing.
        seen: (H, W) bool, pixels of the person.
        rng: source of chance.

    Returns:
        The image, and (H, W) bool what the thing covers; both unchanged if it would cover most of the person.
    """
    mask = np.zeros(seen.shape, np.uint8)
    rows, columns = np.nonzero(seen)
    if len(rows):
        spot = int(rng.integers(len(rows)))
        _draw_thing(mask, np.array([columns[spot], rows[spot]], float), (int(rows.min()), int(rows.max()) + 1), rng)
    covered = mask > 127
    if not len(rows) or covered[seen].mean() > 0.6:
        return image, np.zeros_like(seen)
    texture = texture.astype(np.float32)
    if rng.random() < 0.5:
        texture = texture * 0.35 + rng.uniform(20, 220) * (1 + rng.uniform(-0.2, 0.2, 3)) * 0.65
    blend = (cv2.GaussianBlur(mask, (0, 0), 0.7) / 255.0)[..., None]
    return image * (1 - blend) + texture * blend, covered


def _draw_thing(mask: np.ndarray, at: np.ndarray, extent: tuple[int, int], rng: np.random.Generator) -> None:
    """Fill the shape of a thing near a pixel of a person that spans these rows."""
    height, width = mask.shape
    reach = extent[1] - extent[0]
    kind = rng.choice(["below", "blob", "pole"], p=[0.4, 0.35, 0.25])
    if kind == "below":
        left, right = at[0] - rng.uniform(0.1, 0.5) * reach, at[0] + rng.uniform(0.1, 0.5) * reach
        if rng.random() < 0.5:
            left, right = -5, width + 5
        top = extent[0] + reach * (rng.uniform(0.5, 0.95) + rng.normal(0, 0.05, 2))
        corners = np.array([[left, top[0]], [right, top[1]], [right, height + 5], [left, height + 5]])
        cv2.fillConvexPoly(mask, corners.astype(np.int32), 255, cv2.LINE_AA)
    elif kind == "blob":
        size = rng.uniform(0.06, 0.3, 2) * reach
        shape = ((float(at[0]), float(at[1])), (float(size[0]), float(size[1])), float(rng.uniform(0, 180)))
        if rng.random() < 0.5:
            cv2.ellipse(mask, shape, 255, -1, cv2.LINE_AA)
        else:
            cv2.fillConvexPoly(mask, cv2.boxPoints(shape).astype(np.int32), 255, cv2.LINE_AA)
    else:
        along = _direction(rng.normal(np.pi / 2, 0.5)) * rng.uniform(0.5, 1.5) * reach
        _line(mask, at - along, at + along, max(int(rng.uniform(0.012, 0.09) * reach), 1))


def develop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Softness, motion, tone and grain: (H, W, 3) uint8."""
    height, width = image.shape[:2]
    soft = rng.choice(["small", "blurred", "sharp"], p=[0.5, 0.3, 0.2])
    if soft == "small":  # an enlarged picture, as the crops of small people are
        size = (np.array([width, height]) * rng.uniform(0.4, 0.95)).astype(int).clip(8)
        small = cv2.resize(image, size.tolist(), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=int(rng.choice([cv2.INTER_CUBIC, cv2.INTER_LINEAR])))
    elif soft == "blurred":
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.1)))
    if rng.random() < 0.06:
        image = _shake(image, int(rng.integers(3, 9)), rng.uniform(0, np.pi))
    image = 255 * np.clip(image / 255, 0, 1) ** np.exp(rng.normal(0, 0.12))
    image = (image - 128) * rng.normal(1.03, 0.09) + 128 + rng.normal(0, 8)
    grain = rng.normal(0, 0.7, (height, width, 1)) + rng.normal(0, 0.45, (height, width, 3))
    return np.clip(image + grain * rng.gamma(1.5, 1.8), 0, 255).astype(np.uint8)


def _shake(image: np.ndarray, length: int, angle: float) -> np.ndarray:
    kernel = np.zeros((length, length), np.float32)
    middle, reach = np.full(2, length / 2), _direction(angle) * length / 2
    _line(kernel, middle - reach, middle + reach, 1)
    return cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1))


def _direction(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])


def _line(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, thickness: int) -> None:
    color = 255 if canvas.dtype == np.uint8 else 1
    smooth = cv2.LINE_AA if canvas.dtype == np.uint8 else cv2.LINE_8
    cv2.line(canvas, start.astype(int).tolist(), end.astype(int).tolist(), color, thickness, smooth)
