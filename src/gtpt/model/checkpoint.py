"""Our checkpoints: safetensors, with the configuration and the skeleton in the header. Nothing in them can run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gtpt.core.errors import WeightsError
from gtpt.core.skeleton import Skeleton, load_skeleton
from gtpt.model.config import decode_header, make_config, parse_header
from gtpt.model.network import GTPT

HEADER, DIGEST = "gtpt", "sha256"


def build(name: str, skeleton: str | Path | Skeleton = "coco17", **changes: Any) -> GTPT:
    """A network with random weights, drawn as the official code does.

    Args:
        name: "gtpt-t", "gtpt-s" or "gtpt-b".
        skeleton: a built-in name such as "coco17", a YAML file or a `Skeleton`.
        changes: other fields of `GTPTConfig`, e.g. input_size=(288, 384) or keep_rates=(1, 0.7, 0.5, 0.3).

    Raises:
        ValueError: unknown name or field, or values that do not go together.
    """
    skeleton = load_skeleton(skeleton)
    return GTPT(make_config(name, skeleton, **changes), skeleton)


def save(model: GTPT, path: str | Path, extra: dict[str, Any] | None = None) -> None:
    """Write a checkpoint atomically: on a full disk or a kill, an older file at `path` stays as it was.

    Args:
        model: with its skeleton.
        path: usually *.safetensors.
        extra: JSON-able entries to keep in the header, e.g. {"calibration": {...}}.

    Raises:
        WeightsError: no skeleton, weights that are not finite, or a network of `reparameterize`, which has lost the norms
            that training needs.
        OSError: see `replace_atomically`.
    """
    from safetensors.torch import save_file

    if not isinstance(model.patch_norm, nn.BatchNorm2d):
        raise WeightsError("a reparameterized network has no norms to train with; save the network that it was made of")
    if model.skeleton is None:
        raise WeightsError("this network has no skeleton; set model.skeleton before saving it")
    header = {"config": model.config.to_dict(), "skeleton": model.skeleton.to_dict(), **(extra or {})}
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    require_finite(tensors, "this network")
    text = json.dumps({**header, DIGEST: _digest(header, tensors)})  # one entry: safetensors writes several in any order
    replace_atomically(Path(path), lambda tmp: save_file(tensors, tmp, metadata={HEADER: text}))


def load(path: str | Path) -> GTPT:
    """Read a checkpoint of `save`, in evaluation mode.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, truncated, changed since it was written, not written by gtpt, or with weights
            that are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    header = _read_header(path)
    config, skeleton = parse_header(header, str(path))
    try:
        tensors = load_file(path)
        digest = header.pop(DIGEST, None)
        if digest not in (None, _digest(header, tensors)):
            raise WeightsError(f"{path} is not as it was written (its digest differs): copy or download it again")
        with torch.device("meta"):
            expected = {name: value.shape for name, value in GTPT(config, skeleton).state_dict().items()}
        # before the network takes the memory that its header asks for
        if odd := sorted(
            k for k in expected.keys() | tensors.keys() if expected.get(k) != getattr(tensors.get(k), "shape", None)
        ):
            raise WeightsError(f"{path} does not fit its own header: {', '.join(odd[:5])}")
        require_finite(tensors, str(path))
        model = GTPT(config, skeleton)
        model.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{path} does not fit its own header: {error}") from error
    return model.eval()


def require_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """ValueError if a weight is infinite or not a number: a network with one finds nobody, anywhere."""
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsError(
                f"{source} has weights that are not finite ({name}): its training diverged or the file is damaged; take an "
                f"earlier checkpoint."
            )


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """sha256 of a checkpoint's content, whatever the order in the file."""
    digest = hashlib.sha256(json.dumps(header).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_header(path: str | Path) -> dict[str, Any]:
    """Configuration, skeleton and extra entries of a checkpoint, without its tensors."""
    header = _read_header(path)
    header.pop(DIGEST, None)
    return header


def _read_header(path: str | Path) -> dict[str, Any]:
    """The header with the digest of everything else, which files of older versions lack."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a complete safetensors file ({error}). Authors' *.pth files are read by "
            f"gtpt.model.load_official, or turned into one of ours by `gtpt convert`."
        ) from error
    if HEADER not in metadata:
        raise WeightsError(f"{path} was not written by gtpt: its header has no {HEADER!r} entry")
    return decode_header(metadata[HEADER], str(path))


def extra_metadata(path: str | Path) -> dict[str, Any]:
    """What the header says beside configuration and skeleton: the `extra` of `save`."""
    return {key: value for key, value in read_header(path).items() if key not in ("config", "skeleton")}


def replace_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file in the same folder, then move it over `path` in one step.

    Raises:
        OSError: no space, no permission; what was at `path` is untouched. Other errors of `write` pass as they are.
    """
    from safetensors import SafetensorError

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # as the user's umask wants it; safetensors would make it private
        write(temporary)
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # PyTorch and safetensors do not raise an OSError
        free = shutil.disk_usage(path.parent).free  # nor say that the disk is full
        raise OSError(
            f"could not write {path}: {error}; an older file there is as it was ({free / 1e6:.0f} MB are free)"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
