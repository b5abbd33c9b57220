"""Training-time variation of a person crop: the official geometry, and stronger options for small data sets."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gtpt.core.geometry import boxes_to_crops, flip_joints, half_body_crop
from gtpt.core.skeleton import Skeleton


class AugmentConfig(BaseModel):
    """Defaults are the official recipe.

    Attributes:
        half_body: chance to crop one half of a person with more than 8 visible joints.
        half_body_choice: "official" takes the upper half in 69 % (a normal draw below 0.5), "uniform" in 50 %.
        scale: standard deviation of the size factor, cut at +-scale.
        rotation: standard deviation in degrees, cut at +-2 rotation.
        rotation_chance: share of crops that are rotated.
        flip: chance to mirror.
        shift: crop centre moves by up to this share of the crop (ours; official 0).
        color: strength 0..1 of brightness, contrast, saturation and colour balance changes (ours; official 0).
        cutout: chance to fill a random rectangle with a random colour (ours; official 0).
        blur: chance to blur (ours; official 0).
        paste: chance to cover a part of the person with a piece of another training image (ours; official 0).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    half_body: float = Field(default=0.3, ge=0, le=1)
    half_body_choice: Literal["official", "uniform"] = "official"
    scale: float = Field(default=0.35, ge=0, lt=1)
    rotation: float = Field(default=45.0, ge=0, le=90)
    rotation_chance: float = Field(default=0.6, ge=0, le=1)
    flip: float = Field(default=0.5, ge=0, le=1)
    shift: float = Field(default=0.0, ge=0, le=0.5)
    color: float = Field(default=0.0, ge=0, le=1)
    cutout: float = Field(default=0.0, ge=0, le=1)
    blur: float = Field(default=0.0, ge=0, le=1)
    paste: float = Field(default=0.0, ge=0, le=1)


class View:
    """Which part of the image the network sees, and the joints in it."""

    __slots__ = ("center", "flipped", "keypoints", "rotation", "size", "visible")

    def __init__(self, center: np.ndarray, size: np.ndarray, keypoints: np.ndarray, visible: np.ndarray):
        self.center, self.size, self.keypoints, self.visible = center, size, keypoints, visible
        self.rotation, self.flipped = 0.0, False


def plain_view(box: np.ndarray, keypoints: np.ndarray, visible: np.ndarray, aspect: float) -> View:
    """The crop of a box, as at test time."""
    centers, sizes = boxes_to_crops(box, aspect)
    return View(centers[0], sizes[0], keypoints, visible)


def random_view(
    view: View, config: AugmentConfig, skeleton: Skeleton, image_width: int, aspect: float, rng: np.random.Generator
) -> View:
    """Official steps in official order: half body, size, rotation, mirror (all in image pixels)."""
    if view.visible.sum() > 8 and rng.random() < config.half_body:
        upper = rng.standard_normal() < 0.5 if config.half_body_choice == "official" else rng.random() < 0.5
        half = half_body_crop(view.keypoints, view.visible, skeleton.lower_body, prefer_upper=bool(upper), aspect=aspect)
        if half is not None:
            view.center, view.size = half
    view.size = view.size * np.clip(1 + config.scale * rng.standard_normal(), 1 - config.scale, 1 + config.scale)
    if config.shift:
        view.center = view.center + view.size * rng.uniform(-config.shift, config.shift, 2)
    if rng.random() < config.rotation_chance:
        limit = 2 * config.rotation
        view.rotation = float(np.clip(config.rotation * rng.standard_normal(), -limit, limit))
    if rng.random() < config.flip:
        view.flipped = True
        view.keypoints, view.visible = flip_joints(view.keypoints, view.visible, image_width, skeleton.flip_index)
        view.center = np.array([image_width - 1 - view.center[0], view.center[1]])
    return view


def vary_pixels(crop: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Colour, blur and cutout on an RGB uint8 (H, W, 3) crop; joints do not move."""
    if config.color:
        crop = _jitter_color(crop, config.color, rng)
    if config.blur and rng.random() < config.blur:
        crop = cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.5, 2.0)) * crop.shape[1] / 192)
    if config.cutout and rng.random() < config.cutout:
        height, width = crop.shape[:2]
        h, w = (rng.uniform(0.1, 0.35, 2) * (height, width)).astype(int)
        top, left = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
        crop = crop.copy()
        crop[top : top + h, left : left + w] = rng.integers(0, 256, 3)
    return crop


def _jitter_color(crop: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Mix each pixel with its grey (saturation) and shift the balance of the channels, then one gain and offset."""
    saturation, contrast = 1 + strength * rng.uniform(-0.6, 0.6, 2)
    offset = strength * rng.uniform(-50, 50)
    gains = contrast * (1 + strength * rng.uniform(-0.15, 0.15, 3))
    grey = np.array([0.299, 0.587, 0.114])
    mix = gains[:, None] * (saturation * np.eye(3) + (1 - saturation) * grey)  # (3 out, 3 in)
    shift = 128 + offset - gains * 128
    return cv2.transform(crop, np.column_stack([mix, shift]).astype(np.float32))


def paste(crop: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lay an elliptic piece of another image, an eighth to half of the crop wide, somewhere over the crop.

    Limbs of other people and things in front of a person are what a network must learn to look past. Both images are RGB
    uint8; joints do not move.
    """
    height, width = crop.shape[:2]
    h, w = (rng.uniform(0.12, 0.5, 2) * (height, width)).astype(int)
    piece = rng.uniform(0.3, 0.9) * np.array(other.shape[:2])  # of the other image, shown smaller or larger
    top, left = (rng.random(2) * (np.array(other.shape[:2]) - piece)).astype(int)
    patch = other[top : top + max(int(piece[0]), 1), left : left + max(int(piece[1]), 1)]
    patch = cv2.resize(patch, (w, h), interpolation=cv2.INTER_LINEAR)
    mask = cv2.ellipse(np.zeros((h, w), np.uint8), (w // 2, h // 2), (w // 2, h // 2), 0, 0, 360, 1, -1)
    y, x = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
    crop = crop.copy()
    cv2.copyTo(patch, mask, crop[y : y + h, x : x + w])
    return crop
