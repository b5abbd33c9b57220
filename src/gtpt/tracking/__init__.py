"""People over time: who is who, and keypoints that are calm."""

from gtpt.tracking.smoother import Smoother
from gtpt.tracking.tracker import Tracker

__all__ = ["Smoother", "Tracker"]
