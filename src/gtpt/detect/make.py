"""A detector from its name or file."""

from __future__ import annotations

from pathlib import Path

from gtpt.detect.detections import Detector, WholeImage
from gtpt.detect.given import load_boxes
from gtpt.detect.yolox import YoloxDetector

WHOLE_IMAGE = "whole-image"
DEFAULT_DETECTOR = "yolox-nano"


def make_detector(
    spec: str | Path = DEFAULT_DETECTOR,
    *,
    threshold: float | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> Detector:
    """A detector by name or file.

    Args:
        spec: a registered detector ("yolox-nano"), a YOLOX *.onnx, "whole-image", or a file of boxes (*.json, *.csv).
        threshold: people with a lower score are left out; None: 0.3 for networks, 0 for given boxes.
        device: of a network, "cpu", "cuda" or "coreml".
        threads: of a network on the CPU.

    Raises:
        FileNotFoundError, ConnectionError: a file that is not there or cannot be fetched; says what else can be done.
        ValueError: a file that is neither.
    """
    if str(spec) == WHOLE_IMAGE:
        return WholeImage()
    if Path(spec).suffix.lower() in (".json", ".csv"):
        return load_boxes(spec, threshold=threshold or 0.0)
    try:
        settings = {} if threshold is None else {"threshold": threshold}
        return YoloxDetector(spec, device=device, threads=threads, **settings)
    except (FileNotFoundError, ConnectionError) as error:
        raise type(error)(
            f"{error}\nWithout this detector: give a YOLOX file by its path as the detector, take the whole image as the "
            f"box of one person (the detector {WHOLE_IMAGE}), or give boxes of your own (COCO *.json, or *.csv)"
        ) from error
