"""Every option that `--help` shows is used by a test of its command."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from gtpt.cli.app import app

TESTS = sorted(Path(__file__).parent.glob("test_*.py"))


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group with the words that lead to it."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


def strings(node: ast.AST, constants: dict[str, set[str]]) -> set[str]:
    """The texts in a piece of a test, and in the module's constants that it names."""
    found = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return found.union(*(constants.get(name, set()) for name in names))


def used_together() -> list[set[str]]:
    """The texts of each test function."""
    together = []
    for path in TESTS:
        tree, constants = ast.parse(path.read_text(encoding="utf-8")), {}
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                constants[node.targets[0].id] = strings(node.value, constants)
            if isinstance(node, ast.FunctionDef):
                called = "run" in {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                implied = constants.get("run", set()) if called else set()
                together.append(strings(node, constants) | implied)
                constants[node.name] = strings(node, constants)
    return together


OPTIONS = [
    pytest.param(path, names, id=" ".join(("gtpt", *path, names[0])))
    for path, command in commands(typer.main.get_command(app))
    for option in command.params
    if (names := [n for n in (*option.opts, *option.secondary_opts) if n.startswith("-") and n != "--help"])
]


@pytest.mark.parametrize(("path", "names"), OPTIONS)
def test_option_is_used_by_a_test(path: tuple[str, ...], names: list[str]) -> None:
    runs = [texts for texts in used_together() if texts.issuperset(path)]
    assert any(texts & set(names) for texts in runs), f"no test gives gtpt {' '.join(path)} one of {names}"


def test_options_are_found() -> None:
    ids = {option.id for option in OPTIONS}
    assert len(ids) > 50 and {"gtpt predict --detect-every", "gtpt weights download --force", "gtpt --version"} <= ids
