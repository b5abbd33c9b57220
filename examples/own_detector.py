"""Any function is a detector: it takes a list of RGB pictures and gives the boxes of the people in each.

    python examples/own_detector.py film.mp4 --out out/own

This one knows nothing of people: whatever moves before a camera that stands still is taken for one.
"""

import argparse

import cv2
import numpy as np

import gtpt

LEAST = 0.02  # of the picture, that a moving thing covers


class Moving:
    """Boxes around what differs from the mean of the frames so far."""

    def __init__(self) -> None:
        self.mean: np.ndarray | None = None

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """(N, 4) x1, y1, x2, y2 in pixels, or (N, 5) with a score in [0, 1], for each image."""
        return [self.boxes(cv2.GaussianBlur(image, (0, 0), 3).astype(np.float32)) for image in images]

    def boxes(self, frame: np.ndarray) -> np.ndarray:
        if self.mean is None:
            self.mean = frame
        moved = (np.abs(frame - self.mean).max(axis=2) > 20).astype(np.uint8)
        self.mean = self.mean + 0.02 * (frame - self.mean)
        moved = cv2.morphologyEx(moved, cv2.MORPH_CLOSE, np.ones((25, 25), np.uint8))
        _, _, parts, _ = cv2.connectedComponentsWithStats(moved)
        parts = parts[1:]  # without the background
        x, y, width, height, _ = parts[parts[:, 4] > LEAST * moved.size].T
        return np.stack([x, y, x + width, y + height], axis=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film")
    parser.add_argument("--out", default="out/own")
    args = parser.parse_args()
    summary = gtpt.predict(args.film, args.out, detector=Moving(), quiet=True)
    for source in summary.sources:
        print(f"{source.people} poses in {source.frames} frames; look at {source.files}")
