"""Imports run downwards only, also those for types and inside functions, and never in a circle."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/gtpt"
LAYERS = (  # from the ground up: each imports only itself and what stands before it
    *("core", "weights", "io", "model", "engines", "data", "detect"),
    *("estimator", "tracking", "viz", "pipeline"),
    *("export", "evaluate", "train", "about", "benchmark", "sweep", "prediction"),
    *("web", "serve", "batch", "gtpt", "cli", "__main__"),  # gtpt: the public face, gtpt/__init__.py
)
CONVENIENCES = {"gtpt.core.poses": {"gtpt.viz.poses", "gtpt.io.formats"}}  # methods that only call a function up there
CORE_NEEDS = {"numpy", "cv2", "yaml", "pydantic"}  # cv2 for one warpAffine, yaml and pydantic for skeleton files


def modules() -> dict[str, Path]:
    """Dotted name of each module of the package, and its file."""
    parts = {path: ("gtpt", *path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    return {".".join(p).removesuffix(".__init__"): path for path, p in parts.items()}


MODULES = modules()


@cache
def imports(module: str) -> set[str]:
    """Everything that a module imports, wherever it does, but for `CONVENIENCES`."""
    return {n for n in _imports(MODULES[module]) if not any(n.startswith(c) for c in CONVENIENCES.get(module, ()))}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module


def layer(module: str) -> str:
    return [*module.split("."), "gtpt"][1]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_downwards(module: str) -> None:
    assert layer(module) in LAYERS, f"{module}: say in LAYERS where it stands"
    below = LAYERS[: LAYERS.index(layer(module)) + 1]
    wrong = {name for name in imports(module) if name.split(".")[0] == "gtpt" and layer(name) not in below}
    assert not wrong, f"{module} imports from above: {sorted(wrong)}"


def test_no_circles() -> None:
    graph = {module: {name for name in imports(module) if name in MODULES} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {error.args[1]}")


def test_core_needs_little() -> None:
    outside = {n.split(".")[0] for m in MODULES if layer(m) == "core" for n in imports(m)}
    assert outside - sys.stdlib_module_names - {"gtpt", "__future__"} <= CORE_NEEDS
