"""JSON and YAML that others wrote: read with limits, as plain data, and refused with one kind of error."""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from gtpt.core.errors import GtptError, InputError

YAML_BYTES = 1 << 18  # a skeleton of 133 keypoints has 6 kB
YAML_DEPTH = 50
YAML_NODES = 50_000  # with every alias written out

# What PyYAML raises for a scalar that is not what its tag says: it leaves that to Python's constructors.
_SCALAR_ERRORS = (ValueError, LookupError, AttributeError, TypeError, OverflowError)


def parse_json(text: str | bytes, source: str, kind: type[GtptError] = InputError, *, strict: bool = False) -> Any:
    """The content of a JSON text.

    Args:
        text: JSON, in bytes UTF-8.
        source: what it is called in errors.
        kind: of error to raise.
        strict: refuse objects with a key twice, of which Python would silently keep the last; slow for large files.

    Raises:
        GtptError: of the given kind: not JSON, too deep, or with a number of more digits than Python reads.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique if strict else None)
    except RecursionError:
        raise kind(f"{source} is not JSON that can be read: its brackets are nested too deep") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are two; so is a number of 5,000 digits
        raise kind(f"{source} is not JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return data


def read_yaml(path: Path) -> Any:
    """The content of a YAML file of settings; see `parse_yaml`.

    Raises:
        InputError: a file that is too large, and what `parse_yaml` refuses; names the file.
        OSError: a file that cannot be read.
    """
    with path.open("rb") as file:
        raw = file.read(YAML_BYTES + 1)
    if len(raw) > YAML_BYTES:
        raise InputError(f"{path} has more than {YAML_BYTES >> 10} kB: this is no file of settings or names")
    return parse_yaml(raw, str(path))


def parse_yaml(text: str | bytes, source: str) -> Any:
    """Plain data of a YAML text: mappings, lists, texts, numbers, booleans and null; anchors and merges are understood.

    Raises:
        InputError: not YAML, a key twice in one mapping, a tag for something that is not plain data, nested too deep, or
            aliases that stand for more than anybody writes.
    """
    try:
        loader = _PlainLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > YAML_NODES:
            raise yaml.YAMLError(f"with its aliases written out it has more than {YAML_NODES:,} entries")
        return loader.construct_document(node)
    except (yaml.YAMLError, *_SCALAR_ERRORS) as error:
        raise InputError(f"{source} is not YAML: {error}") from error


class _PlainLoader(yaml.SafeLoader):
    """Without dates and binary data, which JSON has not either, and with a limit on the depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > YAML_DEPTH:  # events are made while nodes are: what lies deeper was not even scanned
            raise yaml.YAMLError(f"it is nested deeper than {YAML_DEPTH} levels")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.YAMLError(f"the key {twice[1]!r} is there twice in one mapping, line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep=deep)


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or not tag.endswith((":timestamp", ":binary", ":omap", ":pairs", ":set"))
}


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many nodes there are with every alias written out; a node inside itself counts as too many."""
    if id(node) not in known:
        known[id(node)] = YAML_NODES + 1  # as long as it is being counted
        children: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_size(child, known) for child in children)
    return known[id(node)]
