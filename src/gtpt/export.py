"""ONNX files from networks: exported, checked in pixels against PyTorch, made smaller and faster.

A file takes `crops`, uint8 RGB (B, H, W, 3), and gives SimCC logits `x` (B, K, W * split) and `y` (B, K, H * split); its
metadata entry "gtpt" is JSON with the configuration and the skeleton, so that it can be run without anything else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gtpt import codec
from gtpt._extras import require
from gtpt.geometry import PIXEL_MEAN, PIXEL_STD

if TYPE_CHECKING:
    import onnx

    from gtpt.model.network import GTPT

METADATA = "gtpt"
OPSET = 20  # the first with Gelu
LARGE = 4096  # values from which a tensor is worth storing in half precision

Precision = Literal["float32", "float16"]


@dataclass(frozen=True)
class Verification:
    """How far a file is from the network that it was made of, on N crops of K keypoints.

    Attributes:
        keypoints: N * K, how many were compared.
        max_px, mean_px: distance of the decoded keypoints in crop pixels.
        changed: share of keypoints that are not where they were.
        max_logit: largest difference of a logit, or of a raw score if the file decodes by itself.
    """

    keypoints: int
    max_px: float
    mean_px: float
    changed: float
    max_logit: float

    def __str__(self) -> str:
        return (
            f"{self.keypoints} keypoints: max {self.max_px:.3g} px, mean {self.mean_px:.3g} px, {self.changed:.2%} moved, "
            f"max difference of outputs {self.max_logit:.2g}"
        )


def export_onnx(
    model: GTPT,
    path: str | Path,
    *,
    batch: int | None = None,
    opset: int = OPSET,
    uint8_input: bool = True,
    decode: bool = False,
    precision: Precision = "float32",
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write a network as one ONNX file, atomically.

    Args:
        model: with its skeleton.
        path: usually *.onnx.
        batch: a fixed batch size, as some accelerators need; None for any.
        opset: of the ONNX standard, at least 20.
        uint8_input: input `crops` is RGB uint8 (B, H, W, 3), normalised inside; else float32 (B, 3, H, W) of
            `gtpt.model.normalize`.
        decode: outputs are `keypoints` (B, K, 2) float32 crop pixels and `scores` (B, K) float32 raw scores (see
            `gtpt.codec.decode`) instead of the logits `x` and `y`.
        precision: how large weights are stored; "float16" halves the file and still computes in float32 on any device.
        extra: JSON-able facts to keep in the metadata, e.g. {"calibration": {...}}.

    Returns:
        The path.

    Raises:
        ValueError: no GTPT, one without skeleton, an opset or precision that does not exist here, a batch below one.
    """
    _check_export(model, batch, opset, precision)
    torch, onnx, onnxslim = (require(m, "export") for m in ("torch", "onnx", "onnxslim"))
    require("onnxscript", "export")
    from gtpt.model.checkpoint import replace_atomically
    from gtpt.model.inference import Decoded, inference_form

    width, height = model.config.input_size
    examples = batch or 2  # torch.export takes a batch of one for a constant
    crops = torch.zeros(examples, height, width, 3, dtype=torch.uint8)
    module = inference_form(model)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            Decoded(module) if decode else module,
            (crops if uint8_input else crops.float().permute(0, 3, 1, 2),),
            input_names=["crops"],
            output_names=["keypoints", "scores"] if decode else ["x", "y"],
            dynamic_shapes=None if batch else ({0: torch.export.Dim("batch")},),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    graph = onnxslim.slim(program.model_proto)
    if precision == "float16":
        store_half(graph)
    header = {
        "config": model.config.to_dict(),
        "skeleton": model.skeleton.to_dict(),  # type: ignore[union-attr]
        "input": "uint8" if uint8_input else "float32",
        "output": "keypoints" if decode else "simcc",
        **(extra or {}),
    }
    onnx.helper.set_model_props(graph, {METADATA: json.dumps(header)})
    onnx.checker.check_model(graph)
    replace_atomically(Path(path), lambda tmp: onnx.save(graph, tmp))
    return Path(path)


def _check_export(model: GTPT, batch: int | None, opset: int, precision: str) -> None:
    require("torch", "export")
    from gtpt.model.network import GTPT

    if not isinstance(model, GTPT):
        raise ValueError(f"only a gtpt.model.GTPT can be exported, got {type(model).__name__}")
    if model.skeleton is None:
        raise ValueError("this network has no skeleton; set model.skeleton before exporting it")
    if opset < OPSET:
        raise ValueError(f"opset {opset} is too old, the network needs at least {OPSET} (Gelu)")
    if precision not in ("float32", "float16"):
        raise ValueError(f"precision must be 'float32' or 'float16', got {precision!r}")
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be 1 or more, or None for any, got {batch}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about packages that we do not use off the log."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        yield
    finally:
        exporter.setLevel(level)


def store_half(graph: onnx.ModelProto) -> None:
    """Keep large float32 weights as float16, with a Cast back to float32 that engines do once, when they load the file."""
    import onnx

    casts = []
    for tensor in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < LARGE:
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise ValueError(f"weight {tensor.name} has values beyond float16; export with precision='float32'")
        name, half = tensor.name, f"{tensor.name}_half"
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), half))
        casts.append(onnx.helper.make_node("Cast", [half], [name], name=f"{name}_float", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def read_header(path: str | Path) -> dict[str, Any]:
    """The "gtpt" entry of an exported file's metadata.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a complete ONNX file, or not written by `export_onnx`.
    """
    return json.loads(_open(path)[1][METADATA])


def _open(path: str | Path) -> tuple[Any, dict[str, str]]:
    """An onnxruntime session and the metadata of a file of ours."""
    import onnxruntime

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no ONNX file at {path}")
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception type per status code, all of them plain Exceptions
        raise ValueError(f"{path} is not an ONNX file that onnxruntime can run: {str(error).splitlines()[0]}") from error
    metadata = session.get_modelmeta().custom_metadata_map
    if METADATA not in metadata:
        raise ValueError(f"{path} was not written by gtpt: its metadata has no {METADATA!r} entry")
    return session, metadata


def verify_onnx(
    path: str | Path, model: GTPT, crops: np.ndarray, bound_px: float = 0.5, *, batch_size: int = 8
) -> Verification:
    """Run a file with onnxruntime and the network with PyTorch on the same crops, and compare where the keypoints are.

    Coordinates are multiples of 1 / split: a keypoint either stays or moves by half a pixel or more.

    Args:
        path: of `export_onnx` or `quantize_onnx`.
        model: the network of the file.
        crops: (N, H, W, 3) uint8 RGB of real people; noise has no keypoints to compare.
        bound_px: largest mean distance that passes.
        batch_size: crops per run, if the file takes any number.

    Raises:
        FileNotFoundError: no file.
        ValueError: a broken or foreign file, no crops, crops of another size, keypoints further apart than `bound_px`.
    """
    session, metadata = _open(path)
    header = json.loads(metadata[METADATA])
    crops = _check_crops(crops, model.config.input_size)
    fixed = session.get_inputs()[0].shape[0]
    size = fixed if isinstance(fixed, int) else batch_size
    theirs, ours = [], []
    for start in range(0, len(crops), size):
        part = crops[start : start + size]
        theirs.append([out[: len(part)] for out in session.run(None, {"crops": _feed(part, size, header["input"])})])
        ours.append(_torch_outputs(model, part, header["output"]))
    a, b = ([np.concatenate(column) for column in zip(*rows, strict=True)] for rows in (theirs, ours))
    split = model.config.simcc_split
    points = [out[0] if header["output"] == "keypoints" else codec.decode(out[0], out[1], split)[0] for out in (a, b)]
    distance = np.linalg.norm(points[0] - points[1], axis=-1)
    values = zip(a[1:], b[1:], strict=True) if header["output"] == "keypoints" else zip(a, b, strict=True)
    result = Verification(
        keypoints=distance.size,
        max_px=float(distance.max()),
        mean_px=float(distance.mean()),
        changed=float((distance > 0).mean()),
        max_logit=max(float(np.abs(u - v).max()) for u, v in values),
    )
    if not result.mean_px <= bound_px:
        raise ValueError(f"{path} differs from its network: {result}; allowed is a mean of {bound_px} px")
    return result


def _check_crops(crops: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    width, height = input_size
    crops = np.asarray(crops)
    if crops.ndim != 4 or crops.shape[1:] != (height, width, 3) or crops.dtype != np.uint8:
        raise ValueError(f"crops must be (N, {height}, {width}, 3) uint8, got {crops.shape} {crops.dtype}")
    if not len(crops):
        raise ValueError("no crops: give at least one")
    return crops


def _feed(crops: np.ndarray, size: int, kind: str) -> np.ndarray:
    """Crops as the file wants them, filled up to its fixed batch with the last one."""
    crops = crops[np.minimum(np.arange(max(size, len(crops))), len(crops) - 1)] if len(crops) < size else crops
    if kind == "uint8":
        return crops
    mean, std = (np.array(c, dtype=np.float32) * 255 for c in (PIXEL_MEAN, PIXEL_STD))
    return np.ascontiguousarray(((crops - mean) / std).transpose(0, 3, 1, 2))


def _torch_outputs(model: GTPT, crops: np.ndarray, kind: str) -> list[np.ndarray]:
    from gtpt.evaluate.run import torch_network

    x, y = torch_network(model)(crops)
    return [x, y] if kind == "simcc" else list(codec.decode(x, y, model.config.simcc_split))
