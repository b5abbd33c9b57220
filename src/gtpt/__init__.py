"""GTPT: efficient body and whole-body human pose estimation."""

from gtpt.poses import Poses
from gtpt.skeleton import Skeleton, load_skeleton

__version__ = "0.1.0"
__all__ = ["Poses", "Skeleton", "load_skeleton", "__version__"]
