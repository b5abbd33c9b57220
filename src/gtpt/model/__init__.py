"""The network: tensors only. `build`, `load` and `load_official` make one, `save` writes it."""

from gtpt.model.checkpoint import build, load, save
from gtpt.model.config import GTPTConfig, make_config
from gtpt.model.network import GTPT, Explained, normalize
from gtpt.model.official import load_official, to_official_state

__all__ = [
    "GTPT",
    "Explained",
    "GTPTConfig",
    "build",
    "load",
    "load_official",
    "make_config",
    "normalize",
    "save",
    "to_official_state",
]
