"""MediaPipe's BlazePose as one function of a picture and a box: for labels of feet and for comparisons.

The networks `pose_landmark_{lite,full,heavy}.tflite` (Apache-2.0) lie loose in the npm package @mediapipe/pose
0.5.1675469404 (`npm pack @mediapipe/pose`), and run in `ai-edge-litert` (PyPI).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gtpt.core.errors import InputError
from gtpt.core.geometry import affine_matrices, crop, invert_affine, transform_points

PADDING = 1.25  # side of the square crop over the longer side of the person's box
LEFT_ANKLE, RIGHT_ANKLE, LEFT_HEEL, RIGHT_HEEL, LEFT_TOE, RIGHT_TOE = range(27, 33)
# COCO's 17 keypoints in its order
COCO17 = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, LEFT_ANKLE, RIGHT_ANKLE)

POINTS = 33  # the other six of the output tell MediaPipe where to crop the next frame
INPUT, GRID = 256, 64  # pixels of the input's and cells of the heat maps' sides
WINDOW, LEAST_HEAT = 7, 0.5  # MediaPipe's refinement: cells, and the least of their largest value


class Pose(NamedTuple):
    """(33, 2) image pixels, and in 0..1 (33,) visibility and (33,) the largest value of each heat map."""

    points: np.ndarray
    visibility: np.ndarray
    heat: np.ndarray


class BlazePose:
    """One of the three networks.

    Args:
        file: pose_landmark_*.tflite.
        threads: of the CPU.

    Raises:
        InputError: no such file, another network, or ai-edge-litert is missing; says where to get it.
    """

    def __init__(self, file: Path, threads: int = 1):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise InputError("BlazePose runs in ai-edge-litert: pip install ai-edge-litert") from error
        if not file.is_file():
            raise InputError(
                f"no file {file}: `npm pack @mediapipe/pose` holds pose_landmark_lite, _full and _heavy.tflite"
            )
        self._network = Interpreter(str(file), num_threads=threads)
        self._network.allocate_tensors()
        outputs = {tuple(output["shape"]): output["index"] for output in self._network.get_output_details()}
        try:
            self._outputs = outputs[1, 195], outputs[1, GRID, GRID, 39]
        except KeyError:
            raise InputError(f"{file} is no pose_landmark network of MediaPipe: its outputs are {list(outputs)}") from None

    def __call__(self, image: np.ndarray, box: np.ndarray) -> Pose:
        """The pose of one person.

        Args:
            image: RGB uint8 (H, W, 3).
            box: left, top, width, height in image pixels.
        """
        pixels, back = square(image, box, INPUT)
        self._network.set_tensor(self._network.get_input_details()[0]["index"], pixels[None].astype(np.float32) / 255)
        self._network.invoke()
        landmarks, heat = (self._network.get_tensor(index)[0] for index in self._outputs)
        landmarks, heat = landmarks.reshape(-1, 5)[:POINTS], sigmoid(heat[..., :POINTS])  # x, y, z, visibility, presence
        points = transform_points(refined(landmarks[:, :2], heat)[None], back)[0]
        return Pose(points, sigmoid(landmarks[:, 3]), heat.max(axis=(0, 1)))


def square(image: np.ndarray, box: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The upright square round a person, black outside the image, and the (1, 2, 3) map from its pixels to the image's.

    Args:
        image: RGB uint8 (H, W, 3).
        box: left, top, width, height in image pixels.
        side: pixels of the square.
    """
    left, top, width, height = box
    seen = PADDING * max(width, height)
    matrix = affine_matrices(np.array([left + width / 2, top + height / 2]), np.array([seen, seen]), (side, side))
    return crop(image, matrix[0], (side, side)), invert_affine(matrix)


def refined(points: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Points moved to the mean of the heat around them, as MediaPipe does; those without heat stay.

    Args:
        points: (K, 2) pixels of the input.
        heat: (64, 64, K) in 0..1.
    """
    scale, reach = INPUT / GRID, WINDOW // 2
    found = points.astype(np.float64)
    for k, (column, row) in enumerate((points / scale).astype(int)):
        if not (0 <= column < GRID and 0 <= row < GRID):
            continue
        x, y = max(column - reach, 0), max(row - reach, 0)
        window = heat[y : row + reach + 1, x : column + reach + 1, k]
        if window.max() >= LEAST_HEAT:
            rows, columns = np.indices(window.shape)
            found[k] = scale * np.array([x + np.average(columns, weights=window), y + np.average(rows, weights=window)])
    return found


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -50, 50)))
