"""Checkpoints of the authors' repository: read into our network, and written from it.

A file of theirs holds two branches of the same network, `features.*` (live) and `ema_features.*` (averaged; the one that
is evaluated), in one of three forms: flat (`model_best.pth`, `final_state.pth`), or nested under `state_dict` with or
without a `module.` prefix (`checkpoint.pth`). Keys ending in `.mask` are constants of the original's padding slot, which
our network does not have.
"""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gtpt.core.errors import WeightsError
from gtpt.core.skeleton import load_skeleton
from gtpt.model.checkpoint import extra_metadata, load, replace_atomically, require_finite, save
from gtpt.model.config import SIZES, GTPTConfig, make_config
from gtpt.model.network import GTPT
from gtpt.weights import resolve

Branch = Literal["ema", "live"]
PREFIX = {"ema": "ema_", "live": ""}
OFFICIAL_SUFFIXES = (".pth", ".pt")
SKELETONS = ("coco17", "coco_wholebody133")

# Ours -> theirs; the first rule that matches the start of the remaining key is applied, then the next rules to the rest.
_RULES: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"^(head_[xy])\.", r"mlp_\1."),
    (r"^(?!mlp_head)", "features."),
    (r"patch_norm\.", "patch2emb_norm."),
    (r"patch_embed\.", "patch2emb_mlp."),
    (r"\.part_token", ".extra_token"),
    (r"group_gate\.", "transformer.group_mask."),
    (r"coarse_encoder\.", "transformer.layers."),
    (r"group_encoder\.", "transformer.group_layers."),
    (r"\.attn_norm\.", ".0.fn.norm."),
    (r"\.attn\.qkv\.", ".0.fn.fn.to_qkv."),
    (r"\.attn\.proj\.", ".0.fn.fn.to_out.0."),
    (r"\.mlp_norm\.", ".1.fn.norm."),
    (r"\.mlp\.0\.", ".1.fn.fn.net.0."),
    (r"\.mlp\.2\.", ".1.fn.fn.net.3."),
    (r"stem\.conv\.", "stem.conv1."),
    (r"stem\.stage\.", "stem.layer."),
    (r"stem\.(down)\.(\d)", lambda m: f"stem.down_layer{int(m[2]) + 1}"),
    (r"stem\.(upsample)\.(\d)", lambda m: f"stem.upsample{int(m[2]) + 1}"),
    (r"stem\.(fuse)\.(\d)", lambda m: f"stem.up_layer{int(m[2]) + 1}"),
    # their units are flat sequences (conv, BN, depthwise conv, BN, ...), without and with ReLUs in between
    (r"\.shortcut\.(\d)\.(\d)", lambda m: f".branch1.{2 * int(m[1]) + int(m[2])}"),
    (r"\.branch\.(\d)\.(\d)", lambda m: f".branch2.{(0, 3, 5)[int(m[1])] + int(m[2])}"),
]


def official_key(key: str, branch: Branch = "ema") -> str:
    """Name in the authors' state dict of an entry of ours."""
    for pattern, replacement in _RULES:
        key = re.sub(pattern, replacement, key)
    return PREFIX[branch] + key


def load_official(path: str | Path, branch: Branch = "ema") -> GTPT:
    """The network of an authors' checkpoint, in evaluation mode; the variant is inferred from the tensors.

    Args:
        path: `model_best.pth`, `final_state.pth` or `checkpoint.pth`.
        branch: "ema", the averaged weights that their test uses, or "live", those that the optimizer moves.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no PyTorch file, truncated, with code inside, or with keys that do not fit: these are listed together
            with the variant that comes nearest.
    """
    if branch not in PREFIX:
        raise WeightsError(f"branch must be 'ema' or 'live', got {branch!r}")
    return from_official_state(read_official(path), branch, str(path))


def read_official(path: str | Path) -> dict[str, Tensor]:
    """The flat state dict of an authors' file, with `module.` stripped. Never runs code from the file."""
    content = read_pickle(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(_is_plain(v) for v in content.values()):
        raise WeightsError(f"{path} holds no state dict: expected names with dense tensors, flat or under 'state_dict'")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _is_plain(value: Any) -> bool:
    """Whether this is a tensor that has its numbers in memory: neither sparse, quantized nor without a place ("meta")."""
    if not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and value.device.type == "cpu" and not (value.is_quantized or value.is_nested)


def read_pickle(path: str | Path) -> Any:
    """What `torch.save` wrote, on the CPU, as long as it is tensors and plain values; see `load_official` for errors."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    _check_archive(path)
    try:
        with torch.serialization.safe_globals(_numpy_scalars()), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of kinds of tensors that `read_official` refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch advises to load it anyway: what it says stays out of the message
        raise WeightsError(
            f"{path} was not loaded: it is damaged, or holds more than tensors and plain values, which could run code of a "
            f"stranger. Copy it again, or re-save its state dict alone with a PyTorch you trust."
        ) from error
    except Exception as error:  # a damaged pickle can raise anything, with words about the inside of PyTorch
        raise WeightsError(
            f"{path} is not a complete PyTorch checkpoint ({type(error).__name__}): download or copy it again."
        ) from error


def _check_archive(path: Path) -> None:
    """ValueError for a zip of `torch.save` with changed bytes, or one that would unpack to more than it is."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise WeightsError(f"{path} is a compressed archive, which PyTorch does not write: unpack what is in it")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, struct.error) as error:
        raise WeightsError(f"{path} is not a complete PyTorch checkpoint: {error}: download or copy it again.") from error
    if damaged is not None:
        raise WeightsError(f"{path} is damaged: {damaged} in it is not as it was written: download or copy it again.")


def _numpy_scalars() -> list[Any]:
    """What the pickle of a NumPy number refers to, in old and new NumPy: `checkpoint.pth` keeps its AP as one."""
    build = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [*((build, name) for name in names), np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8"))]


def from_official_state(state: Mapping[str, Tensor], branch: Branch = "ema", source: str = "state dict") -> GTPT:
    """As `load_official`, from a flat state dict that is already in memory."""
    prefix = PREFIX[branch]
    heads = (f"{prefix}features.", f"{prefix}mlp_head_")
    theirs = {k: v for k, v in state.items() if k.startswith(heads) and not k.endswith(".mask")}
    other = tuple(h for p in PREFIX.values() for h in (f"{p}features.", f"{p}mlp_head_"))
    strangers = [k for k in state if not k.startswith(other)]
    best: tuple[int, str, GTPT, list[str]] | None = None
    for size in SIZES:
        for skeleton in SKELETONS:
            with torch.device("meta"):
                model = GTPT(_config_for(size, skeleton, theirs, prefix), load_skeleton(skeleton))
            problems = [f"unexpected {k}" for k in strangers] + _differences(model, theirs, branch)
            if best is None or len(problems) < best[0]:
                best = len(problems), f"{size} {skeleton}", model, problems
    assert best is not None
    _, variant, model, problems = best
    if problems:
        shown = "\n  ".join(problems[:20]) + (f"\n  and {len(problems) - 20} more" if len(problems) > 20 else "")
        raise WeightsError(f"{source} is no official GTPT checkpoint; nearest variant {variant}, but:\n  {shown}")
    ours = {key: theirs[official_key(key, branch)] for key in model.state_dict()}
    require_finite(ours, source)
    model = GTPT(model.config, model.skeleton)
    model.load_state_dict(ours)
    return model.eval()


def _config_for(size: str, skeleton: str, theirs: Mapping[str, Tensor], prefix: str) -> GTPTConfig:
    """Configuration of a variant at the input size that the heads of the checkpoint tell (2 bins per pixel)."""
    config = make_config(size, skeleton)
    bins = [theirs.get(f"{prefix}mlp_head_{axis}.1.bias") for axis in "xy"]
    if any(b is None for b in bins):
        return config
    width, height = (len(b) // 2 for b in bins if b is not None)
    try:
        return make_config(size, skeleton, input_size=(width, height))
    except ValueError:
        return config


def _differences(model: GTPT, theirs: Mapping[str, Tensor], branch: Branch) -> list[str]:
    """What keeps a branch of an official state dict from being loaded, one line each."""
    expected = {official_key(k, branch): tuple(v.shape) for k, v in model.state_dict().items()}
    lines = [f"missing {k}" for k in expected if k not in theirs]
    lines += [f"unexpected {k}" for k in theirs if k not in expected]
    return lines + [
        f"{k} has shape {tuple(theirs[k].shape)}, expected {shape}"
        for k, shape in expected.items()
        if k in theirs and tuple(theirs[k].shape) != shape
    ]


def to_official_state(live: GTPT, ema: GTPT | None = None) -> dict[str, Tensor]:
    """An authors' flat state dict, masks included, that their strict test loads.

    Args:
        live: the trained network, a 17- or 133-point one.
        ema: its averaged copy; `live` again if there is none.

    Raises:
        ValueError: a skeleton or a configuration that the authors' code does not have.
    """
    if live.skeleton is None or live.skeleton.name not in SKELETONS:
        name = live.skeleton.name if live.skeleton else None
        raise WeightsError(f"the official code knows the skeletons {SKELETONS}, not {name!r}: keep it as *.safetensors")
    theirs = make_config(live.config.name, live.skeleton, input_size=live.config.input_size)
    if changed := [f for f, value in vars(theirs).items() if getattr(live.config, f) != value]:
        shown = ", ".join(f"{f}={getattr(live.config, f)!r} (official {getattr(theirs, f)!r})" for f in changed)
        raise WeightsError(f"the official code has no {live.config.name} with {shown}: keep it as *.safetensors")
    patches = live.config.num_patches
    mask = torch.zeros(1, live.config.heads, 3, patches + 6, patches + 18, dtype=torch.bool)
    mask[:, :, 0, 0, :] = True  # the padding slot's query
    mask[..., 0] = True  # and its key
    state: dict[str, Tensor] = {}
    branches: list[tuple[Branch, GTPT]] = [("live", live), ("ema", ema or live)]
    for branch, model in branches:
        state |= {official_key(k, branch): v.detach().clone() for k, v in model.state_dict().items()}
        for depth in range(live.config.group_layers):
            state[f"{PREFIX[branch]}features.transformer.group_layers.{depth}.0.fn.fn.mask"] = mask.clone()
    return state


def load_any(path: str | Path, branch: Branch = "ema") -> GTPT:
    """A network from ours (*.safetensors or a registered name) or an authors' file (*.pth, *.pt: its `branch`)."""
    path = resolve(path, format="safetensors", task="pose")
    return load_official(path, branch) if path.suffix in OFFICIAL_SUFFIXES else load(path)


def metadata_of(path: Path) -> dict[str, Any]:
    """What a file of `load_any` says beside its network, such as a calibration; nothing if it is one of the authors'."""
    return {} if path.suffix in OFFICIAL_SUFFIXES else extra_metadata(path)


def convert(source: str | Path, target: str | Path, branch: Branch = "ema") -> GTPT:
    """Rewrite a checkpoint from the authors' form to ours or back; the same as `gtpt convert`.

    Args:
        source: *.pth or *.pt (theirs), *.safetensors (ours) or a registered name.
        target: *.pth, *.pt or *.safetensors. In theirs both branches get the same weights; ours keeps what else the header
            of ours says, such as the calibration.
        branch: which weights of an authors' file to take.

    Returns:
        The network that was written.

    Raises:
        FileNotFoundError, ValueError: no such file, another kind of file, tensors of another network, or a skeleton or
            configuration that the authors' code does not have.
    """
    source, target = resolve(source, format="safetensors", task="pose"), Path(target)
    if {source.suffix, target.suffix} - {".safetensors", *OFFICIAL_SUFFIXES}:
        raise WeightsError(f"cannot convert {source.name} to {target.name}: use *.pth (authors') and *.safetensors (ours)")
    model = load_any(source, branch)
    if target.suffix == ".safetensors":
        save(model, target, metadata_of(source))
    else:
        state = to_official_state(model)
        replace_atomically(target, lambda path: torch.save(state, path))
    return model
