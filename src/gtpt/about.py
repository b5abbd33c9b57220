"""What a file or a name stands for: weights, exports, checkpoints of a run, detectors, skeletons."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gtpt.core.errors import InputError, WeightsError
from gtpt.core.extras import require
from gtpt.core.skeleton import Skeleton, builtin_skeletons, load_skeleton
from gtpt.engines.base import NetworkInfo, read_header
from gtpt.weights import list_weights, load_registry, resolve


def about(what: str | Path) -> dict[str, Any]:
    """Facts on a name or file; the same as `gtpt info`. Nothing is downloaded.

    Args:
        what: registered weights, a built-in skeleton, or a file: an export or another *.onnx, *.safetensors, last.ckpt of
            a training run, an authors' *.pth, or a *.yaml with a skeleton.

    Returns:
        Plain JSON types: "kind" says what it is, and the other entries depend on that.

    Raises:
        FileNotFoundError: neither a name nor a file; lists the names.
        GtptError: a file of another kind, or one that cannot be read.
        ImportError: a checkpoint without the `torch` extra.
    """
    if str(what) in builtin_skeletons():
        return _skeleton(load_skeleton(what))
    if str(what) in load_registry():
        return _registered(str(what))
    path = Path(what)
    if not path.is_file():
        raise FileNotFoundError(
            f"no file and no name {str(what)!r}: registered weights are {sorted(load_registry())}, "
            f"built-in skeletons {builtin_skeletons()}"
        )
    if path.suffix.lower() not in _READERS:
        raise InputError(f"{path}: nothing is known of such files; of these it is: {', '.join(_READERS)}")
    return {"kind": "", "file": str(path), "bytes": path.stat().st_size, **_READERS[path.suffix.lower()](path)}


def _skeleton(skeleton: Skeleton) -> dict[str, Any]:
    names = skeleton.keypoints
    return {
        "kind": "skeleton",
        "skeleton": skeleton.name,
        "keypoints": len(skeleton),
        "names": list(names),
        "groups": {group.name: [names[i] for i in group.keypoints] for group in skeleton.groups},
        "parts": {part: len(fine) for group in skeleton.groups for part, fine in group.parts},
        "mirrored": [[names[i], names[j]] for i, j in skeleton.flip_pairs],
        "edges": len(skeleton.edges),
        "sigmas": skeleton.sigmas.tolist(),
    }


def _registered(name: str) -> dict[str, Any]:
    """The entry, and what its first file says if that is on this machine."""
    rows = [row for row in list_weights() if row["name"] == name]
    files = {row["format"]: {key: row[key] for key in ("file", "bytes", "sha256", "status")} for row in rows}
    entry = {key: rows[0][key] for key in ("name", "task", "licence")} | {"files": files}
    if rows[0]["status"] == "remote":
        return {"kind": "registered weights", **entry}
    return {**about(resolve(name)), **entry}


def _onnx(path: Path) -> dict[str, Any]:
    from gtpt.engines.onnx import fixed_batch, open_session
    from gtpt.engines.seal import check_seal

    session = open_session(path)
    metadata = session.get_modelmeta().custom_metadata_map
    if "gtpt" not in metadata:
        shapes = {end.name: end.shape for end in (*session.get_inputs(), *session.get_outputs())}
        return {"kind": "ONNX network that gtpt did not write", "arrays": shapes}
    check_seal(path)
    info = NetworkInfo.from_header(read_header(metadata, path), str(path))
    return {"kind": "exported network", **_network(info), "batch": fixed_batch(session) or "any"}


def _safetensors(path: Path) -> dict[str, Any]:
    require("torch", "torch")
    from gtpt.model.checkpoint import load, read_header

    load(path)  # whole, finite and as it was written
    return {"kind": "weights to train on", **_network(NetworkInfo.from_header(read_header(path), str(path)))}


def _official(path: Path) -> dict[str, Any]:
    require("torch", "torch")
    from gtpt.model.official import load_official

    net = load_official(path)
    assert net.skeleton is not None
    return {"kind": "checkpoint of the authors' code", **_network(NetworkInfo(net.config, net.skeleton, None, {}))}


def _run(path: Path) -> dict[str, Any]:
    require("torch", "torch")
    from gtpt.model.official import read_pickle

    content = read_pickle(path)
    if not isinstance(content, dict) or not {"epoch", "global_step", "state_dict"} <= set(content):
        raise WeightsError(f"{path} is no checkpoint of a training run, which has epoch, global_step and state_dict")
    tensors = [value for name, value in content["state_dict"].items() if name.startswith("net.")]
    keypoints = list(content.get("skeleton", {}).get("keypoints", []))
    return {
        "kind": "checkpoint to resume a training run",
        "epoch": content["epoch"],
        "step": content["global_step"],
        "steps_per_epoch": content.get("steps_per_epoch"),
        "keypoints": len(keypoints),
        "names": keypoints,
        "numbers": sum(tensor.numel() for tensor in tensors),
    }


def _network(info: NetworkInfo) -> dict[str, Any]:
    config = info.config
    return {
        "network": config.name,
        "skeleton": info.skeleton.name,
        "keypoints": config.num_keypoints,
        "input_size": list(config.input_size),
        "simcc_split": config.simcc_split,
        "keep_rates": list(config.keep_rates),
        **(_costs(info) if find_spec("torch") else {}),
        "calibrated": info.calibration is not None,
        **info.metadata,
    }


def _costs(info: NetworkInfo) -> dict[str, Any]:
    from gtpt.model.info import count

    parameters, macs = count(info.config)
    return {"parameters": parameters, "macs": macs}


_READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".onnx": _onnx,
    ".safetensors": _safetensors,
    ".ckpt": _run,
    ".pth": _official,
    ".pt": _official,
    ".yaml": lambda path: _skeleton(load_skeleton(path)),
    ".yml": lambda path: _skeleton(load_skeleton(path)),
}
