"""The work of `gtpt detect`: people are found once, and kept for whatever wants their boxes."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.errors import GtptError, InputError
from gtpt.core.geometry import xyxy_to_xywh
from gtpt.core.numbers import shortest, to_json_text
from gtpt.detect import DEFAULT_DETECTOR, Detections, Detector, GivenBoxes, as_detector, load_boxes, make_detector
from gtpt.io.formats.file import naming_errors, write_whole
from gtpt.io.sources import Frame, Source, open_source
from gtpt.prediction.journal import DAMAGE, Stamp, open_alone, stamp_of
from gtpt.prediction.outputs import SourceSummary, Summary, source_name
from gtpt.prediction.progress import show_progress
from gtpt.prediction.shards import as_setting
from gtpt.prediction.sources import GONE, Sources, are_photos, as_names, frames_of, grouped, is_there, of_the_source

AT_ONCE = 8  # images per call of the detector
PERSON = 1  # COCO's category

Rows = list[dict[str, Any]]


def write_detections(
    sources: Sources,
    out: str | Path = "detections.json",
    *,
    detector: str | Path | Callable[[Sequence[np.ndarray]], Sequence[Any]] = DEFAULT_DETECTOR,
    detector_threshold: float | None = None,
    annotations: str | Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    quiet: bool = False,
) -> Summary:
    """Find people and write their boxes as COCO results; the same as `gtpt detect`.

    Images that are done are noted in OUT.journal: after Ctrl-C, a kill or a crash the same call goes on with the others.
    OUT itself is complete or not there.

    Args:
        sources: photos and folders of photos, or one video.
        out: a *.json, which `data.boxes` of an experiment, `gtpt test --boxes` and `gtpt predict --boxes` read.
        detector: registered name, a YOLOX *.onnx, "whole-image", or what `gtpt.detect.as_detector` takes.
        detector_threshold: people with a lower score are left out; None: 0.3.
        annotations: a COCO file: images get its ids, those that it does not list are skipped, and boxes are on the pixels
            that it means, see `gtpt.core.geometry.meant_pixels`. Without it the id of a photo is the number that names it,
            as COCO's are named, or else its file name, and that of a video's frame is its number.
        device, threads: of the detector.
        quiet: show no progress bar.

    Returns:
        What was found and what was skipped; Ctrl-C ends the call, it does not raise.

    Raises:
        GtptError, OSError: a detector, annotations or a place for the results that cannot work.
    """
    names, out = as_names(sources), Path(out)
    groups = list(grouped(names))
    if out.suffix != ".json":
        raise InputError(f"detections are written to a *.json, got {str(out)!r} (out)")
    if len(groups) > 1 and not all(map(are_photos, groups)):
        raise InputError("frames of several videos have the same numbers: give one video, or photos and folders of photos")
    if not any(map(is_there, names)):
        return Summary(skipped=[(name, GONE) for name in names])
    if out.exists() and any(
        Path(p).exists() and out.samefile(p) for p in (*names, *([annotations] if annotations else []))
    ):
        raise InputError(f"this call reads {out}: choose another name for the detections (out)")
    if callable(detector):
        if detector_threshold is not None:
            raise InputError("a detector of your own has its own threshold: leave out that of gtpt")
        finder = as_detector(detector)
    else:
        finder = make_detector(detector, threshold=detector_threshold, device=device, threads=threads)
    listed = None if annotations is None else load_boxes(annotations)
    settings = [version("gtpt"), as_setting(detector), detector_threshold, as_setting(annotations)]
    with _Journal(out, settings) as journal:
        return _Call(finder, listed, journal, quiet).run(groups)


class _Journal(AbstractContextManager["_Journal"]):
    """The results of images that are done, one image a line, beside the file that they become.

    Args:
        out: that file.
        settings: what results depend on, as JSON: those of other settings are thrown away.

    Attributes:
        done: key of an image -> the state of its file, and its results.

    Raises:
        OutputError: nothing can be written there, or another call writes the same file.
    """

    def __init__(self, out: Path, settings: list[Any]):
        self.out, self._path = out, Path(f"{out}.journal")
        self.done: dict[str, tuple[Stamp | None, Rows]] = {}
        with naming_errors(out):
            if out.is_dir():
                raise IsADirectoryError(errno.EISDIR, "there is a folder of that name")
            out.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_alone(self._path, str(out))
        try:
            with naming_errors(out):
                self._begin(f"{json.dumps(settings)}\n".encode())
        except BaseException:
            self._file.close()
            raise

    def _begin(self, head: bytes) -> None:
        first, *lines = self._file.read().splitlines(keepends=True) or [b""]
        end = len(head) if first == head else 0
        for line in lines if end else ():
            try:
                key, state, rows = json.loads(line if line.endswith(b"\n") else b"")
            except DAMAGE:
                break
            self.done[key] = state, rows
            end += len(line)
        self._file.seek(end)
        self._file.truncate()
        if not end:
            self._file.write(head)

    def has(self, frame: Frame) -> bool:
        """Whether this image is done, and its file is the one of then."""
        return frame.key in self.done and self.done[frame.key][0] == stamp_of(frame)

    def add(self, frame: Frame, rows: Rows) -> None:
        state = stamp_of(frame)
        with naming_errors(self.out):
            self._file.write(f"{to_json_text([frame.key, state, rows])}\n".encode())
        self.done[frame.key] = state, rows

    def finish(self, keys: Sequence[str]) -> None:
        """Write the file, with the results of these images."""
        rows = (to_json_text(row) for key in keys for row in self.done[key][1])
        write_whole(self.out, ("[\n" + ",\n".join(rows) + "\n]\n").encode())
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __exit__(self, *error: object) -> None:
        self._file.close()


class _Call:
    """Works through sources with one detector."""

    def __init__(self, finder: Detector, listed: GivenBoxes | None, journal: _Journal, quiet: bool):
        self.finder, self.listed, self.journal, self.quiet = finder, listed, journal, quiet
        self._key_of: dict[int | str, str] = {}  # by the image's id

    def run(self, groups: Sequence[str | list[str]]) -> Summary:
        summary = Summary()
        try:
            for source in groups:
                try:
                    self._work(source, summary)
                except GtptError as error:
                    summary.skipped.append((source_name(source), str(error)))
        except KeyboardInterrupt:
            summary.interrupted = True
            return summary
        if self._key_of:
            self.journal.finish(list(self._key_of.values()))
            summary.sources[0].files = [str(self.journal.out)]
        return summary

    def _work(self, source: str | list[str], summary: Summary) -> None:
        with of_the_source():
            opened = open_source(source)
        with opened:
            found = SourceSummary(source_name(source))
            summary.sources.append(found)
            try:
                for rows in show_progress(self._rows(opened), opened, self.quiet, len):
                    found.frames, found.people = found.frames + 1, found.people + len(rows)
            finally:
                summary.add_skipped(opened.skipped)

    def _rows(self, opened: Source) -> Iterator[Rows]:
        """Results of each image, from the journal or from the detector."""
        wanted = self._wanted(opened)
        while chunk := list(islice(wanted, AT_ONCE)):
            new = [frame for frame, _ in chunk if not self.journal.has(frame)]
            found = self.finder([f.image for f in new], [f.key for f in new]) if new else []
            people = {frame.key: one for frame, one in zip(new, found, strict=True)}
            for frame, image_id in chunk:
                if frame.key in people:
                    self.journal.add(frame, self._results(people[frame.key], frame, image_id))
                self._key_of[image_id] = frame.key
                yield self.journal.done[frame.key][1]

    def _wanted(self, opened: Source) -> Iterator[tuple[Frame, int | str]]:
        """Images with the id of each; two of one id are one too many."""
        given: dict[int | str, str] = dict(self._key_of)
        for frame in frames_of(opened):
            image_id = _own_id(frame) if self.listed is None else self.listed.image_id(frame.key)
            if image_id is None:
                opened.skipped.add(frame.key, "the annotations do not list it")
            elif given.setdefault(image_id, frame.key) != frame.key:
                opened.skipped.add(frame.key, f"its image id {image_id!r} is that of {given[image_id]}")
            else:
                yield frame, image_id

    def _results(self, found: Detections, frame: Frame, image_id: int | str) -> Rows:
        if self.listed is not None:
            found = self.listed.as_annotated(found, frame)
        boxes, scores = shortest(xyxy_to_xywh(found.boxes)), shortest(found.scores)
        return [
            {"image_id": image_id, "category_id": PERSON, "bbox": box, "score": score}
            for box, score in zip(boxes, scores, strict=True)
        ]


def _own_id(frame: Frame) -> int | str:
    stem = Path(frame.key).stem
    return int(stem) if stem.isdecimal() else frame.name
