"""GTPT and RTMPose, AP against milliseconds, from the tables of docs/benchmarks.md: `python benchmarks/plot.py`.

Run it after `python benchmarks/tables.py rivals rivals-whole-body`.
"""

from __future__ import annotations

import typer
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter
from tables import PAGE, ROOT, TABLE

PICTURE = ROOT / "docs/images/rivals.png"
FAMILIES = {"GTPT": "#0072b2", "RTMPose": "#d55e00"}
PANELS = {"rivals": "17 points, COCO", "rivals-whole-body": "133 points, COCO-WholeBody"}


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    bodies = {table["name"]: table["body"] for table in TABLE.finditer(page)}
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        for family, colour in FAMILIES.items():
            points = one_thread(bodies[name], family)
            axes.plot([ms for _, ms, _ in points], [ap for _, _, ap in points], "o-", ms=14, color=colour, label=family)
            for size, ms, ap in points:
                axes.annotate(size.lower(), (ms, ap), ha="center", va="center_baseline", color="white")
        axes.set(title=title, xlabel="ms, one person, one thread", ylabel="published AP", xscale="log")
        axes.legend(loc="lower right", markerscale=0.5)
        axes.margins(0.15)
        ticks = [tick for tick in (5, 10, 20, 50, 100, 200) if axes.get_xlim()[0] < tick < axes.get_xlim()[1]]
        axes.set_xticks(ticks)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    figure.savefig(PICTURE, dpi=100)


def one_thread(body: str, family: str) -> list[tuple[str, float, float]]:
    """Size, milliseconds and AP of a family's networks in the first part of a table, fastest first."""
    header, _, *rows = [line.strip("| ").split(" | ") for line in body.splitlines() if line.startswith("|")]
    name, ap, ms = (header.index(column) for column in ("network", "AP", "ms, 1 person"))
    if header in rows:
        rows = rows[: rows.index(header)]
    named = [(*row[name].split("-"), float(row[ms]), float(row[ap])) for row in rows if row[name].count("-") == 1]
    return sorted((point[1:] for point in named if point[0].lower() == family.lower()), key=lambda point: point[1])


if __name__ == "__main__":
    typer.run(main)
