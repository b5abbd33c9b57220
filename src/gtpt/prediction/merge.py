"""From the shares of a call to what one call would have written: the same writers get the same results in order."""

from __future__ import annotations

import heapq
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from gtpt.core.errors import InputError
from gtpt.core.poses import Poses
from gtpt.io.formats import ENDINGS, FOLDER_FORMATS, open_writer
from gtpt.io.formats.file import PARTIAL, naming_errors
from gtpt.prediction.outputs import OutputFolder, SourceSummary, Summary, file_stem
from gtpt.prediction.runner import files_read
from gtpt.prediction.shards import RECORD, Shard


def merge(shards: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Summary:
    """Join the shards of `predict(..., shard="3/16")` into what one call would have written, whatever the format.

        gtpt.merge("out")                                # of out/shard-1-of-16 ... out/shard-16-of-16, into out

    Args:
        shards: their folders, or folders that hold them. They are only read.
        out: folder for the results; None: the one that holds the first shard.

    Returns:
        What `predict` would have returned.

    Raises:
        InputError: shards that are missing, there twice, not finished, damaged, or of different calls; says which, and
            comes before anything is written.
        OutputError: results that cannot be written.
    """
    folders = list(_folders([shards] if isinstance(shards, (str, Path)) else shards))
    found = sorted(map(Shard, folders), key=lambda shard: shard.share.number)
    _check_complete(found)
    _check_alike(found)
    first = found[0]
    folder = OutputFolder(first.folder.parent if out is None else out, files_read(first.head["reads"]))
    summary = Summary(skipped=list(dict.fromkeys(chain.from_iterable(shard.skipped for shard in found))))
    lines = [_Lines(shard) for shard in found]
    for number, name in enumerate(first.head["sources"]):
        if parts := [line for line in lines if number in line.shard.sources]:
            summary.sources.append(_join(number, name, parts, folder))
    return summary


def _folders(given: Iterable[str | Path]) -> Iterator[Path]:
    for folder in map(Path, given):
        if not folder.is_dir():
            raise InputError(f"no such folder: {folder}")
        inside = [folder] if (folder / RECORD).is_file() else sorted(folder.glob("shard-*-of-*"))
        if not inside:
            raise InputError(f"{folder} is no shard and holds none: give folders of `gtpt predict ... --shard i/n`")
        yield from inside


def _check_complete(shards: Sequence[Shard]) -> None:
    """Each share exactly once."""
    first = shards[0]
    seen: dict[int, Shard] = {}
    for shard in shards:
        if shard.share.count != first.share.count:
            raise InputError(
                f"{first.folder} is share {first.share} and {shard.folder} is share {shard.share}: shards of one call "
                f"have the same n, give only those"
            )
        if twice := seen.get(shard.share.number):
            raise InputError(f"share {shard.share} is there twice: {twice.folder} and {shard.folder}; leave out one")
        seen[shard.share.number] = shard
    if missing := [str(number) for number in range(1, first.share.count + 1) if number not in seen]:
        names = ", ".join(missing[:20]) + (f" and {len(missing) - 20} more" if len(missing) > 20 else "")
        raise InputError(f"of {first.share.count} shards these are missing: {names}; run them, or give their folders too")


def _check_alike(shards: Sequence[Shard]) -> None:
    """All of the same call: the same sources, options and version."""
    first = shards[0]
    for shard in shards[1:]:
        both = f"{first.folder} and {shard.folder}"
        if shard.head["gtpt"] != first.head["gtpt"]:
            versions = f"{first.head['gtpt']} and {shard.head['gtpt']}"
            raise InputError(f"{both} were made by gtpt {versions}: run one of them again with the other's version")
        if differing := {k for k, v in shard.head["options"].items() if v != first.head["options"].get(k)}:
            name = min(differing)
            values = f"{first.head['options'].get(name)!r} and {shard.head['options'][name]!r}"
            raise InputError(
                f"{both} were made with other options, {name}: {values}; run one of them again with the other's"
            )
        if [Path(name).name for name in shard.head["sources"]] != [Path(name).name for name in first.head["sources"]]:
            raise InputError(f"{both} are of other sources: run one of them again with those of the other")
    for number, name in enumerate(first.head["sources"]):
        listings = {(part["photos"], part["listing"]) for s in shards if "photos" in (part := s.sources.get(number, {}))}
        if len(listings) > 1:
            counts = " and ".join(f"{count:,}" for count, _ in sorted(listings))
            raise InputError(
                f"the shards have not seen the same photos in {name} ({counts}): it changed between the calls; run all "
                f"shards again, or those that are older than the change"
            )


@dataclass
class _Frame:
    content: dict[str, Any]
    drawn: list[dict[str, Any]] = field(default_factory=list)
    folder: Path = Path()


class _Lines:
    """The lines of a shard, one source after the other."""

    def __init__(self, shard: Shard) -> None:
        self.shard, self._lines = shard, shard.lines()
        self.film: dict[str, Any] | None = None
        self.failed = False

    def frames(self) -> Iterator[_Frame]:
        """Those of its next source; what else it says of that is known after the last one."""
        opening, frame = next(self._lines), None
        self.film = None
        for line in self._lines:
            if "drawn" in line and opening["moving"] and line["drawn"].endswith(".mp4"):
                self.film = line
            elif "drawn" in line and frame is not None:
                frame.drawn.append(line)
            else:
                if frame is not None:
                    yield frame
                frame = _Frame(line, folder=self.shard.folder)
            if "end" in line:
                self.failed = line["failed"]
                return


def _join(number: int, name: str, parts: Sequence[_Lines], folder: OutputFolder) -> SourceSummary:
    """Write the results of one source."""
    summary, opening = SourceSummary(name), parts[0].shard.sources[number]
    frames = heapq.merge(*(part.frames() for part in parts), key=lambda frame: int(frame.content["frame"]))
    first = next(frames, None)
    if first is None and any(part.failed for part in parts):
        return summary
    kind = opening["kind"]
    path = folder.place(f"{file_stem(name)}{ENDINGS[kind]}", folder=kind in FOLDER_FORMATS)
    summary.files.append(str(path))
    with open_writer(path, kind) as writer:
        for frame in chain([first] if first else [], frames):
            content = frame.content
            poses = Poses.from_dict(content)
            place = {key: content[key] for key in ("frame", "time", "name")}
            writer.write(poses, **place, image_id=content.get("image_id"))
            summary.frames, summary.people = summary.frames + 1, summary.people + len(poses)
            summary.files.extend(_copy(frame.folder, drawn, folder) for drawn in frame.drawn)
    summary.files.extend(_copy(p.shard.folder, p.film, folder) for p in parts if p.film is not None)
    return summary


def _copy(source: Path, drawn: dict[str, Any], folder: OutputFolder) -> str:
    """A picture or film under the name that one call would have given it; on the same disk it takes no space."""
    path = folder.place(drawn["drawn"])
    with naming_errors(path):
        partial = Path(f"{path}{PARTIAL}")
        partial.unlink(missing_ok=True)
        try:
            os.link(source / drawn["file"], partial)
        except OSError:  # another disk, or one that knows no links
            shutil.copyfile(source / drawn["file"], partial)
        os.replace(partial, path)
    return str(path)
