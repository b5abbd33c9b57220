"""What results look like outside: each format with its converter and its writer. Every schema is in docs/formats.md."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Protocol

from gtpt.core.errors import InputError
from gtpt.core.poses import Poses
from gtpt.io.formats.coco import to_coco
from gtpt.io.formats.csv import to_csv
from gtpt.io.formats.openpose import to_openpose
from gtpt.io.formats.supervision import to_supervision
from gtpt.io.formats.table import to_pandas, to_table

__all__ = [
    "ENDINGS",
    "FORMATS",
    "Writer",
    "open_writer",
    "to_coco",
    "to_csv",
    "to_openpose",
    "to_pandas",
    "to_supervision",
    "to_table",
]

# format: extension, module, class; imported when asked for, as Parquet needs an extra
_FORMATS = {
    "jsonl": (".jsonl", "jsonl", "JSONLWriter"),
    "coco": (".json", "coco", "COCOWriter"),
    "csv": (".csv", "csv", "CSVWriter"),
    "npz": (".npz", "npz", "NPZWriter"),
    "parquet": (".parquet", "parquet", "ParquetWriter"),
    "openpose": ("", "openpose", "OpenPoseWriter"),
    "controlnet": ("", "openpose", "ControlNetWriter"),
}
FORMATS = tuple(_FORMATS)
FOLDER_FORMATS = tuple(name for name, (extension, _, _) in _FORMATS.items() if not extension)
ENDINGS = {name: extension or "_openpose" for name, (extension, _, _) in _FORMATS.items()}  # of file or folder names


class Writer(AbstractContextManager["Writer"], Protocol):
    """Takes the poses of one image after the other.

    Files appear under their name on `close`, complete; until then they grow beside it as NAME.partial. After an error what
    was written is kept and valid, except that nothing at all does not replace an older file.
    """

    def write(self, poses: Poses, *, frame: int, time: float, name: str, image_id: int | str | None = None) -> None:
        """Add the people of one image; an image with nobody is recorded too where the format has a place for it.

        Args:
            frame: number of the frame or photo, from 0; unique in one file.
            time: seconds from the start of the video, `Frame.time`.
            name: file name of the photo or video; two photos of the same name are two.
            image_id: what the file of the ground truth calls the image; only COCO results have a place for it.

        Raises:
            OSError: full disk, no permission; the message names the file. What was written before is kept.
            ValueError: another skeleton than before, where a file is for one: JSON lines, COCO, NPZ.
        """

    def close(self) -> None:
        """Finish the file; a second call does nothing."""


def open_writer(path: str | Path, format: str | None = None) -> Writer:  # noqa: A002
    """A writer for a file, or for a folder of OpenPose files.

    Args:
        path: .jsonl, .json (COCO results), .csv, .npz, .parquet, or a folder (OpenPose). Missing folders are made.
        format: one of `FORMATS`, to go against the extension; "controlnet" writes what ControlNet's editors read.

    Raises:
        ValueError: unknown format or extension; the message lists the known ones.
        OSError: the file cannot be written there (read-only folder, a folder of that name); raised now, not after the work.
        ImportError: Parquet without its extra.
    """
    path = Path(path)
    chosen = _format_of(path) if format is None else format
    if chosen not in _FORMATS:
        raise InputError(f"unknown result format {chosen!r}: use one of {list(FORMATS)}")
    _, module, writer = _FORMATS[chosen]
    opened: Writer = getattr(import_module(f"gtpt.io.formats.{module}"), writer)(path)
    return opened


def _format_of(path: Path) -> str:
    extensions = {extension: name for name, (extension, _, _) in _FORMATS.items() if extension}
    if path.is_dir() or not path.suffix:
        return "openpose"
    if (extension := path.suffix.lower()) in extensions:
        return extensions[extension]
    raise InputError(f"{path}: no result format for {extension!r}: use {', '.join(extensions)} or a folder (OpenPose)")
