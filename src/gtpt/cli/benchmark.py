"""`gtpt benchmark`: see `gtpt.measure`."""

from __future__ import annotations

import typer


def benchmark(
    weights: list[str] = typer.Argument(None, help="Registered names or files; default: gtpt-t-coco17."),
    reference: str = typer.Option(None, help="What the others are compared with. Default: the first of the weights."),
    batch: list[int] = typer.Option([1, 32], help="People per call; can be given several times."),
    engine: str = typer.Option(None, help="onnxruntime, openvino or torch. Default: what reads the weights."),
    device: str = typer.Option("cpu", help="cpu, cuda, ..."),
    threads: int = typer.Option(1, min=1, help="CPU threads of the network."),
    precision: str = typer.Option("float32", help="float32, or bfloat16 (openvino)."),
    repeats: int = typer.Option(20, min=3, help="Pairs of runs."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Milliseconds and people per second of the network with its decoding, on one frame's crops.

    Machines are noisy: each measurement is paired with one of the reference right beside it, and the ratio is the median of
    the pairs. 2.0 is twice as fast as the reference.
    """
    import json

    from gtpt.estimator import DEFAULT_WEIGHTS
    from gtpt.measure import benchmark as run

    found = run(
        weights or [DEFAULT_WEIGHTS],
        reference=reference,
        batch=batch,
        engine=engine,
        device=device,
        threads=threads,
        precision=precision,
        repeats=repeats,
    )
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(
        f"{found['machine']}; {threads} thread(s), {device}, {precision}; "
        f"ratio to {found['reference']}, median of {repeats} pairs"
    )
    width = max(len(r["weights"]) for r in found["rows"])
    typer.echo(f"{'weights':<{width}}  batch        ms   people/s   ratio")
    for r in found["rows"]:
        typer.echo(
            f"{r['weights']:<{width}}  {r['batch']:>5} {r['ms']:>9.2f} {r['people_per_s']:>10.1f} {r['ratio']:>7.2f}"
        )
