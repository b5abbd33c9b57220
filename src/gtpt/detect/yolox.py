"""YOLOX in onnxruntime: people from any of its ONNX exports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from gtpt.core.errors import WeightsError
from gtpt.detect.detections import Detections, Detector
from gtpt.engines.onnx import Session

STRIDES = (8, 16, 32)
GREY = 114  # of the border that fills the network's input
PERSON = 0
MAX_OFFSET = 8  # cells between a confident cell and the centre of its box; trained networks stay below 3.5
MAX_SIDE = 4  # sides of the input that a box may have
STEPS = 16  # per pixel of the input, to which the sides of boxes are rounded
BATCH = 8  # images per call of a network that takes any number


class YoloxDetector(Detector):
    """People by a YOLOX network.

    Args:
        model: registered name ("yolox-nano", "yolox-s"), or path of a YOLOX ONNX file: float input (B, 3, H, W) of BGR
            values in 0..255; output (B, cells, 5 + classes), not decoded, the first class being people.
        threshold: people with a lower score are left out.
        nms: of two boxes that overlap by more than this IoU, the one with the lower score is left out.
        device: "cpu", "cuda" or "coreml".
        threads: of the CPU; None leaves the number to onnxruntime.

    Raises:
        FileNotFoundError, ConnectionError: the file is not here and cannot be fetched.
        ValueError: not a YOLOX network, or settings that cannot be.
    """

    def __init__(
        self,
        model: str | Path = "yolox-nano",
        *,
        threshold: float = 0.3,
        nms: float = 0.5,
        device: str = "cpu",
        threads: int | None = None,
    ):
        from gtpt.weights import resolve

        for name, value in (("threshold", threshold), ("nms", nms)):
            if not 0 <= value <= 1:
                raise WeightsError(f"{name} must be in [0, 1], got {value}")
        self.threshold, self.nms, self.model = threshold, nms, str(model)
        self._session = Session(resolve(model, format="onnx", task="detector"), device=device, threads=threads)
        self._batch, height, width = self._read_input()
        self.input_size = width, height
        self._cells, self._strides = grid(self.input_size)
        raw = self._run(np.full((self._batch or 1, 3, height, width), GREY, np.float32))  # refuse a foreign network now
        self._refuse_positions(raw[0, :, :2])

    def __repr__(self) -> str:
        width, height = self.input_size
        return f"YoloxDetector({self.model!r}, {width}x{height}, threshold {self.threshold}, nms {self.nms})"

    def _detect(self, images: Sequence[np.ndarray], names: Sequence[str] | None) -> list[Detections]:
        found: list[Detections] = []
        step = self._batch or BATCH
        for start in range(0, len(images), step):
            chunk = images[start : start + step]
            width, height = self.input_size
            blob = np.full((self._batch or len(chunk), 3, height, width), GREY, np.float32)
            ratios = [letterbox(picture, out) for picture, out in zip(chunk, blob, strict=False)]
            raw = self._run(blob)
            found += [self._people(*person) for person in zip(raw, ratios, chunk, strict=False)]
        return found

    def _people(self, raw: np.ndarray, ratio: float, picture: np.ndarray) -> Detections:
        """Of one image, from the network's (cells, 5 + classes)."""
        scores = raw[:, 4] * raw[:, 5 + PERSON]
        sure = np.flatnonzero(scores >= self.threshold)
        self._refuse_decoded(raw[sure, :4], self._strides[sure])
        exact, scores = decode(raw[sure, :4], self._cells[sure], self._strides[sure]) / ratio, scores[sure]
        boxes = rounded(exact, ratio)
        size = np.array(picture.shape[1::-1], np.float32)
        usable = ((boxes[:, 2:] > np.maximum(boxes[:, :2], 0)) & (boxes[:, :2] < size)).all(axis=1)
        exact, boxes, scores = exact[usable], boxes[usable], scores[usable]  # without those in the grey border
        keep = suppress(exact, scores, self.nms)
        return Detections(boxes[keep], scores[keep])

    def _refuse_positions(self, raw: np.ndarray) -> None:
        """Decoded boxes, in pixels or as shares of the picture, move along with their cells; offsets do not.

        Over all cells of a grey picture the correlation is above 0.99 for those and between -0.4 and 0.1 for these.
        """
        places = (self._cells + 0.5) * self._strides
        spread = raw.std(axis=0) * places.std(axis=0)
        together = ((raw - raw.mean(axis=0)) * (places - places.mean(axis=0))).mean(axis=0)
        if (together > 0.9 * spread).all() and (spread > 0).all():
            raise self._foreign("its boxes are no offsets from cells, as if they were decoded already")

    def _refuse_decoded(self, raw: np.ndarray, strides: np.ndarray) -> None:
        """A network with its decoding inside gives pixels where offsets in cells and logarithms belong.

        YOLOX is trained to find a person from cells at most a few away from its centre, and no person is much larger than
        the picture.
        """
        with np.errstate(over="ignore"):
            sides = np.exp(raw[:, 2:4]) * strides
        if (np.abs(raw[:, :2]) > MAX_OFFSET).any() or not (sides <= MAX_SIDE * max(self.input_size)).all():
            raise self._foreign("its boxes are no offsets from cells, as if they were decoded already")

    def _run(self, blob: np.ndarray) -> np.ndarray:
        raw: np.ndarray = self._session.run(None, {self._input: blob})[0]
        cells = len(self._cells)
        if raw.ndim != 3 or raw.shape[:2] != (len(blob), cells) or raw.shape[2] < 6:
            raise self._foreign(f"it gives {raw.shape} instead of ({len(blob)}, {cells}, 5 + classes)")
        rated = raw[:, :, 4:]
        if not (rated.min() >= 0 and rated.max() <= 1):
            raise self._foreign("its scores are not in [0, 1]")
        return raw

    def _read_input(self) -> tuple[int | None, int, int]:
        """Batch size (None: any), height and width."""
        inputs = self._session.live.get_inputs()
        self._input, shape = inputs[0].name, inputs[0].shape
        image = len(shape) == 4 and shape[1] == 3 and all(isinstance(n, int) and n % STRIDES[-1] == 0 for n in shape[2:])
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not image:
            takes = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise self._foreign(f"it takes {takes} instead of float images (B, 3, H, W) of a fixed size in steps of 32")
        return shape[0] if isinstance(shape[0], int) else None, shape[2], shape[3]

    def _foreign(self, reason: str) -> WeightsError:
        return WeightsError(f"{self.model} is no YOLOX network: {reason}; export it as YOLOX does, without its decoding")


def letterbox(picture: np.ndarray, out: np.ndarray) -> float:
    """Shrink or enlarge an image into the top left of the network's input.

    Args:
        picture: RGB uint8 (H, W, 3).
        out: float32 (3, height, width), grey; gets BGR.

    Returns:
        Pixels of the input per pixel of the image.
    """
    height, width = picture.shape[:2]
    ratio: float = min(out.shape[1] / height, out.shape[2] / width)
    size = max(int(width * ratio), 1), max(int(height * ratio), 1)
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    out[:, : size[1], : size[0]] = resized[..., ::-1].transpose(2, 0, 1)
    return ratio


def grid(input_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of every cell, (cells, 2), and the stride it has in the input, (cells, 1); float32."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: input_size[1] // stride, : input_size[0] // stride]
        cells.append(np.stack([columns, rows], axis=-1).reshape(-1, 2))
        strides.append(np.full((len(cells[-1]), 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def decode(raw: np.ndarray, cells: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """(N, 4) centre offset and log size to x1, y1, x2, y2 in pixels of the input; infinite where exp overflows."""
    centers = (raw[:, :2] + cells) * strides
    with np.errstate(over="ignore", invalid="ignore"):
        half = np.exp(raw[:, 2:4]) * strides / 2
        return np.concatenate([centers - half, centers + half], axis=1)


def rounded(boxes: np.ndarray, ratio: float) -> np.ndarray:
    """Boxes (N, 4) in pixels of the image, to sixteenths of a pixel of the input.

    Finer digits differ between processors and runtimes, and a box that is off by a ten-thousandth of a pixel moves some
    keypoints by a pixel or more: one grey level in the crop decides between two peaks of the same height.
    """
    return np.asarray(np.round(boxes * (STEPS * ratio)) / (STEPS * ratio))


def suppress(boxes: np.ndarray, scores: np.ndarray, max_iou: float) -> np.ndarray:
    """Non-maximum suppression.

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        scores: (N,).
        max_iou: a box that overlaps a better one by more is dropped.

    Returns:
        Indices of the boxes that stay, best first.
    """
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    order, keep = np.argsort(-scores, kind="stable"), []
    while len(order):
        best, order = order[0], order[1:]
        keep.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[order, :2]), np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        order = order[shared <= max_iou * (areas[best] + areas[order] - shared)]
    return np.array(keep, dtype=np.int64)
