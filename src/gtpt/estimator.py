"""Images and boxes in, poses out: `PoseEstimator`, batched over all people of all images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from gtpt.core import simcc
from gtpt.core.calibration import VISIBLE, Calibration
from gtpt.core.errors import InputError, SourceError
from gtpt.core.geometry import (
    MAX_COORDINATE,
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
from gtpt.detect.detections import (
    SCORE_ROUNDING,
    SHARES,
    Detections,
    Detector,
    WholeImage,
    as_detector,
    in_first_pixel,
    split_boxes,
)
from gtpt.detect.given import GivenBoxes
from gtpt.detect.make import DEFAULT_DETECTOR, WHOLE_IMAGE, make_detector
from gtpt.engines import Engine, open_engine
from gtpt.io.arrays import as_rgb, is_single
from gtpt.io.sources import open_source

DEFAULT_WEIGHTS = "gtpt-t-coco17"
# The least score of people that a detector finds. Up to here a higher one drops at least as many wrong poses
# as right ones: benchmarks/min_score.py prints the table, which new weights need anew.
MIN_SCORE = 0.25


class PoseEstimator:
    """Keypoints of the people in images, found by a detector or in boxes of your own.

        estimator = PoseEstimator(detector="yolox-nano") # bundled weights, onnxruntime, CPU
        poses = estimator(image)                         # RGB uint8 (H, W, 3) -> Poses
        poses = estimator(image, boxes)                  # in these boxes: (N, 4) x1, y1, x2, y2
        poses = estimator([image, other], [boxes, more]) # one batch over all people of all images -> list of Poses

    Args:
        weights: registered name or path (*.onnx, *.safetensors, an authors' *.pth).
        engine: "onnxruntime", "openvino", "torch"; None takes what reads the file.
        device: "cpu", "cuda", ...; a device that is not there is an error.
        threads: of the CPU; None leaves the choice to the engine.
        precision: "float32", or "bfloat16": faster, in OpenVINO on CPUs that have it; or "auto": the fastest that is
            installed and loses little, see docs/benchmarks.md.
        keep_rates: of engine="torch", four numbers or "fast", "balanced", "accurate", "entire"; see docs/keep_rates.md.
        batch_size: crops per call of the network; more people are split, fewer are not padded.
        flip_test: average with the mirrored crop: about twice the time for about one AP.
        detector: finds the people of images that come without boxes: a registered name, a YOLOX *.onnx, "whole-image", a
            `gtpt.detect.Detector` or a function that `gtpt.detect.as_detector` takes; None: boxes must be given.

    It can be copied, pickled (the copy opens the same weights again) and used after a fork; several threads may share it.

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
        keep_rates: Sequence[float] | str | None = None,
        batch_size: int = 32,
        flip_test: bool = False,
        detector: str | Path | Detector | Callable[[Sequence[np.ndarray]], Sequence[Any]] | None = None,
    ):
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        self._weights = Path(weights).absolute() if Path(weights).is_file() else weights
        self._options: dict[str, Any] = {
            "engine": engine,
            "device": device,
            "threads": threads,
            "precision": precision,
            "keep_rates": keep_rates,
        }
        self.engine = self._open()
        self.batch_size, self.flip_test = self.engine.batch or batch_size, flip_test
        self.calibration = self.engine.info.calibration or Calibration.default()
        if isinstance(detector, (str, Path)):
            detector = make_detector(detector, device=device, threads=threads)
        self.detector = None if detector is None else as_detector(detector)

    def _open(self) -> Engine:
        from gtpt.weights import resolve

        torch = self._options["engine"] == "torch"
        path = resolve(self._weights, format="safetensors" if torch else "onnx", task="pose")
        return open_engine(path, **self._options)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "engine"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.engine = self._open()

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
    def __call__(
        self, images: np.ndarray, boxes: Any = None, scores: ArrayLike | None = None, *, bgr: bool = False
    ) -> Poses: ...

    @overload
    def __call__(
        self,
        images: Sequence[np.ndarray],
        boxes: Sequence[Any] | None = None,
        scores: Sequence[ArrayLike | None] | None = None,
        *,
        bgr: bool = False,
    ) -> list[Poses]: ...

    def __call__(self, images: Any, boxes: Any = None, scores: Any = None, *, bgr: bool = False) -> Poses | list[Poses]:
        """Poses of one image, or of several at once.

        Args:
            images: RGB uint8 (H, W, 3), or a list of them. Grey, RGBA and 16-bit arrays and images of Pillow are
                converted, floats refused.
            boxes: of one image what `gtpt.detect.to_detections` takes, such as (N, 4) x1, y1, x2, y2 in pixels of the
                image, or "whole-image"; of several images a list of that. N = 0 is fine and gives an empty result. None
                leaves it to the detector, whose people are dropped where their box lies outside the image, where the
                pose of a better one is the same, or where their score is below `least_score`.
            scores: (N,) confidence of the boxes in [0, 1], or a list of them; 1 if not given, nor with the boxes.
            bgr: the colours come in OpenCV's order, as `cv2.imread` and `cv2.VideoCapture` give them.

        Returns:
            `Poses` in the order of the boxes, or a list of them.

        Raises:
            ValueError: an image or a box that cannot be used, named by its position; no boxes, and no detector either.
        """
        if getattr(images, "ndim", 3) > 3:
            raise InputError(f"one array is one image, got {tuple(images.shape)}: give several as a list, list(images)")
        if is_single(images):
            return self._estimate([images], [boxes], [scores], bgr)[0]
        boxes = [None] * len(images) if boxes is None else boxes
        scores = [None] * len(images) if scores is None else scores
        if not len(images) == len(boxes) == len(scores):
            raise InputError(
                f"{len(images)} images, but {len(boxes)} sets of boxes and {len(scores)} of scores: give one per image"
            )
        return self._estimate(images, boxes, scores, bgr)

    def _estimate(self, images: Sequence[Any], boxes: Sequence[Any], scores: Sequence[Any], bgr: bool) -> list[Poses]:
        pictures = [as_rgb(image, f"image {i}", bgr=bgr) for i, image in enumerate(images)]
        unknown = [i for i, b in enumerate(boxes) if b is None]
        found = self._detect([pictures[i] for i in unknown])
        people = dict(zip(unknown, found, strict=True))
        for i, given in enumerate(boxes):
            if given is not None:
                people[i] = check_boxes(given, scores[i], pictures[i], f"image {i}")
        ordered = [people[i] for i in range(len(pictures))]
        poses = self._poses_of(pictures, [d.boxes for d in ordered], [d.scores for d in ordered])
        for i in unknown:
            poses[i] = who_counts(poses[i], self, self.detector)
        return poses

    def _detect(self, pictures: list[np.ndarray]) -> list[Detections]:
        if not pictures:
            return []
        if self.detector is None:
            raise InputError(
                "there are no boxes, and no detector to find some: give boxes, (N, 4) x1, y1, x2, y2 or 'whole-image' for "
                "one person who fills the image, or make it with PoseEstimator(detector='yolox-nano')"
            )
        return [d[inside(d.boxes, p)] for d, p in zip(self.detector(pictures), pictures, strict=True)]

    def _poses_of(
        self, pictures: Sequence[np.ndarray], checked: Sequence[np.ndarray], weights: Sequence[np.ndarray]
    ) -> list[Poses]:
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
        matrices = self._matrices(check_boxes(boxes, None, image, "image").boxes)
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


def find(
    images: Any,
    *,
    weights: str | Path = DEFAULT_WEIGHTS,
    detector: str | Path | Detector | Callable[[Sequence[np.ndarray]], Sequence[Any]] = DEFAULT_DETECTOR,
    bgr: bool = False,
) -> Any:
    """The people in a photo and their keypoints, in one call.

        poses = gtpt.find("photo.jpg")
        poses.draw(gtpt.read_image("photo.jpg")).save("drawn.jpg")

    The networks stay open for the next call. `PoseEstimator` has more settings, `Pipeline` is for videos, and `predict`
    writes files.

    Args:
        images: RGB uint8 (H, W, 3) or an image of Pillow, the path or URL of a photo, or a list of these.
        weights, detector: see `PoseEstimator`.
        bgr: the colours of arrays come in OpenCV's order.

    Returns:
        `Poses`, of nobody if nobody is found; of a list, a list of them.

    Raises:
        GtptError, OSError: a photo, weights or a detector that cannot be used.
    """
    alone = isinstance(images, (str, Path)) or is_single(images)
    pictures = [
        read_photo(image) if isinstance(image, (str, Path)) else as_rgb(image, f"image {i}", bgr=bgr)
        for i, image in enumerate([images] if alone else images)
    ]
    poses = _opened(weights, detector)(pictures)
    return poses[0] if alone else poses


@lru_cache(maxsize=4)
def _opened(weights: str | Path, detector: Any) -> PoseEstimator:
    return PoseEstimator(weights, detector=detector)


def read_photo(source: str | Path) -> np.ndarray:
    """RGB uint8 (H, W, 3) of a photo's path or URL; SourceError for what has more pictures than one."""
    with open_source(source) as opened:
        if opened.kind != "image":
            raise SourceError(f"a {opened.kind} is no photo: use gtpt.predict, or gtpt.Pipeline")
        return next(opened).image


def check_boxes(boxes: Any, scores: Any, picture: np.ndarray, where: str) -> Detections:
    """People whose poses are wanted, from what a user gives; InputError for boxes that no pose can come from."""
    height, width = picture.shape[:2]
    if isinstance(boxes, str) and boxes == WHOLE_IMAGE:
        boxes = [[0, 0, width, height]]
    array, own = split_boxes(boxes, where)
    if array.size == 0:
        array = np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(f"{where}: boxes must be (N, 4) x1, y1, x2, y2, or (N, 5) with scores, got shape {array.shape}")
    x1, y1, x2, y2 = array.T
    for problem, bad in (
        ("has a value that is not finite", ~np.isfinite(array).all(axis=1)),
        ("is inverted or empty (x2 must exceed x1 and y2 exceed y1; is it x, y, width, height?)", ~((x2 > x1) & (y2 > y1))),
        ("reaches beyond every picture", (np.abs(array) > MAX_COORDINATE).any(axis=1)),
        (f"lies outside the {width}x{height} image", ~inside(array, picture) & ~in_first_pixel(array)),
        (SHARES, ~inside(array, picture)),
    ):
        if bad.any():
            i = int(bad.argmax())
            raise InputError(f"{where}: box {i} {array[i].tolist()} {problem}")
    return Detections(array, check_scores(own if scores is None else scores, len(array), where))


def check_scores(scores: Any, count: int, where: str) -> np.ndarray:
    """(N,) float32 in [0, 1], ones if None."""
    if scores is None:
        return np.ones(count, np.float32)
    try:
        array = np.asarray(scores, dtype=np.float32)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{where}: scores must be {count} numbers in [0, 1], got {scores!r:.60} ({error})") from error
    if array.shape != (count,) or not np.all((array >= -SCORE_ROUNDING) & (array <= 1 + SCORE_ROUNDING)):
        raise InputError(f"{where}: scores must be {count} numbers in [0, 1], got {scores!r}")
    return np.clip(array, 0, 1)


def inside(boxes: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """(N,) bool: the boxes (N, 4) of which at least a part lies in the image, and more than in its first pixel."""
    size = np.array(picture.shape[1::-1])
    within = ((boxes[:, 2:] > 0) & (boxes[:, :2] < size)).all(axis=1)
    return np.asarray(within & ~(in_first_pixel(boxes) & (size.max() > 1)))


def who_counts(poses: Poses, estimator: PoseEstimator, detector: Detector | None) -> Poses:
    """Of the people that a detector found those who were not found twice, with at least `least_score`."""
    return poses[distinct(poses) & (poses.scores >= least_score(estimator, detector))]


def least_score(estimator: PoseEstimator, detector: Detector | None) -> float:
    """`MIN_SCORE`; 0 where boxes are given, and for weights without a calibration, whose scores are no probabilities."""
    given = isinstance(detector, (GivenBoxes, WholeImage))
    return 0.0 if given or estimator.engine.info.calibration is None else MIN_SCORE


SAME = 0.7  # similarity from which two poses are of one person: no lower, or two people become one; benchmarks/min_score.py
WITHIN = 0.8  # share of the smaller box that lies in the larger one, from which they are looked at


def distinct(poses: Poses) -> np.ndarray:
    """(N,) bool: without those who were found twice, such as half a body in a box of its own inside the whole one.

    Overlap alone does not tell them from a child before its parent: the keypoints of both poses have to be in the same
    places. Of two boxes the better pose stays.
    """
    keep = np.ones(len(poses), bool)
    order = np.argsort(-poses.keypoint_scores.sum(axis=1), kind="stable")
    alike = nested_similarity(poses)
    for rank, i in enumerate(order):
        if keep[i]:
            keep[order[rank + 1 :]] &= alike[i, order[rank + 1 :]] < SAME
    return keep


def nested_similarity(poses: Poses) -> np.ndarray:
    """(N, N) mean similarity of the keypoints that both poses see, in [0, 1]; 0 where no box lies within the other.

    Four keypoints are the least that says something.
    """
    areas = np.prod(poses.boxes[:, 2:] - poses.boxes[:, :2], axis=1)
    low = np.maximum(poses.boxes[:, None, :2], poses.boxes[None, :, :2])
    high = np.minimum(poses.boxes[:, None, 2:], poses.boxes[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    nested = shared >= WITHIN * np.minimum(areas[:, None], areas)
    seen = poses.keypoint_scores >= VISIBLE
    alike = np.zeros(nested.shape)
    for i, j in np.argwhere(np.triu(nested, 1)):
        both = seen[i] & seen[j]
        if both.sum() >= 4:
            squared = ((poses.keypoints[i, both] - poses.keypoints[j, both]) ** 2).sum(axis=1)
            reach = 2 * max(areas[i], areas[j]) * (2 * poses.skeleton.sigmas[both]) ** 2
            alike[i, j] = alike[j, i] = np.exp(-squared / reach).mean()
    return alike
