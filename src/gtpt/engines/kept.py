"""Which patches an exported network kept: what its TopK nodes chose, as outputs that are appended to the file in memory.

Any file of `gtpt export` will do, and no library for ONNX is needed: a file is a message of Protocol Buffers, in which a
part that comes twice is merged, so that a second graph with nothing but outputs adds these to the first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from gtpt.core.errors import WeightsError
from gtpt.model.config import GTPTConfig

GRAPH, METADATA, NODE, OUTPUT = 7, 14, 1, 12  # fields of the model, and of its graph
NODE_OUTPUT, NODE_TYPE, NAME = 2, 4, 1  # of a node, and of an output
KEY, VALUE = 1, 2  # of an entry of the metadata
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5  # how fields are stored

Stages = Mapping[str, Sequence[int]]


def pruning_stages(config: GTPTConfig) -> dict[str, tuple[int, ...]]:
    """When patches are pruned, as `gtpt.model.Explained` calls it, and the groups that each choose; none: all together."""
    counts, everyone = config.keep_counts(), tuple(range(len(config.groups)))
    stages: dict[str, tuple[int, ...]] = {}
    if counts[0] < config.num_patches:
        stages["coarse0"] = ()
    if counts[1] < counts[0]:
        stages[f"coarse{config.coarse_layers // 2}"] = ()
    if entering := tuple(g for g in everyone if counts[2] - len(config.groups[g].fine) < counts[1]):
        stages["entry"] = entering
    if counts[3] < counts[2]:
        stages[f"group{config.group_layers // 2}"] = everyone
    return stages


def with_choices(model: bytes, config: GTPTConfig) -> tuple[bytes, list[str]]:
    """An ONNX file that also gives what was chosen in each stage, and the names of these outputs in order.

    Raises:
        WeightsError: a graph with other choices than the configuration says.
    """
    names = [_choice(node) for graph in _parts(model, GRAPH) for node in _parts(graph, NODE) if _is_choice(node)]
    expected = sum(max(len(groups), 1) for groups in pruning_stages(config).values())
    if len(names) != expected:
        raise WeightsError(
            f"this file shows {len(names)} choices of patches, its configuration has {expected}: export it again with "
            f"`gtpt export`, or take its *.safetensors"
        )
    outputs = b"".join(_message(OUTPUT, _message(NAME, name.encode())) for name in names)
    return model + _message(GRAPH, outputs), names


def with_named_choices(model: bytes, config: GTPTConfig) -> bytes:
    """An ONNX file as of `with_choices` that says itself, in its metadata under "kept", which output is of which stage.

    That is a list of stages in JSON: "name", "groups" that choose (none: all together), and the "outputs" of these choices.
    """
    model, names = with_choices(model, config)
    left = iter(names)
    stages = [
        {"name": name, "groups": groups, "outputs": [next(left) for _ in groups or [None]]}
        for name, groups in pruning_stages(config).items()
    ]
    entry = _message(KEY, b"kept") + _message(VALUE, json.dumps(stages).encode())
    return model + _message(METADATA, entry)


def kept_patches(config: GTPTConfig, choices: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Numbers of the patches that are left after each stage, as of `gtpt.model.Explained`.

    Args:
        config: of the network.
        choices: of each stage and group, (B, n) positions among what the stage before left, in its order.
    """
    left, batch = iter(choices), len(choices[0]) if choices else 0
    groups = [np.tile(np.arange(config.num_patches), (batch, 1))]
    kept = {}
    for stage, choosing in pruning_stages(config).items():
        if choosing and len(groups) == 1:
            groups = groups * len(config.groups)
        chosen = choosing or range(len(groups))
        groups = [np.take_along_axis(ids, next(left), axis=1) if g in chosen else ids for g, ids in enumerate(groups)]
        kept[stage] = [np.sort(ids, axis=1) for ids in groups]
    return kept


def _is_choice(node: bytes) -> bool:
    return next(_parts(node, NODE_TYPE), b"") == b"TopK"


def _choice(node: bytes) -> str:
    """Name of the indices, which are the second output of TopK."""
    return list(_parts(node, NODE_OUTPUT))[1].decode()


def _parts(message: bytes, number: int) -> Iterator[bytes]:
    """The parts of a message that are stored under a number."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        size = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(tag % 8, 0)
        if tag % 8 in (VARINT, BYTES):
            value, at = _varint(message, at)
            size = value if tag % 8 == BYTES else 0
        if tag == number << 3 | BYTES:
            yield message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number, and where the next one starts."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return value, at


def _message(number: int, content: bytes) -> bytes:
    return _encoded(number << 3 | BYTES) + _encoded(len(content)) + content


def _encoded(value: int) -> bytes:
    """A number as Protocol Buffers store it, seven bits a byte."""
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + _encoded(value // 128)
