"""What became of the mutants of the last `mutmut run`, by module: `python tools/mutants.py`.

A mutant is one small change of the code, such as a `+` for a `-`; tests should fail for it. `mutmut show NAME` prints a
survivor's change. `make mutants` runs both; MUTANTS='*[37]' takes those whose number ends in 3 or 7, a fifth of all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "mutants"
TIMED_OUT = dict.fromkeys((36, -24, 152), "timed out")  # hangs, or the machine is too busy to tell
STATES = {0: "survived", 1: "killed", None: "not run", 5: "no test", 33: "no test", **TIMED_OUT}  # by exit code


def results() -> Iterator[tuple[str, str, str]]:
    """Module, mutant and state."""
    for path in sorted(FOLDER.rglob("*.meta")):
        module = path.relative_to(FOLDER / "src/gtpt").as_posix().removesuffix(".py.meta")
        for mutant, code in json.loads(path.read_text())["exit_code_by_key"].items():
            yield module, mutant, STATES.get(code, "killed")  # or crashed


def main() -> None:
    found = list(results())
    modules = dict.fromkeys(module for module, *_ in found)
    counts = {module: Counter(state for m, _, state in found if m == module) for module in modules}
    counts["all"] = sum(counts.values(), Counter())
    print("| module | mutants | tried | killed | share |\n|---|---:|---:|---:|---:|")
    for module, count in counts.items():
        tried, killed = count.total() - count["not run"], count["killed"]
        print(f"| {module} | {count.total()} | {tried} | {killed} | {killed / max(tried, 1):.0%} |")
    print("\nalive:")
    for _, mutant, state in found:
        if state in ("survived", "no test", "timed out"):
            print(f"  {mutant} ({state})")


if __name__ == "__main__":
    main()
