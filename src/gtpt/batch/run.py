"""`gtpt batch`: what is missing, in parts, to workers that Ray runs; parts that are there are done."""

from __future__ import annotations

import errno
import inspect
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gtpt.batch.inputs import Inputs, Part, list_inputs
from gtpt.batch.places import Place, place_of
from gtpt.batch.table import BEGUN, ERRORS, POSES, counts_of, parts_of
from gtpt.batch.worker import Worker
from gtpt.core.errors import GtptError, InputError, OutputError
from gtpt.core.extras import require
from gtpt.engines.processes import available_cores
from gtpt.io.formats.file import PARTIAL
from gtpt.prediction.options import Options, described
from gtpt.prediction.runner import Runner
from gtpt.prediction.shards import settings_of

MANIFEST = "manifest.json"
FORMAT, VERSION = "gtpt-batch", 1
PER_INPUT = 2048  # bytes of results that must have a place before the work, for every photo
STORE = 100 << 20  # bytes of Ray's object store of an embedded Ray: only names pass through it
logger = logging.getLogger(__name__)


@dataclass
class BatchSummary:
    """What OUTPUT holds now, and what this call did of it."""

    inputs: int
    ignored: int
    images: int
    people: int
    errors: int
    parts: int
    done_before: int
    workers: int

    @property
    def exit_code(self) -> int:
        """0 all done, 1 nothing usable, 3 with errors."""
        if not self.images:
            return 1
        return 3 if self.errors else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return vars(self)


def _with_batch_options(function: Callable[..., BatchSummary]) -> Callable[..., BatchSummary]:
    """Gives a function those parameters of `Options` that a batch has."""
    names = [name for name, (_, help_) in described().items() if help_.batch]
    options = [p for name, p in inspect.signature(Options).parameters.items() if name in names]
    own = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    function.__signature__ = inspect.signature(function).replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return function


@_with_batch_options
def batch(
    input: str | Path,  # noqa: A002
    output: str | Path,
    *,
    workers: int | None = None,
    progress: Callable[[Iterable[Part]], Iterable[Part]] | None = None,
    **options: Any,
) -> BatchSummary:
    """Find the people of very many photos and films, on this machine or on a Ray cluster.

    What OUTPUT holds already is not done again, so the same call goes on where an earlier one ended, however it ended.

    Args:
        input: a folder of photos and films, also in folders inside it; a *.parquet, or a folder of them, with a column
            `path` or `bytes`; each on this machine or at an address that pyarrow or fsspec knows (s3://bucket/photos).
        output: a folder or address for poses/*.parquet, errors/*.parquet and manifest.json; see docs/scale.md.
        workers: processes, each with the networks open. Default: one for every `threads` cores of the machine or cluster,
            or one for every GPU.
        progress: wraps the parts that are done, as they come.
        options: how people are found, see `gtpt.prediction.options.Options`. `threads` is that of each worker, 1 by
            default; `stride`, `start`, `end`, `track`, `smooth` and `detect_every` are about films.

    Raises:
        GtptError: inputs, options or an OUTPUT that cannot work, before any work; storage that failed meanwhile.
    """
    source, target = place_of(input), place_of(output)
    found = _checked_options(options)
    inputs = list_inputs(source)
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    _check_output(source, target, len(inputs))
    _check_same(target, found)
    _open_networks(found)
    _sweep(target)
    done = _done(target)
    missing = inputs.parts(done, workers or available_cores())
    before = len(inputs) - sum(len(part.sources) for part in missing)
    used = 0
    if missing:
        with _ray(workers, found) as used:
            results = _run(missing, source, target, found, used)
            for _ in (progress or iter)(missing):
                next(results, None)
    summary = _summary(target, inputs, before, used)
    _write_manifest(target, found, summary)
    return summary


def _checked_options(options: dict[str, Any]) -> Options:
    known = {name for name, (_, help_) in described().items() if help_.batch}
    if unknown := sorted(set(options) - known):
        raise TypeError(f"batch() has no option {unknown[0]!r}; it has {', '.join(sorted(known))}")
    found = Options(**{"threads": 1, **{k: v for k, v in options.items() if k != "threads" or v is not None}})
    found.check()
    if found.track:
        raise InputError("photos of a batch do not follow each other: leave out track; people in films are followed anyway")
    return found


def _open_networks(options: Options) -> None:
    """Say what is wrong with them here and now, and fetch what has to be fetched, before any worker does."""
    runner = Runner(options)
    runner.estimator, runner.finder  # noqa: B018


def _check_output(source: Place, target: Place, inputs: int) -> None:
    """OutputError unless results can be written and have a place; InputError where they would become inputs."""
    inside = target.path == source.path or target.path.startswith(f"{source.path.rstrip('/')}/")
    if target.files.type_name == source.files.type_name and inside and source.kind() == "folder":
        raise InputError(f"OUTPUT {target} lies in INPUT {source}, so its files would be inputs: choose another OUTPUT")
    if target.kind() == "file":
        raise OutputError(errno.EEXIST, f"cannot write to {target}: it is a file; choose another OUTPUT")
    with target.writing("_probe") as stream:
        stream.write(bytes(min(max(1 << 20, PER_INPUT * inputs), 1 << 26)))  # permissions do not tell of full disks
    target.files.delete_file(target.join("_probe"))
    if target.local and (free := shutil.disk_usage(target.path).free) < PER_INPUT * inputs:
        raise OutputError(
            errno.ENOSPC,
            f"{target} has {free >> 20:,} MB left, {inputs:,} inputs need about {PER_INPUT * inputs >> 20:,} MB",
        )


def _check_same(target: Place, options: Options) -> None:
    """All results of one OUTPUT are found in the same way; the first call says how."""
    head = _head(options)
    try:
        before = json.loads(target.read(MANIFEST))
        differing = sorted(k for k, v in head["options"].items() if v != before["options"].get(k))
        if (before["format"], before["version"]) != (FORMAT, VERSION):
            raise InputError(f"{target} was written by another version of gtpt batch: choose another OUTPUT")
    except FileNotFoundError:
        if parts_of(target):
            raise InputError(f"{target} has results but no {MANIFEST}: choose another OUTPUT") from None
        _write(target, {**head, "complete": False})
        return
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{target.join(MANIFEST)} is no manifest of gtpt batch: choose another OUTPUT") from error
    if differing:
        name = differing[0]
        values = f"{before['options'].get(name)!r} then, {head['options'][name]!r} now"
        raise InputError(f"{target} holds results of other options, {name}: {values}; choose another OUTPUT")
    if before["gtpt"] != head["gtpt"]:
        raise InputError(f"{target} was begun by gtpt {before['gtpt']}, this is {head['gtpt']}: choose another OUTPUT")


def _head(options: Options) -> dict[str, Any]:
    return {"format": FORMAT, "version": VERSION, "gtpt": version("gtpt"), "options": settings_of(options)}


def _write(target: Place, content: dict[str, Any]) -> None:
    with target.writing(MANIFEST) as stream:
        stream.write(f"{json.dumps(content, indent=1)}\n".encode())


def _sweep(target: Place) -> None:
    """Remove what killed workers left: halves, and errors of parts that were not done."""
    done = set(parts_of(target))
    for folder in (POSES, ERRORS, BEGUN):
        inside = Place(target.address, target.files, target.join(folder))
        for name, _ in inside.listing():
            if folder == BEGUN or name.endswith(PARTIAL) or (folder == ERRORS and name not in done):
                target.files.delete_file(inside.join(name))


def _done(target: Place) -> set[str]:
    """The inputs that have poses, or an error that says why not."""
    parquet, done = require("pyarrow.parquet", "ray"), set[str]()
    for folder in (POSES, ERRORS):
        inside = Place(target.address, target.files, target.join(folder))
        for name, _ in inside.listing():
            with target.files.open_input_file(inside.join(name)) as file:
                for rows in parquet.ParquetFile(file).iter_batches(columns=["source"]):
                    done.update(rows.column(0).unique().to_pylist())
    return done


@contextmanager
def _ray(workers: int | None, options: Options) -> Iterator[int]:
    """A Ray, that of RAY_ADDRESS, one that is open or one just for this, and how many workers it shall run."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what goes wrong comes as an exception
    ray = require("ray", "ray")
    require("ray.data", "ray")
    mine = not ray.is_initialized()
    gpu, threads = options.device.startswith("cuda"), options.threads or 1
    if mine:
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if not os.environ.get("RAY_ADDRESS"):
            workers_here = workers or max(available_cores() // threads, 1)
            quiet |= {"num_cpus": workers_here * threads, "include_dashboard": False, "object_store_memory": STORE}
        ray.init(**quiet)
    try:
        there = ray.cluster_resources()
        most = int(there.get("GPU", 0)) if gpu else int(there.get("CPU", 1)) // threads
        if most < (workers or 1):
            what = "GPUs" if gpu else f"times {threads} cores"
            raise InputError(
                f"{workers or 1} workers need as many {what}, this Ray has {most}: give fewer workers or threads"
            )
        yield workers or most
    finally:
        if mine:
            ray.shutdown()


def _run(missing: list[Part], source: Place, target: Place, options: Options, workers: int) -> Iterator[Any]:
    """Let Ray map the parts; yields the counts of each as it is done."""
    ray, data = require("ray", "ray"), require("ray.data", "ray")
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    names = {"input_address": source.address, "output_address": target.address, "options": options}
    workers = min(workers, len(missing))
    rows = data.from_items([{"part": part.to_json()} for part in missing], override_num_blocks=len(missing))
    mapped = rows.map_batches(
        Worker,
        batch_size=1,
        fn_constructor_kwargs=names,
        compute=data.ActorPoolStrategy(size=workers),
        num_cpus=options.threads or 1,
        num_gpus=1 if options.device.startswith("cuda") else None,
    )
    try:
        yield from mapped.iter_rows()
    except ray.exceptions.RayError as error:
        raise _plain(error) from error


def _plain(error: BaseException) -> BaseException:
    """What happened in a worker, without the traces of the way here."""
    seen: BaseException | None = error
    while seen is not None:
        cause = getattr(seen, "cause", None) or seen.__cause__
        if isinstance(seen, GtptError):
            return OutputError(seen.errno, str(seen.strerror)) if isinstance(seen, OutputError) else InputError(str(seen))
        seen = cause
    return error


def _summary(target: Place, inputs: Inputs, before: int, workers: int) -> BatchSummary:
    """From what is there, not from what was said on the way."""
    counts = [counts_of(target, name) for name in parts_of(target)]
    done = _done(target)
    if lost := [source for source in inputs if source not in done]:
        raise InputError(f"{len(lost):,} inputs are not in {target}, {lost[0]} first: run the same again")
    if sum(c["inputs"] for c in counts) > len(done):
        raise InputError(f"{target} holds inputs twice, as two calls wrote there at once: choose another OUTPUT")
    total = {name: sum(c[name] for c in counts) for name in ("images", "people", "errors")}
    return BatchSummary(len(inputs), inputs.ignored, **total, parts=len(counts), done_before=before, workers=workers)


def _write_manifest(target: Place, options: Options, summary: BatchSummary) -> None:
    counts = {name: counts_of(target, name) for name in parts_of(target)}
    size = {name: bytes_ for name, bytes_ in Place(target.address, target.files, target.join(POSES)).listing()}
    totals = {name: summary.to_dict()[name] for name in ("inputs", "ignored", "images", "people", "errors")}
    parts = {f"{POSES}/{name}": {**counts[name], "bytes": size[name]} for name in counts}
    _write(target, {**_head(options), "complete": True, **totals, "parts": parts})
