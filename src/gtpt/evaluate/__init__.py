"""Measuring: OKS, COCO and COCO-WholeBody figures, PCK, calibration. NumPy only, COCO figures with `gtpt[eval]`."""

from gtpt.evaluate.calibration import Reliability, expected_calibration_error, fit_isotonic, judge, reliability
from gtpt.evaluate.coco import evaluate_coco
from gtpt.evaluate.collect import official_results
from gtpt.evaluate.oks import keypoint_similarity, oks, oks_nms, rescore
from gtpt.evaluate.pck import pck
from gtpt.evaluate.report import METRICS, Protocol, Report
from gtpt.evaluate.run import test

__all__ = [
    "METRICS",
    "Protocol",
    "Reliability",
    "Report",
    "evaluate_coco",
    "expected_calibration_error",
    "fit_isotonic",
    "judge",
    "keypoint_similarity",
    "official_results",
    "oks",
    "oks_nms",
    "pck",
    "reliability",
    "rescore",
    "test",
]
