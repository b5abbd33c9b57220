"""The application, its exit codes and how errors are shown."""

from __future__ import annotations

import io
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

import gtpt
from gtpt.cli.average import average
from gtpt.cli.batch import batch
from gtpt.cli.benchmark import benchmark
from gtpt.cli.convert import convert
from gtpt.cli.data import check, from_yolo, preview, synthesize
from gtpt.cli.detect import detect
from gtpt.cli.export import export
from gtpt.cli.info import info
from gtpt.cli.merge import merge
from gtpt.cli.options import Commands
from gtpt.cli.predict import predict
from gtpt.cli.serve import serve
from gtpt.cli.sweep import sweep
from gtpt.cli.train import test, train
from gtpt.cli.web import web
from gtpt.cli.weights import app as weights
from gtpt.core.errors import GtptError

FAILED, INTERRUPTED = 1, 130  # 2 is wrong usage, 3 partly done: see gtpt.prediction.outputs.Summary

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="GTPT: efficient human pose estimation.\n\nExit codes: 0 all done, 1 failed, 2 wrong usage, 3 done but something "
    "was skipped, 130 interrupted (what was done is kept).",
)
app.command()(predict)
app.command()(merge)
app.command()(detect)
app.command()(batch)
app.command()(train)
app.command()(test)
app.command()(convert)
app.command()(average)
app.command()(export)
app.command()(info)
app.command()(benchmark)
app.command()(sweep)
app.command()(web)
app.command()(serve)
data = typer.Typer(no_args_is_help=True, help="Look at data sets before training.")
data.command()(check)
data.command()(preview)
data.command()(synthesize)
data.command("from-yolo")(from_yolo)
app.add_typer(data, name="data")
app.add_typer(weights, name="weights")


@app.callback(invoke_without_command=True)
def options(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show what happens inside, and where errors come from."),
) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")
    if version:
        typer.echo(gtpt.__version__)
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line; errors that a user can mend are one message on stderr, and with -v their traceback too.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    _let_streams_show_anything()
    try:
        with _as_interrupts("SIGTERM", "SIGHUP"):
            app(args=None if arguments is None else list(arguments), prog_name="gtpt")
    except (GtptError, OSError, MemoryError) as error:
        logging.getLogger().info("where it comes from:", exc_info=True)  # the level of `-v`
        typer.secho(f"gtpt: {error or type(error).__name__}", fg="red", err=True)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        typer.secho("gtpt: interrupted", fg="red", err=True)  # a command that keeps something says so itself
        sys.exit(INTERRUPTED)


@contextmanager
def _as_interrupts(*names: str) -> Iterator[None]:
    """Let these signals end a command as Ctrl-C does: what was done is kept, and its files are complete."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()  # Python sets handlers nowhere else
    numbers = [getattr(signal, name) for name in names if main and hasattr(signal, name)]
    before = {n: signal.signal(n, interrupt) for n in numbers if signal.getsignal(n) is signal.SIG_DFL}  # not `nohup`'s
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _let_streams_show_anything() -> None:
    """Names of files hold characters that a terminal or log may not know: they are escaped instead of ending the work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
