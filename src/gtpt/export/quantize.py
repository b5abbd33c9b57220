"""8-bit integers for an exported network: smaller and faster on CPUs with integer dot products, a little less exact."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from gtpt.core.extras import require

if TYPE_CHECKING:
    import onnx
    from onnx import ModelProto

PRODUCTS = ["Conv", "Gemm", "MatMul"]


def quantize_int8(graph: onnx.ModelProto, feed: np.ndarray) -> onnx.ModelProto:
    """Convolutions and matrix products with weights in 8 bits; attention, norms and softmax stay in float32.

    Weights have a scale per output channel and 7 of the 8 bits, since CPUs without integer dot products (VNNI) saturate
    sums of two products of 8 bits. Activations have one range per place, the one that they take on `feed`.

    Args:
        graph: float32 network with the input "crops"; not changed.
        feed: (N, ...) real crops as `graph` takes them, a few dozen at least.

    Returns:
        The network with QuantizeLinear and DequantizeLinear nodes around its products, which engines fuse.
    """
    onnx = require("onnx", "export")
    quantization = require("onnxruntime.quantization", "export")
    weights = {tensor.name for tensor in graph.graph.initializer}
    # OpenVINO cannot fuse the scales of two kinds of tokens that were joined: such a product stays in float32
    joined = {name for n in graph.graph.node if n.op_type == "Concat" for name in n.output}
    products = [
        n.name
        for n in graph.graph.node
        if n.op_type in PRODUCTS and n.input[1] in weights and (n.op_type == "Conv" or n.input[0] not in joined)
    ]

    class Crops(quantization.CalibrationDataReader):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            batch = graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
            self.feeds = iter([{"crops": feed[i : i + batch]} for i in range(0, len(feed) - batch + 1, batch)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    with TemporaryDirectory() as folder, _quiet():
        plain, small = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, plain)
        quantization.quantize_static(
            plain,
            small,
            Crops(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=PRODUCTS,
            nodes_to_quantize=products,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        quantized: ModelProto = onnx.load(small)
        return quantized


@contextmanager
def _quiet() -> Any:
    """onnxruntime logs advice to the root logger, which does not apply: the graph was simplified before."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
