"""Images and boxes in, poses out: `PoseEstimator`, batched over all people of all images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from gtpt.core import simcc
from gtpt.core.calibration import Calibration
from gtpt.core.errors import InputError
from gtpt.core.geometry import (
    affine_matrices,
    boxes_to_crops,
    crop,
    invert_affine,
    mirror_crops,
    transform_points,
    xyxy_to_xywh,
)
from gtpt.core.poses import NO_ID, Poses
from gtpt.core.skeleton import Skeleton
from gtpt.detect.detections import MAX_COORDINATE, SCORE_ROUNDING
from gtpt.engines import Engine, open_engine
from gtpt.io.images import as_rgb

DEFAULT_WEIGHTS = "gtpt-t-coco17"


class PoseEstimator:
    """Keypoints of people whose boxes are known.

        estimator = PoseEstimator()                      # bundled weights, onnxruntime, CPU
        poses = estimator(image, boxes)                  # RGB uint8 (H, W, 3) and (N, 4) x1, y1, x2, y2 -> Poses
        poses = estimator([image, other], [boxes, more]) # one batch over all people of all images -> list of Poses

    Args:
        weights: registered name or path (*.onnx, *.safetensors, an authors' *.pth).
        engine: "onnxruntime", "openvino", "torch"; None takes what reads the file.
        device: "cpu", "cuda", ...; a device that is not there is an error.
        threads: of the CPU; None leaves the choice to the engine.
        precision: "float32", or "bfloat16": faster, in OpenVINO on CPUs that have it; see docs/benchmarks.md.
        batch_size: crops per call of the network; more people are split, fewer are not padded.
        flip_test: average with the mirrored crop: about twice the time for about one AP.

    Raises:
        FileNotFoundError, ValueError, ImportError: weights or an engine that cannot be used.
    """

    def __init__(
        self,
        weights: str | Path = DEFAULT_WEIGHTS,
        *,
        engine: str | None = None,
        device: str = "cpu",
        threads: int | None = None,
        precision: str = "float32",
        batch_size: int = 32,
        flip_test: bool = False,
    ):
        from gtpt.weights import resolve

        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        path = resolve(weights, format="safetensors" if engine == "torch" else "onnx", task="pose")
        self.engine: Engine = open_engine(path, engine, device=device, threads=threads, precision=precision)
        self.batch_size, self.flip_test = self.engine.batch or batch_size, flip_test
        self.calibration = self.engine.info.calibration or Calibration.default()

    @property
    def skeleton(self) -> Skeleton:
        """Names and order of the keypoints."""
        return self.engine.info.skeleton

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the crops that the network sees."""
        return self.engine.info.config.input_size

    def __repr__(self) -> str:
        (width, height), name = self.input_size, self.engine.info.config.name
        return f"PoseEstimator({name}, {self.skeleton.name}, {width}x{height}, {type(self.engine).__name__})"

    @overload
    def __call__(self, images: np.ndarray, boxes: ArrayLike | None, scores: ArrayLike | None = None) -> Poses: ...

    @overload
    def __call__(
        self,
        images: Sequence[np.ndarray],
        boxes: Sequence[ArrayLike | None] | None,
        scores: Sequence[ArrayLike | None] | None = None,
    ) -> list[Poses]: ...

    def __call__(self, images: Any, boxes: Any, scores: Any = None) -> Poses | list[Poses]:
        """Poses of one image, or of several at once.

        Args:
            images: RGB uint8 (H, W, 3), or a list of them. Grey, RGBA and 16-bit arrays are converted, floats refused.
            boxes: (N, 4) x1, y1, x2, y2 in pixels of the image (None: the whole image), or a list of them. N = 0 is fine
                and gives an empty result.
            scores: (N,) confidence of the boxes in [0, 1], or a list of them; 1 if not given.

        Returns:
            `Poses` in the order of the boxes, or a list of them.

        Raises:
            ValueError: an image or a box that cannot be used, named by its position.
        """
        if isinstance(images, (str, Path)):
            raise InputError(f"images are arrays, got the path {str(images)!r}: read it with gtpt.read_image first")
        if isinstance(images, np.ndarray):
            if images.ndim == 4:
                raise InputError(f"one array is one image, got {images.shape}: give several as a list, list(images)")
            return self._estimate([images], [boxes], [scores])[0]
        boxes = [None] * len(images) if boxes is None else boxes
        scores = [None] * len(images) if scores is None else scores
        if not len(images) == len(boxes) == len(scores):
            raise InputError(
                f"{len(images)} images, but {len(boxes)} sets of boxes and {len(scores)} of scores: give one per image"
            )
        return self._estimate(images, boxes, scores)

    def _estimate(self, images: Sequence[Any], boxes: Sequence[Any], scores: Sequence[Any]) -> list[Poses]:
        pictures = [as_rgb(image, f"image {i}") for i, image in enumerate(images)]
        checked = [check_boxes(b, p, f"image {i}") for i, (b, p) in enumerate(zip(boxes, pictures, strict=True))]
        weights = [check_scores(s, len(b), f"image {i}") for i, (s, b) in enumerate(zip(scores, checked, strict=True))]
        owner = np.repeat(np.arange(len(pictures)), [len(b) for b in checked])
        matrices = self._matrices(np.concatenate([*checked, np.zeros((0, 4), np.float32)]))
        count, joints = len(matrices), len(self.skeleton)
        points, raw = np.zeros((count, joints, 2), np.float32), np.zeros((count, joints), np.float32)
        for batch in self._batches(count):
            points[batch], raw[batch] = self._run([pictures[i] for i in owner[batch]], matrices[batch])
        keypoints = transform_points(points, invert_affine(matrices))
        ends = np.cumsum([0, *(len(b) for b in checked)])
        mine = [slice(start, end) for start, end in pairwise(ends)]
        parts = zip(pictures, checked, weights, mine, strict=True)
        return [self._poses(picture, b, w, keypoints[at], raw[at]) for picture, b, w, at in parts]

    def crops(self, image: np.ndarray, boxes: np.ndarray, *, enlarge: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """What the network sees of each box.

        Args:
            image: RGB uint8 (H, W, 3), or what `__call__` converts.
            boxes: (N, 4) x1, y1, x2, y2 in pixels of the image.
            enlarge: the same views with so many times the pixels, to look at.

        Returns:
            RGB uint8 (N, H, W, 3), and the (N, 2, 3) maps from the image to the crops.
        """
        image = as_rgb(image, "image")
        matrices = self._matrices(check_boxes(boxes, image, "image"))
        matrices = matrices * enlarge
        matrices[..., 2] += (enlarge - 1) / 2  # the centre of the first pixel moves
        return self._cut([image] * len(matrices), matrices, enlarge), matrices

    def _matrices(self, boxes: np.ndarray) -> np.ndarray:
        centers, sizes = boxes_to_crops(xyxy_to_xywh(boxes), self.input_size[0] / self.input_size[1])
        return affine_matrices(centers, sizes, self.input_size)

    def _cut(self, pictures: Sequence[np.ndarray], matrices: np.ndarray, enlarge: int = 1) -> np.ndarray:
        """One uint8 batch of crops."""
        width, height = (side * enlarge for side in self.input_size)
        crops = np.zeros((len(matrices), height, width, 3), np.uint8)
        for picture, matrix, out in zip(pictures, matrices, crops, strict=True):
            crop(picture, matrix, (width, height), out)
        return crops

    def _batches(self, count: int) -> Iterator[slice]:
        return (slice(start, min(start + self.batch_size, count)) for start in range(0, count, self.batch_size))

    def _run(self, pictures: Sequence[np.ndarray], matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Crop pixels (B, K, 2) and raw scores (B, K) of a batch of people."""
        crops = self._cut(pictures, matrices)
        logits = self.engine(crops)
        split = self.engine.info.config.simcc_split
        if self.flip_test:
            logits = simcc.fuse_flip(logits, self.engine(mirror_crops(crops)), self.skeleton.flip_index, split)
        return simcc.decode(*logits, split)

    def _poses(
        self, picture: np.ndarray, boxes: np.ndarray, weights: np.ndarray, keypoints: np.ndarray, raw: np.ndarray
    ) -> Poses:
        calibrated = self.calibration(raw)
        return Poses(
            boxes=boxes,
            scores=weights * calibrated.mean(axis=1),
            keypoints=keypoints,
            keypoint_scores=calibrated,
            raw_scores=raw,
            ids=np.full(len(boxes), NO_ID),
            image_size=(picture.shape[1], picture.shape[0]),
            skeleton=self.skeleton,
        )


def check_boxes(boxes: Any, picture: np.ndarray, where: str) -> np.ndarray:
    """(N, 4) float32 x1, y1, x2, y2; None means the whole image. ValueError for boxes that no pose can come from."""
    height, width = picture.shape[:2]
    if boxes is None:
        return np.array([[0, 0, width, height]], np.float32)
    array = np.asarray(boxes, dtype=np.float32)
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(f"{where}: boxes must be (N, 4) x1, y1, x2, y2, got shape {array.shape}")
    x1, y1, x2, y2 = array.T
    for problem, bad in (
        ("has a value that is not finite", ~np.isfinite(array).all(axis=1)),
        ("is inverted or empty (x2 must exceed x1 and y2 exceed y1; is it x, y, width, height?)", ~((x2 > x1) & (y2 > y1))),
        ("reaches beyond every picture", (np.abs(array) > MAX_COORDINATE).any(axis=1)),
        (f"lies outside the {width}x{height} image", (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)),
    ):
        if bad.any():
            i = int(bad.argmax())
            raise InputError(f"{where}: box {i} {array[i].tolist()} {problem}")
    return array


def check_scores(scores: Any, count: int, where: str) -> np.ndarray:
    """(N,) float32 in [0, 1], ones if None."""
    if scores is None:
        return np.ones(count, np.float32)
    array = np.asarray(scores, dtype=np.float32)
    if array.shape != (count,) or not np.all((array >= -SCORE_ROUNDING) & (array <= 1 + SCORE_ROUNDING)):
        raise InputError(f"{where}: scores must be {count} numbers in [0, 1], got {scores!r}")
    return np.clip(array, 0, 1)
