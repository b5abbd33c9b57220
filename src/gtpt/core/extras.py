"""Optional dependencies: one helpful error instead of a bare ImportError from the depth."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from gtpt.core.errors import MissingExtraError


def require(module: str, extra: str) -> Any:
    """Import a module that only an extra installs.

    Raises:
        MissingExtraError: says which `pip install "gtpt[extra]"` brings the module.
    """
    try:
        return import_module(module)
    except ImportError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise  # the module is there but broken: show why
        raise MissingExtraError(f'this needs {module.split(".")[0]}: pip install "gtpt[{extra}]"', name=module) from error
