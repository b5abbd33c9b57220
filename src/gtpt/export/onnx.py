"""ONNX files from networks: exported, checked in pixels against PyTorch, made smaller and faster.

A file takes `crops`, uint8 RGB (B, H, W, 3), and gives SimCC logits `x` (B, K, W * split) and `y` (B, K, H * split); its
metadata entry "gtpt" is JSON with the configuration and the skeleton, so that it can be run without anything else.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from gtpt.core.errors import InputError, WeightsError
from gtpt.core.extras import require
from gtpt.engines.auto import BFLOAT16_COST
from gtpt.engines.seal import seal
from gtpt.export.verify import OnnxFile, Verification, bfloat16_cost, check_crops, normalized, verify_onnx

if TYPE_CHECKING:
    import onnx

    from gtpt.model.network import GTPT

METADATA = "gtpt"
OPSET = 20  # the first with Gelu
LAST_OPSET = 23  # that PyTorch's exporter, onnxslim and the engines all know; nothing here gains from a newer one
CALIBRATION = 128  # crops that give the ranges of int8
LARGE = 4096  # values from which a tensor is worth storing in half precision

Precision = Literal["float32", "float16", "int8"]


def export(
    weights: str | Path,
    out: str | Path,
    *,
    keep_rates: Sequence[float] | str | None = None,
    batch: int | None = None,
    opset: int = OPSET,
    precision: Precision = "float32",
    calibrate: str | Path | None = None,
    decode: bool = False,
    float_input: bool = False,
    verify: str | Path | None = None,
    bound: float = 0.5,
) -> Verification | None:
    """Write the ONNX file of a checkpoint; the same as `gtpt export`.

    Args:
        weights: registered name, *.safetensors, or an authors' *.pth. A calibration goes along.
        out: the file to write.
        keep_rates: of the file, instead of the network's own: see `GTPTConfig.choose_keep_rates`. The header keeps what the
            network was trained with as "trained_keep_rates", to which the other figures in it belong.
        batch, opset, precision, decode: see `export_onnx`.
        calibrate: real crops for "int8": a photo, a folder of photos, or a COCO crop zip.
        float_input: take normalised float crops instead of uint8.
        verify: compare with PyTorch on these crops, given in the same ways.
        bound: pixels that the keypoints may move on average.

    Returns:
        What `verify` found, or None without it.

    Raises:
        FileNotFoundError, ValueError, ImportError: what cannot be read or exported; keypoints that move further than
            `bound`, and then an older file of that name stays.
    """
    for package in ("torch", "onnx"):
        require(package, "export")
    from gtpt.data.crops import load_crops
    from gtpt.model.official import load_any, metadata_of
    from gtpt.weights import resolve

    if Path(out).suffix != ".onnx":
        raise InputError(f"the file to write must be called *.onnx, got {str(out)!r}")
    path = resolve(weights, format="safetensors", task="pose")
    model = load_any(path)
    assert model.skeleton is not None
    _check_export(model, batch, opset, precision)  # before any photo is read
    facts, trained = metadata_of(path), model.config.keep_rates
    model.config = replace(model.config, keep_rates=model.config.choose_keep_rates(keep_rates))
    if model.config.keep_rates != trained:
        facts["trained_keep_rates"] = trained
    size = model.config.input_size
    out = Path(out)
    crops = load_crops(verify, model.skeleton, size) if verify else None
    if crops is not None:
        facts[BFLOAT16_COST] = round(bfloat16_cost(model, crops), 5)
    written = out if crops is None else out.with_name(f".{out.stem}.{uuid.uuid4().hex[:8]}.onnx")  # until it is verified
    export_onnx(
        model,
        written,
        batch=batch,
        opset=opset,
        uint8_input=not float_input,
        decode=decode,
        precision=precision,
        calibration_crops=load_crops(calibrate, model.skeleton, size, CALIBRATION) if calibrate else None,
        extra=facts,
    )
    if crops is None:
        return None
    try:
        try:
            found = verify_onnx(written, model, crops, bound)
        except WeightsError as error:  # of a file that the user did not name
            raise WeightsError(str(error).replace(str(written), str(out))) from error
        os.replace(written, out)
    finally:
        written.unlink(missing_ok=True)
    return found


def export_onnx(
    model: GTPT,
    path: str | Path,
    *,
    batch: int | None = None,
    opset: int = OPSET,
    uint8_input: bool = True,
    decode: bool = False,
    precision: Precision = "float32",
    calibration_crops: np.ndarray | None = None,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write a network as one ONNX file, atomically: onnxruntime has run it once before it takes its place.

    Args:
        model: with its skeleton.
        path: usually *.onnx.
        batch: a fixed batch size, as some accelerators need; None for any.
        opset: of the ONNX standard: 20 to 23. In 23 attention is one operator, which is 5 % faster on a CPU but needs
            onnxruntime 1.23 or OpenVINO 2026, and others may not know it.
        uint8_input: input `crops` is RGB uint8 (B, H, W, 3), normalised inside; else float32 (B, 3, H, W) of
            `gtpt.model.normalize`.
        decode: outputs are `keypoints` (B, K, 2) float32 crop pixels and `scores` (B, K) float32 raw scores (see
            `gtpt.core.simcc.decode`) instead of the logits `x` and `y`.
        precision: "float16" stores weights in half and still computes in float32 on any device; "int8" multiplies in 8-bit
            integers, see `gtpt.export.quantize`.
        calibration_crops: (N, H, W, 3) uint8 RGB of real people, for "int8": they give the ranges of the activations.
        extra: JSON-able entries to keep in the metadata, e.g. {"calibration": {...}}.

    Returns:
        The path.

    Raises:
        ValueError: no GTPT, one without skeleton, an opset or precision that does not exist here, a batch below one, "int8"
            without crops or crops without "int8", a network that PyTorch cannot export or onnxruntime not run.
        MemoryError: a fixed batch that onnxruntime has no room for.
    """
    _check_export(model, batch, opset, precision)
    _check_calibration(model, batch or 1, precision, calibration_crops)
    torch, onnx, onnxslim = (require(m, "export") for m in ("torch", "onnx", "onnxslim"))
    require("onnxscript", "export")
    from gtpt.export.deployed import Deployed
    from gtpt.model.checkpoint import replace_atomically

    width, height = model.config.input_size
    examples = batch or 2  # torch.export takes a batch of one for a constant
    crops = torch.zeros(examples, height, width, 3, dtype=torch.uint8)
    with _exporter(opset), torch.no_grad():
        program = torch.onnx.export(
            Deployed(model, opset, uint8_input=uint8_input, decode=decode).eval(),
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
    if calibration_crops is not None:
        from gtpt.export.quantize import quantize_int8

        graph = quantize_int8(graph, calibration_crops if uint8_input else normalized(calibration_crops))
    header = {
        "config": model.config.to_dict(),
        "skeleton": model.skeleton.to_dict(),  # type: ignore[union-attr]
        "input": "uint8" if uint8_input else "float32",
        "output": "keypoints" if decode else "simcc",
        **(extra or {}),
    }
    onnx.helper.set_model_props(graph, {METADATA: json.dumps(header)})
    onnx.checker.check_model(graph)

    def write(file: Path) -> None:
        onnx.save(graph, file)
        seal(file)
        OnnxFile(file).run(np.zeros((1, height, width, 3), np.uint8))

    replace_atomically(Path(path), write)
    return Path(path)


def _check_export(model: GTPT, batch: int | None, opset: int, precision: str) -> None:
    require("torch", "export")
    from gtpt.model.network import GTPT

    if not isinstance(model, GTPT):
        raise InputError(f"only a gtpt.model.GTPT can be exported, got {type(model).__name__}")
    if model.skeleton is None:
        raise InputError("this network has no skeleton; set model.skeleton before exporting it")
    if not OPSET <= opset <= LAST_OPSET:
        raise InputError(
            f"opset must be {OPSET} (the first with Gelu) to {LAST_OPSET} (the last that all tools know), got {opset}"
        )
    if precision not in get_args(Precision):
        raise InputError(f"precision must be one of {list(get_args(Precision))}, got {precision!r}")
    if batch is not None and batch < 1:
        raise InputError(f"batch must be 1 or more, or None for any, got {batch}")


def _check_calibration(model: GTPT, batch: int, precision: str, crops: np.ndarray | None) -> None:
    if (precision == "int8") != (crops is not None):
        raise InputError(
            "precision='int8' and calibration_crops go together: real crops give the ranges of the activations"
        )
    if crops is not None and len(check_crops(crops, model.config.input_size)) < batch:
        raise InputError(f"{len(crops)} calibration crops do not fill one batch of {batch}: give more")


@contextmanager
def _exporter(opset: int) -> Iterator[None]:
    """PyTorch's exporter without its remarks on packages that we do not use and on its own code; ValueError if it fails."""
    import torch

    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            yield
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"PyTorch {torch.__version__} could not export this network in opset {opset}: {reason}; "
            f'take opset {OPSET}, and the newest torch and onnxscript (pip install -U "gtpt[export]")'
        ) from error
    finally:
        exporter.setLevel(level)


def _last_weights(graph: onnx.ModelProto) -> set[str]:
    """Names of the weights of the last matrix product on the way to each output."""
    made_by = {name: node for node in graph.graph.node for name in node.output}
    weights = {tensor.name for tensor in graph.graph.initializer}
    found: set[str] = set()
    for output in graph.graph.output:
        node = made_by.get(output.name)
        while node is not None and node.op_type not in ("MatMul", "Gemm"):
            node = next((made_by[name] for name in node.input if name in made_by), None)
        if node is not None:
            found |= weights & set(node.input)
    return found


def store_half(graph: onnx.ModelProto, *, exact: bool = False) -> None:
    """Keep large float32 weights as float16, with a Cast back to float32 that engines do once, when they load the file.

    The last products before the outputs stay as they are, unless half precision holds them exactly: rounding them moves
    most keypoints that move at all. With `exact` all other weights do too.
    """
    import onnx

    casts = []
    last = _last_weights(graph)
    for tensor in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < LARGE:
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise WeightsError(f"weight {tensor.name} has values beyond float16; export with precision='float32'")
        stored = values.astype(np.float16)
        if (exact or tensor.name in last) and (stored != values).any():
            continue
        name, half = tensor.name, f"{tensor.name}_half"
        tensor.CopyFrom(onnx.numpy_helper.from_array(stored, half))
        casts.append(onnx.helper.make_node("Cast", [half], [name], name=f"{name}_float", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
