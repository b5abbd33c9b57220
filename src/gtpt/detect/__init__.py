"""From images to the boxes of people: a network, the whole image, or boxes of your own."""

from gtpt.detect.detections import Detections, Detector, WholeImage, as_detector, to_detections
from gtpt.detect.given import GivenBoxes, load_boxes
from gtpt.detect.make import DEFAULT_DETECTOR, WHOLE_IMAGE, make_detector
from gtpt.detect.yolox import YoloxDetector

__all__ = [
    "DEFAULT_DETECTOR",
    "WHOLE_IMAGE",
    "Detections",
    "Detector",
    "GivenBoxes",
    "WholeImage",
    "YoloxDetector",
    "as_detector",
    "load_boxes",
    "make_detector",
    "to_detections",
]
