"""From boxes to crops and back: pure numpy and one warpAffine, shared by training and inference.

Frames: image pixels and crop pixels, x right, y down, (0, 0) the centre of the top left pixel. Sizes are (width, height).
The maths is that of the official GTPT code (a 3:4 box enlarged by 1.25, mapped by a similarity), vectorised.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

BOX_PADDING = 1.25  # how much of its surroundings a crop shows, official value
HALF_BODY_PADDING = 1.5
MAX_COORDINATE = 1e7  # pixels: beyond every picture, where float32 still tells halves and a crop still has an inverse
PIXEL_MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB, of values in 0..1: what the official network expects
PIXEL_STD = (0.229, 0.224, 0.225)

# EXIF's orientations 1 to 8: is the stored picture transposed first, then mirrored left-right, and then top-bottom?
ORIENTATIONS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def turn_upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """The picture as it is meant to be seen.

    Args:
        image: (H, W, ...) as stored.
        orientation: EXIF's number, 1 (as stored) to 8.

    Returns:
        Contiguous (H, W, ...), or (W, H, ...) for orientations 5 to 8; the image itself for 1.
    """
    transposed, mirrored, flipped = ORIENTATIONS[orientation]
    image = image.swapaxes(0, 1) if transposed else image
    image = image[:, ::-1] if mirrored else image
    return np.ascontiguousarray(image[::-1] if flipped else image)


def turn_back(image: np.ndarray, orientation: int) -> np.ndarray:
    """The stored picture from the upright one: the inverse of `turn_upright`."""
    return turn_upright(image, turned_back(orientation))


def turned_back(orientation: int) -> int:
    """The EXIF number that undoes another one."""
    return {6: 8, 8: 6}.get(orientation, orientation)


def turn_boxes(boxes: np.ndarray, orientation: int, stored_size: tuple[int, int]) -> np.ndarray:
    """Boxes on the stored picture as boxes on the upright one.

    Args:
        boxes: (N, 4) x1, y1, x2, y2; edges, so that a box of the whole picture stays one.
        orientation: EXIF's number, 1 to 8.
        stored_size: width, height of the picture as stored.
    """
    transposed, mirrored, flipped = ORIENTATIONS[orientation]
    x1, y1, x2, y2 = np.asarray(boxes).reshape(-1, 4).T
    width, height = stored_size
    if transposed:
        x1, y1, x2, y2, width, height = y1, x1, y2, x2, height, width
    if mirrored:
        x1, x2 = width - x2, width - x1
    if flipped:
        y1, y2 = height - y2, height - y1
    return np.stack([x1, y1, x2, y2], axis=1)


class MeantPixels(NamedTuple):
    """Which pixels of a photo with an EXIF orientation the coordinates of an annotation refer to.

    Attributes:
        stored: those as stored, else those of the upright picture.
        doubt: why that cannot be known from the sizes; empty if it can.
    """

    stored: bool
    doubt: str = ""


def meant_pixels(stated: tuple[float, float] | None, stored: tuple[int, int], orientation: int) -> MeantPixels:
    """The one rule for training, testing, checking and given boxes.

    The width and height that an annotation file states for an image tell whether it was annotated as stored or as turned
    upright. Where they fit both, or neither, or are missing, the stored pixels are meant, as in COCO's own files.

    Args:
        stated: width, height in the annotation file.
        stored: width, height as stored.
        orientation: EXIF's number, 1 to 8.
    """
    upright = stored[::-1] if ORIENTATIONS[orientation][0] else stored
    if orientation == 1 or (stated == stored and stored != upright):
        return MeantPixels(stored=True)
    if stated == upright and stored != upright:
        return MeantPixels(stored=False)
    sizes = "no size is stated" if stated is None else f"{stated[0]:g}x{stated[1]:g} is stated"
    return MeantPixels(
        stored=True,
        doubt=f"EXIF orientation {orientation}, {sizes} and {stored[0]}x{stored[1]} stored, so it cannot be known whether "
        f"the picture was annotated as stored or upright: taken as stored; save the picture without the orientation",
    )


def clean_boxes(
    xywh: np.ndarray, image_size: tuple[float | np.ndarray, float | np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Clip ground-truth boxes to the image as the official reader does.

    Args:
        xywh: (N, 4) left, top, width, height in image pixels.
        image_size: width, height, of all or (N,) of each.

    Returns:
        Clipped (N, 4) float64 boxes, and (N,) bool: False where nothing of the box is inside the image.
    """
    x, y, w, h = np.asarray(xywh, dtype=np.float64).reshape(-1, 4).T
    width, height = image_size
    x1, y1 = np.maximum(x, 0), np.maximum(y, 0)
    x2 = np.minimum(width - 1, x1 + np.maximum(w - 1, 0))
    y2 = np.minimum(height - 1, y1 + np.maximum(h - 1, 0))
    return np.stack([x1, y1, x2 - x1, y2 - y1], axis=1), (x2 >= x1) & (y2 >= y1)


def fit_aspect(size: np.ndarray, aspect: float) -> np.ndarray:
    """Enlarge (..., 2) width, height in one direction so that width / height == aspect."""
    w, h = size[..., 0], size[..., 1]
    wide = w > aspect * h
    return np.stack([np.where(wide, w, h * aspect), np.where(wide, w / aspect, h)], axis=-1)


def boxes_to_crops(xywh: np.ndarray, aspect: float, padding: float = BOX_PADDING) -> tuple[np.ndarray, np.ndarray]:
    """The region of the image that the network sees for each box.

    Args:
        xywh: (N, 4) left, top, width, height in image pixels.
        aspect: width / height of the network's input, 0.75 for 192x256.
        padding: factor on the aspect-fitted box.

    Returns:
        Centres (N, 2) and sizes (N, 2) in image pixels, float32 (the official `scale` is size / 200).
    """
    box = np.asarray(xywh, dtype=np.float32).reshape(-1, 4)
    centers = box[:, :2] + box[:, 2:] * 0.5
    return centers, fit_aspect(box[:, 2:], aspect) * padding


def xyxy_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) corners to (N, 4) left, top, width, height."""
    boxes = np.asarray(boxes).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def xywh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) left, top, width, height to (N, 4) corners."""
    boxes = np.asarray(boxes).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def affine_matrices(
    centers: np.ndarray, sizes: np.ndarray, input_size: tuple[int, int], rotations: np.ndarray | float = 0.0
) -> np.ndarray:
    """Similarities from the image to the crop: p' = k R (p - centre) + (W / 2, H / 2), k = W / size_x.

    Args:
        centers: (N, 2) image pixels.
        sizes: (N, 2) image pixels; only the width counts, as in the official code.
        input_size: width W, height H of the crop.
        rotations: (N,) or scalar, degrees; positive turns the person counter-clockwise in the crop.

    Returns:
        (N, 2, 3) float64.
    """
    centers = np.asarray(centers).reshape(-1, 2)
    scale = input_size[0] / np.asarray(sizes, dtype=np.float64).reshape(-1, 2)[:, 0]
    angle = np.deg2rad(np.broadcast_to(rotations, scale.shape))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], axis=1)  # (N, 2, 2)
    shift = np.array(input_size) / 2 - np.einsum("nij,nj->ni", linear, centers)
    return np.concatenate([linear, shift[..., None]], axis=2)


def invert_affine(matrices: np.ndarray) -> np.ndarray:
    """Inverse of (N, 2, 3) affine maps: from the crop back to the image."""
    linear = np.linalg.inv(matrices[:, :, :2])
    shift = -np.einsum("nij,nj->ni", linear, matrices[:, :, 2])
    return np.concatenate([linear, shift[..., None]], axis=2)


def transform_points(points: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Apply (N, 2, 3) affine maps to (N, K, 2) points."""
    turned = np.einsum("nij,nkj->nki", matrices[:, :, :2], points)
    return np.asarray(turned + matrices[:, None, :, 2])


def crop(image: np.ndarray, matrix: np.ndarray, input_size: tuple[int, int], out: np.ndarray | None = None) -> np.ndarray:
    """Cut one person out: bilinear, black outside the image.

    Args:
        image: (H, W, 3) uint8, any colour order (the crop keeps it).
        matrix: (2, 3) from `affine_matrices`.
        input_size: width, height of the crop.
        out: (height, width, 3) uint8 to write into, e.g. a slot of a batch.
    """
    return cv2.warpAffine(image, matrix, input_size, dst=out, flags=cv2.INTER_LINEAR)


def flip_joints(
    keypoints: np.ndarray, visible: np.ndarray, width: int, flip_index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Joints of the mirrored image; those that are not visible become (0, 0), as in the official code.

    Args:
        keypoints: (K, 2) image pixels.
        visible: (K,) 0 or 1.
        width: of the image in pixels.
        flip_index: (K,) `Skeleton.flip_index`.
    """
    mirrored = np.stack([width - 1 - keypoints[:, 0], keypoints[:, 1]], axis=1)[flip_index]
    visible = visible[flip_index]
    return mirrored * (visible > 0)[:, None], visible


def half_body_crop(
    keypoints: np.ndarray, visible: np.ndarray, lower_body: tuple[int, ...], *, prefer_upper: bool, aspect: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Centre and size of the crop around the upper or the lower half of a person (HRNet's augmentation).

    The preferred half needs more than two visible joints, else the lower one is taken if it has that many, else the upper.

    Args:
        keypoints: (K, 2) image pixels.
        visible: (K,) 0 or 1.
        lower_body: `Skeleton.lower_body`.
        prefer_upper: which half was drawn.
        aspect: width / height of the network's input.

    Returns:
        Centre (2,) and size (2,), float32; None if the half has fewer than two joints, or all of them in one place.
    """
    is_lower = np.zeros(len(keypoints), dtype=bool)
    is_lower[list(lower_body)] = True
    upper, lower = keypoints[(visible > 0) & ~is_lower], keypoints[(visible > 0) & is_lower]
    if prefer_upper and len(upper) > 2:
        chosen = upper
    else:
        chosen = lower if len(lower) > 2 else upper
    if len(chosen) < 2:
        return None
    chosen = chosen.astype(np.float32)
    extent = chosen.max(axis=0) - chosen.min(axis=0)
    if extent.max() < 1:  # pixel: a crop of nothing, whose scale would be infinite
        return None
    return chosen.mean(axis=0), fit_aspect(extent, aspect) * HALF_BODY_PADDING


def mirror_crops(crops: np.ndarray) -> np.ndarray:
    """(..., H, W, 3) crops seen in a mirror: for the flip test and for augmentation."""
    return np.ascontiguousarray(crops[..., ::-1, :])
