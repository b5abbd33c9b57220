"""TensorFlow.js graph models in PyTorch: the operations of MoveNet and PoseNet, and no others."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from graphlib import TopologicalSorter
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gtpt.core.errors import InputError


class GraphModel:
    """A network: arrays in, arrays out, as in TensorFlow, so with channels last.

    Args:
        file: model.json, with its weights beside it.

    Attributes:
        shape: of the input.
    """

    def __init__(self, file: Path):
        data = json.loads(file.read_text(encoding="utf-8"))
        self._outputs = list(data["signature"]["outputs"])
        nodes = {node["name"]: node for node in data["modelTopology"]["node"]}
        if unknown := {node["op"] for node in nodes.values()} - OPERATIONS.keys() - {"Const", "Placeholder"}:
            raise InputError(f"{file} has operations that are not known here: {sorted(unknown)}")
        self._weights = read_weights(file, data["weightsManifest"])
        (self._input,) = (name for name, node in nodes.items() if node["op"] == "Placeholder")
        self.shape = [int(d["size"]) for d in nodes[self._input]["attr"]["shape"]["shape"]["dim"]]
        graph = {name: {source.partition(":")[0] for source in inputs(node)} for name, node in nodes.items()}
        order = (nodes[name] for name in TopologicalSorter(graph).static_order())
        self._nodes = [node for node in order if node["op"] in OPERATIONS]

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """What comes out, by name, for a batch of the input's shape."""
        values: dict[str, Any] = {**self._weights, self._input: torch.from_numpy(image)}

        def value(source: str) -> Tensor:
            name, _, number = source.partition(":")
            return values[name][int(number or 0)] if isinstance(values[name], tuple) else values[name]

        with torch.inference_mode():
            for node in self._nodes:
                values[node["name"]] = OPERATIONS[node["op"]](node.get("attr", {}), *map(value, inputs(node)))
        return {name: value(name).numpy() for name in self._outputs}


def inputs(node: dict[str, Any]) -> list[str]:
    """Names of what a node computes with; others, which begin with ^, only have to be there first."""
    return [source for source in node.get("input", ()) if not source.startswith("^")]


def read_weights(file: Path, manifest: list[dict[str, Any]]) -> dict[str, Tensor]:
    weights = {}
    for group in manifest:
        content, start = b"".join((file.parent / path).read_bytes() for path in group["paths"]), 0
        for entry in group["weights"]:
            stored = np.dtype(entry.get("quantization", entry)["dtype"])
            flat = np.frombuffer(content, stored, prod(entry["shape"]), start)
            start += flat.nbytes
            weights[entry["name"]] = torch.from_numpy(flat.astype(entry["dtype"]).reshape(entry["shape"]))
    return weights


def convolution(attributes: dict[str, Any], x: Tensor, kernel: Tensor, bias: Tensor | None = None, **kinds: bool) -> Tensor:
    """Of (B, H, W, C) with TensorFlow's padding, whose odd pixel is on the right and at the bottom."""
    if set(attributes["dilations"]["list"]["i"]) != {"1"}:
        raise InputError("convolutions with dilation are not known here")
    same = b64decode(attributes["padding"]["s"]) == b"SAME"
    stride = [int(s) for s in attributes["strides"]["list"]["i"][1:3]]
    pads = []
    for size, step, reach in zip(x.shape[2:0:-1], stride[::-1], kernel.shape[1::-1], strict=True):
        total = same * max((-(-size // step) - 1) * step + reach - size, 0)
        pads += [total // 2, total - total // 2]
    if kinds.get("depthwise"):
        weight, groups = kernel.permute(2, 3, 0, 1), x.shape[3]  # (H, W, C, 1)
    else:
        weight, groups = kernel.permute(3, 2, 0, 1), 1  # (H, W, C, D)
    y = F.conv2d(F.pad(x.permute(0, 3, 1, 2), pads), weight, bias, stride, groups=groups)
    fused = {b64decode(name) for name in attributes.get("fused_ops", {"list": {}})["list"].get("s", ())}
    if unknown := fused - {b"BiasAdd", b"Relu", b"Relu6"}:
        raise InputError(f"activations that are not known here: {unknown}")
    y = F.relu6(y) if b"Relu6" in fused else F.relu(y) if b"Relu" in fused else y
    return y.permute(0, 2, 3, 1)


def depthwise(attributes: dict[str, Any], *inputs: Tensor) -> Tensor:
    return convolution(attributes, *inputs, depthwise=True)


def resize(attributes: dict[str, Any], x: Tensor, size: Tensor) -> Tensor:
    if not attributes["half_pixel_centers"]["b"]:
        raise InputError("only resizing with half_pixel_centers is known here")
    return F.interpolate(x.permute(0, 3, 1, 2), size.tolist(), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)


def squeeze(attributes: dict[str, Any], x: Tensor) -> Tensor:
    return x.squeeze([int(i) for i in attributes["squeeze_dims"]["list"]["i"]])


def cast(attributes: dict[str, Any], x: Tensor) -> Tensor:
    return x.to({"DT_FLOAT": torch.float32, "DT_INT32": torch.int32}[attributes["DstT"]["type"]])


OPERATIONS: dict[str, Callable[..., Any]] = {
    "_FusedConv2D": convolution,
    "DepthwiseConv2dNative": depthwise,
    "FusedDepthwiseConv2dNative": depthwise,
    "ResizeBilinear": resize,
    "AddV2": lambda _, a, b: a + b,
    "Sub": lambda _, a, b: a - b,
    "Mul": lambda _, a, b: a * b,
    "RealDiv": lambda _, a, b: a / b,
    "FloorDiv": lambda _, a, b: a // b,
    "SquaredDifference": lambda _, a, b: (a - b) ** 2,
    "Sqrt": lambda _, x: x.sqrt(),
    "Sigmoid": lambda _, x: x.sigmoid(),
    "Identity": lambda _, x: x,
    "Cast": cast,
    "ArgMax": lambda _, x, axis: x.argmax(int(axis)).int(),
    "GatherNd": lambda _, x, index: x[tuple(index.long().unbind(-1))],
    "Reshape": lambda _, x, shape: x.reshape(shape.tolist()),
    "ExpandDims": lambda _, x, axis: x.unsqueeze(int(axis)),
    "Squeeze": squeeze,
    "Pack": lambda attributes, *x: torch.stack(x, int(attributes["axis"]["i"])),
    "Unpack": lambda attributes, x: x.unbind(int(attributes["axis"]["i"])),
    "ConcatV2": lambda _, *x: torch.cat(x[:-1], int(x[-1])),
}
