"""AP against milliseconds: what keep rates cost and gain, measured on exported files of one network."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from gtpt.benchmark import crops_to_keypoints, interleaved_seconds, machine, median_ratio
from gtpt.core.errors import InputError
from gtpt.core.extras import require
from gtpt.core.progress import Progress
from gtpt.io.formats.file import write_whole
from gtpt.model.config import PRESETS

if TYPE_CHECKING:
    from gtpt.model.network import GTPT

GRID = (  # besides the presets and the network's own
    (1, 1, 0.5, 0.3),
    (1, 0.7, 0.5, 0.3),
    (1, 0.7, 0.5, 0.1),
    (1, 0.7, 0.3, 0.05),
    (1, 0.7, 0.2, 0.1),
    (1, 0.5, 0.3, 0.1),
    (1, 0.5, 0.2, 0.1),
    (1, 0.4, 0.2, 0.1),
    (1, 0.3, 0.15, 0.05),
    (0.7, 0.5, 0.3, 0.1),
)
STATE = "sweep.json"


def sweep(
    weights: str | Path,
    annotations: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    keep_rates: Sequence[Sequence[float] | str] = (),
    people: int | None = None,
    flip: bool = False,
    engine: str = "onnxruntime",
    threads: int = 1,
    repeats: int = 40,
    progress: Progress = iter,
) -> dict[str, Any]:
    """AP and milliseconds per person for several keep rates of one network; the same as `gtpt sweep`.

    Each point is exported and measured on the data. Then all files are timed in turn, one person at a time, so that
    noise of the machine hits them alike. A sweep that was stopped goes on where it was: only the timing is made anew.

    Args:
        weights: registered name, *.safetensors, or an authors' *.pth.
        annotations, images: as of `gtpt.evaluate.test`; boxes are those of the ground truth.
        out: folder for sweep.json, sweep.csv, sweep.png (where matplotlib is installed) and the exported files.
        keep_rates: points, see `GTPTConfig.choose_keep_rates`; none: the presets and those of `GRID` that the network
            allows. The network's own rates are always among them, as the reference.
        people: measure on about so many, whole images spread evenly over the file; None for all.
        flip: AP with the flip test, which takes twice the time; milliseconds are always of one crop.
        engine, threads: see `gtpt.engines.open_engine`.
        repeats: rounds of timing.
        progress: wraps the list of points, e.g. a progress bar.

    Returns:
        The machine, the settings, and "rows" from slow to fast: keep_rates, preset (or None), file, gmacs, ap, ms, ratio to
            the network's own rates (2.0 is twice as fast), and front, whether no other row is at once faster and better.

    Raises:
        FileNotFoundError, ValueError, ImportError: files or rates that do not go together; an `out` of other settings.
    """
    for package, extra in (("torch", "export"), ("onnx", "export"), ("faster_coco_eval", "eval")):
        require(package, extra)
    from gtpt.data.annotations import read_annotations
    from gtpt.engines import open_engine
    from gtpt.evaluate.run import evaluate_network
    from gtpt.export.onnx import export_onnx
    from gtpt.model.info import count
    from gtpt.model.official import load_any
    from gtpt.weights import resolve

    path = resolve(weights, format="safetensors", task="pose")
    net, truth = load_any(path), read_annotations(annotations)
    points = _points(net, keep_rates)
    own = list(net.config.keep_rates)
    settings = {
        "weights": hashlib.sha256(path.read_bytes()).hexdigest(),
        "data": [str(annotations), str(images)],
        "people": people,
        "flip": flip,
        "engine": engine,
    }
    rows = _resumed(Path(out), settings)
    truth = truth if people is None else truth.sample(people)
    for rates in progress([r for r in points if r not in [row["keep_rates"] for row in rows]]):
        net.config = replace(net.config, keep_rates=tuple(rates))
        file = export_onnx(net, Path(out) / f"{'_'.join(f'{r:g}' for r in rates)}.onnx")
        network = open_engine(file, engine, threads=threads)
        ap = evaluate_network(network, truth, images, flip_test=flip).report.ap
        preset = next((name for name, of in PRESETS.items() if list(of) == rates), None)
        gmacs = round(count(net.config)[1] / 1e9, 3)
        rows.append({"keep_rates": rates, "preset": preset, "file": file.name, "gmacs": gmacs, "ap": ap})
        write_whole(Path(out) / STATE, json.dumps({"settings": settings, "rows": rows}).encode())
    rows = [row for row in rows if row["keep_rates"] in points]
    engines = [open_engine(Path(out) / row["file"], engine, threads=threads) for row in rows]
    seconds = interleaved_seconds([crops_to_keypoints(e, 1) for e in engines], repeats)
    reference = seconds[[row["keep_rates"] for row in rows].index(own)]
    rows = [
        {**row, "ms": round(1e3 * median(mine), 3), "ratio": round(median_ratio(mine, reference), 3)}
        for row, mine in zip(rows, seconds, strict=True)
    ]
    rows = sorted(({**row, "front": is_on_front(row, rows)} for row in rows), key=lambda row: -row["ms"])
    found: dict[str, Any] = {
        "machine": machine(),
        "settings": settings,
        "threads": threads,
        "repeats": repeats,
        "rows": rows,
    }
    write_whole(Path(out) / STATE, json.dumps(found, indent=1).encode())
    _write_table(Path(out) / "sweep.csv", rows)
    _draw(Path(out) / "sweep.png", rows, found["machine"])
    return found


def is_on_front(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> bool:
    """Whether no other point is at least as fast and at least as good, and one of both more so."""
    mine = row["ms"], -row["ap"]
    others = [(other["ms"], -other["ap"]) for other in rows]
    return not any(ms <= mine[0] and loss <= mine[1] and (ms, loss) != mine for ms, loss in others)


def _points(net: GTPT, chosen: Sequence[Sequence[float] | str]) -> list[list[float]]:
    """Rates to measure, each once: the network's own, then those chosen (checked) or the usual ones that it allows."""
    points = [net.config.keep_rates]
    for rates in chosen or (*PRESETS.values(), *GRID):
        try:
            points.append(net.config.choose_keep_rates(rates))
        except InputError:
            if chosen:
                raise
    return [list(rates) for rates in dict.fromkeys(points)]


def _resumed(out: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What an earlier call left in the folder: rows without times."""
    if not (out / STATE).is_file():
        return []
    state = json.loads((out / STATE).read_text())
    if state["settings"] != settings:
        raise InputError(f"{out} has a sweep of other settings, {state['settings']}: give another folder, or delete it")
    rows = [{key: row[key] for key in ("keep_rates", "preset", "file", "gmacs", "ap")} for row in state["rows"]]
    return [row for row in rows if (out / row["file"]).is_file()]


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows({**row, "keep_rates": " ".join(f"{r:g}" for r in row["keep_rates"])} for row in rows)


def _draw(path: Path, rows: Sequence[dict[str, Any]], title: str) -> None:
    """The points, and a line through the front; nothing without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.scatter([r["ms"] for r in rows], [100 * r["ap"] for r in rows], color="0.6")
    front = [r for r in rows if r["front"]]
    axes.plot([r["ms"] for r in front], [100 * r["ap"] for r in front], "o-", color="#0072b2")
    for row in rows:  # the names alone: rates would hide each other, and the table has them
        if row["preset"]:
            at = (row["ms"], 100 * row["ap"])
            axes.annotate(row["preset"], at, (6, -11), textcoords="offset points", fontsize="small")
    axes.margins(x=0.1)
    axes.set(xlabel="ms per person", ylabel="AP", title=title)
    figure.savefig(path)
