"""GTPT: efficient body and whole-body human pose estimation.

What is loaded on first use may need more than numpy; importing this package does not. Its modules come on first use too:
`import gtpt` is enough for `gtpt.model.load`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gtpt.poses import Poses
from gtpt.skeleton import Skeleton, load_skeleton

if TYPE_CHECKING:
    from gtpt.draw import draw_poses
    from gtpt.estimator import PoseEstimator
    from gtpt.images import read_image
    from gtpt.job import predict
    from gtpt.pipeline import Pipeline
    from gtpt.smooth import Smoother
    from gtpt.track import Tracker

__version__ = "0.1.0"
__all__ = [
    "Pipeline",
    "PoseEstimator",
    "Poses",
    "Skeleton",
    "Smoother",
    "Tracker",
    "draw_poses",
    "load_skeleton",
    "predict",
    "read_image",
]
_HOME = {
    "Pipeline": "pipeline",
    "PoseEstimator": "estimator",
    "Smoother": "smooth",
    "Tracker": "track",
    "draw_poses": "draw",
    "predict": "job",
    "read_image": "images",
}


_MODULES = {"data", "detect", "evaluate", "explain", "export", "measure", "model", "sources", "train", "weights", "writers"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
