"""GTPT: efficient body and whole-body human pose estimation.

Everything is loaded on first use, modules too: importing this package takes no time, and `import gtpt` is enough for
`gtpt.model.load`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtpt import (
        batch,
        benchmark,
        core,
        data,
        detect,
        engines,
        evaluate,
        export,
        io,
        model,
        tracking,
        train,
        viz,
        web,
        weights,
    )
    from gtpt.core.errors import GtptError
    from gtpt.core.poses import Poses
    from gtpt.core.skeleton import Skeleton, load_skeleton
    from gtpt.estimator import PoseEstimator, find
    from gtpt.io.formats import to_coco, to_csv, to_openpose, to_pandas, to_supervision
    from gtpt.io.images import read_image
    from gtpt.io.sources import open_source
    from gtpt.pipeline import Pipeline
    from gtpt.prediction.merge import merge
    from gtpt.prediction.runner import predict
    from gtpt.tracking import Smoother, Tracker
    from gtpt.viz.poses import draw_poses

__version__ = "0.1.0"

_HOME = {  # of what comes on first use
    "GtptError": "gtpt.core.errors",
    "Pipeline": "gtpt.pipeline",
    "PoseEstimator": "gtpt.estimator",
    "Poses": "gtpt.core.poses",
    "Skeleton": "gtpt.core.skeleton",
    "Smoother": "gtpt.tracking",
    "Tracker": "gtpt.tracking",
    "draw_poses": "gtpt.viz.poses",
    "find": "gtpt.estimator",
    "load_skeleton": "gtpt.core.skeleton",
    "merge": "gtpt.prediction.merge",
    "open_source": "gtpt.io.sources",
    "predict": "gtpt.prediction.runner",
    "read_image": "gtpt.io.images",
    **dict.fromkeys(("to_coco", "to_csv", "to_openpose", "to_pandas", "to_supervision"), "gtpt.io.formats"),
}
_MODULES = frozenset(
    "batch benchmark core data detect engines evaluate export io model tracking train viz web weights".split()
)

__all__ = [
    "GtptError",
    "Pipeline",
    "PoseEstimator",
    "Poses",
    "Skeleton",
    "Smoother",
    "Tracker",
    "batch",
    "benchmark",
    "core",
    "data",
    "detect",
    "draw_poses",
    "engines",
    "evaluate",
    "export",
    "find",
    "io",
    "load_skeleton",
    "merge",
    "model",
    "open_source",
    "predict",
    "read_image",
    "to_coco",
    "to_csv",
    "to_openpose",
    "to_pandas",
    "to_supervision",
    "tracking",
    "train",
    "viz",
    "web",
    "weights",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"gtpt.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'gtpt' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
