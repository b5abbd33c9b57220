"""GTPT: efficient body and whole-body human pose estimation.

What is loaded on first use may need more than numpy; importing this package does not. Its modules come on first use too:
`import gtpt` is enough for `gtpt.model.load`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gtpt.core.errors import GtptError
from gtpt.core.poses import Poses
from gtpt.core.skeleton import Skeleton, load_skeleton

if TYPE_CHECKING:
    from gtpt.estimator import PoseEstimator
    from gtpt.io.formats import to_coco, to_csv, to_openpose, to_pandas, to_supervision
    from gtpt.io.images import read_image
    from gtpt.io.sources import open_source
    from gtpt.pipeline import Pipeline
    from gtpt.prediction.runner import predict
    from gtpt.tracking import Smoother, Tracker
    from gtpt.viz.poses import draw_poses

__version__ = "0.1.0"
__all__ = [
    "GtptError",
    "Pipeline",
    "PoseEstimator",
    "Poses",
    "Skeleton",
    "Smoother",
    "Tracker",
    "draw_poses",
    "load_skeleton",
    "open_source",
    "predict",
    "read_image",
    "to_coco",
    "to_csv",
    "to_openpose",
    "to_pandas",
    "to_supervision",
]
_HOME = {
    "Pipeline": "pipeline",
    "PoseEstimator": "estimator",
    "Smoother": "tracking",
    "Tracker": "tracking",
    "draw_poses": "viz.poses",
    "open_source": "io.sources",
    "predict": "prediction.runner",
    "read_image": "io.images",
    **dict.fromkeys(("to_coco", "to_csv", "to_openpose", "to_pandas", "to_supervision"), "io.formats"),
}


_MODULES = {
    "benchmark",
    "data",
    "detect",
    "engines",
    "evaluate",
    "export",
    "io",
    "model",
    "tracking",
    "train",
    "viz",
    "weights",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
