"""The network: tensors only. `build`, `load` and `load_official` make one, `save` writes it.

Loaded on first use, since all of it but the configuration needs PyTorch, and inference does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtpt.model.averaging import average
    from gtpt.model.checkpoint import build, load, save
    from gtpt.model.config import GTPTConfig, make_config
    from gtpt.model.network import GTPT, Explained, normalize
    from gtpt.model.official import convert, load_official, to_official_state

_HOME = {
    "GTPT": "network",
    "Explained": "network",
    "GTPTConfig": "config",
    "average": "averaging",
    "build": "checkpoint",
    "convert": "official",
    "load": "checkpoint",
    "load_official": "official",
    "make_config": "config",
    "normalize": "network",
    "save": "checkpoint",
    "to_official_state": "official",
}
__all__ = [
    "GTPT",
    "Explained",
    "GTPTConfig",
    "average",
    "build",
    "convert",
    "load",
    "load_official",
    "make_config",
    "normalize",
    "save",
    "to_official_state",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
