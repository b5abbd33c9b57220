"""The tables of docs/benchmarks.md, measured anew and put in their places: `python benchmarks/tables.py [NAME ...]`.

    python benchmarks/tables.py                     # all, one after the other, on a machine that does nothing else
    python benchmarks/tables.py paper-form profile  # some
    python benchmarks/tables.py --crops CROPS.zip --training TRAINING.zip  # also those that need real people

A table stands between `<!-- table NAME -->` and `<!-- end -->`, and its first line is the command that prints the rest.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import typer

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks.md"
TABLE = re.compile(r"<!-- table (?P<name>\S+) -->\n`(?P<command>[^`]+)`\n(?P<body>.*?)<!-- end -->", re.DOTALL)


def main(
    names: list[str] = typer.Argument(None, help="Tables to measure; all without."),
    crops: Path = typer.Option(None, help="Crops of people with their annotations, for CROPS.zip in a command."),
    training: Path = typer.Option(None, help="Likewise for TRAINING.zip."),
) -> None:
    commands = {table["name"]: table["command"] for table in TABLE.finditer(PAGE.read_text(encoding="utf-8"))}
    if unknown := set(names or ()) - set(commands):
        raise typer.BadParameter(f"no table {sorted(unknown)}: there are {list(commands)}")
    places = {"CROPS.zip": crops, "TRAINING.zip": training}
    for name in names or commands:
        if missing := [p for p, path in places.items() if p in commands[name] and path is None]:
            print(f"{name}: left as it is, for want of {', '.join(missing)}", flush=True)
            continue
        print(f"{name}: {commands[name]}", flush=True)
        body = output(commands[name], places)
        page = PAGE.read_text(encoding="utf-8")  # only now, as somebody may have written meanwhile
        PAGE.write_text(put(page, name, body), encoding="utf-8")


def output(command: str, places: dict[str, Path | None]) -> str:
    """What a command prints. `gtpt` and `python` are those of this environment."""
    words = [str(places.get(word) or word) for word in shlex.split(command)]
    words = {"python": [sys.executable], "gtpt": [sys.executable, "-m", "gtpt"]}[words[0]] + words[1:]
    return subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def put(page: str, name: str, body: str) -> str:
    """The page with another table of that name."""

    def replaced(table: re.Match[str]) -> str:
        if table["name"] != name:
            return table[0]
        return f"<!-- table {name} -->\n`{table['command']}`\n\n{body.strip()}\n<!-- end -->"

    return TABLE.sub(replaced, page)


if __name__ == "__main__":
    typer.run(main)
