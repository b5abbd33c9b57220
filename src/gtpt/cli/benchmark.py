"""`gtpt benchmark`: see `gtpt.benchmark`."""

from __future__ import annotations

from typing import Any

import typer


def benchmark(
    weights: list[str] = typer.Argument(None, help="Registered names or files; default: gtpt-t-coco17."),
    reference: str = typer.Option(
        None,
        help="Weights that the others are compared with, in the first engine, precision and threads. Default: the first.",
    ),
    batch: list[int] = typer.Option([1, 32], min=1, help="People per call. Can be given several times, as the next three."),
    engine: list[str] = typer.Option(None, help="onnxruntime, openvino or torch. Default: what reads the weights."),
    threads: list[int] = typer.Option([1], min=1, help="CPU threads of the network."),
    precision: list[str] = typer.Option(["float32"], help="float32, bfloat16 (openvino), or auto."),
    device: str = typer.Option("cpu", help="cpu, cuda, ..."),
    detector: str = typer.Option(
        None,
        help="Measure whole 1280x720 frames: this detector, by name or file, and the crops and poses of the people of "
        "--batch. The frame is noise, in which nobody is found: their boxes are given.",
    ),
    repeats: int = typer.Option(20, min=3, help="Pairs of runs."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Milliseconds and people per second of networks with their decoding, for each combination of what is given.

    Without --detector a person is one crop, one image of the network. Machines are noisy: each measurement is paired with
    one of the reference right beside it, and the ratio is the median of the pairs. 2.0 is twice as fast as the reference.
    """
    import json

    from gtpt.benchmark import benchmark as run
    from gtpt.estimator import DEFAULT_WEIGHTS

    found = run(
        weights or [DEFAULT_WEIGHTS],
        reference=reference,
        batch=batch,
        engine=engine or [None],
        device=device,
        threads=threads,
        precision=precision,
        detector=detector,
        repeats=repeats,
    )
    typer.echo(json.dumps(found) if as_json else _table(found))


def _table(found: dict[str, Any]) -> str:
    keys = ["weights", "engine", "precision", "threads", "batch", "ms", "people_per_s", "ratio"]
    if found["detector"]:
        keys.insert(-1, "frames_per_s")
    table = [[key.replace("_per_s", "/s") for key in keys]]
    rows = [{**row, "ratio": "reference"} if row.get("ratio", "") is None else row for row in found["rows"]]
    table += [[str(row.get(key, "-")) for key in keys] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.rjust, cells, widths)) for cells in table]
    remarks = ["", *(row.get("error", "") for row in found["rows"])]
    detector = f", detector {found['detector']}" if found["detector"] else ""
    head = [
        f"{found['machine']}; {found['device']}{detector}; medians of {found['repeats']} pairs",
        f"ratio to {found['reference']}, with the same batch",
    ]
    return "\n".join([*head, *(f"{line}  {remark}".rstrip() for line, remark in zip(lines, remarks, strict=True))])
