"""What weights there are: a YAML file, so that a new model or mirror is data and not code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gtpt.core.errors import InputError, WeightsError
from gtpt.core.text import read_yaml

REGISTRY = Path(__file__).parent / "registry.yaml"
BUNDLED = Path(__file__).parent / "files"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WeightsFile(_Strict):
    """One file of a model.

    Attributes:
        name: file name, as bundled with the package in `weights/files`.
        sha256: 64 lower-case hexadecimal digits.
        bytes: length of the file.
        sources: where else it is, tried in this order: paths (relative to the registry file), https://... (or http:// of
            a server of your own; the sha256 holds for both), or hf://owner/repository/file on the Hugging Face hub.
    """

    name: str = Field(pattern=r"^[\w.+-]+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)
    sources: tuple[str, ...] = ()

    @field_validator("sources")
    @classmethod
    def _known_kind(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        for source in sources:
            kind, separator, rest = source.partition("://")
            if separator and (kind not in ("https", "http", "hf") or (kind == "hf" and rest.count("/") < 2)):
                raise WeightsError(f"{source!r}: use a path, https://... or hf://owner/repository/file")
        return sources


class Weights(_Strict):
    """A model and its files, the same network in each format.

    Attributes:
        name: what users call it.
        task: what it is for.
        skeleton: of a pose model, e.g. "coco17".
        size: of its family, e.g. "T" or "nano".
        licence: SPDX expression.
        card: Markdown file that says what it was trained on and how good it is, beside the registry.
        files: format ("onnx", "safetensors") -> file; the first is the default.
        folder: of the registry file.
    """

    name: str
    task: Literal["pose", "detector"]
    skeleton: str | None = None
    size: str
    licence: str
    card: str
    files: Mapping[str, WeightsFile] = Field(min_length=1)
    folder: Path

    def file(self, format: str | None = None) -> WeightsFile:  # noqa: A002
        """The file of a format, None for the first; ValueError if there is none."""
        key = format or next(iter(self.files))
        if key not in self.files:
            raise WeightsError(f"{self.name} has no {format} file: choose one of {list(self.files)}")
        return self.files[key]


def load_registry(path: str | Path | None = None) -> dict[str, Weights]:
    """Entries by name.

    Args:
        path: a registry file of your own, which has the form of `gtpt/weights/registry.yaml`; None for that one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a registry; names the entry, the key and what is wrong.
    """
    path = Path(path or REGISTRY)
    if not path.is_file():
        raise FileNotFoundError(f"no registry of weights at {path}")
    try:
        entries = read_yaml(path) or {}
        return {name: Weights(name=name, folder=path.parent, **entry) for name, entry in entries.items()}
    except (InputError, ValidationError, AttributeError, TypeError) as error:
        raise WeightsError(f"{path} is no registry of weights: {error}") from error


def model_card(name: str, *, registry: str | Path | None = None) -> str:
    """Markdown text about a model: data, licence, figures, limits. ValueError for an unknown name."""
    entries = load_registry(registry)
    if name not in entries:
        raise WeightsError(f"no weights called {name!r}: registered are {sorted(entries)}")
    return (entries[name].folder / entries[name].card).read_text(encoding="utf-8")
