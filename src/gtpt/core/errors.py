"""Errors that the user can mend: each names the value, what is allowed, and the fix.

    try:
        image = gtpt.read_image(path)
    except gtpt.GtptError as error:
        print(error)

Files and folders that are not there stay Python's own FileNotFoundError, a batch too large for the memory a MemoryError.
Whatever else is raised is a bug, of this package or of a function that was passed to it.
"""

from __future__ import annotations


class GtptError(ValueError):
    """Something that whoever called can mend; all of the below are one, and so a ValueError."""


class InputError(GtptError):
    """A value that was passed: an option, a field of a configuration, an array of the wrong shape or range."""


class SourceError(GtptError):
    """A photo, folder, video, stream or camera that gives no usable pictures."""


class AnnotationError(GtptError):
    """A file of annotations or boxes, or an entry of it, that says nothing usable."""


class WeightsError(GtptError):
    """Weights or a network that cannot be fetched, read, run or exported."""


class OutputError(OSError, GtptError):
    """Results that cannot be written: a full disk, no permission, a folder in the way. `errno` is that of the system."""


class MissingExtraError(ImportError, GtptError):
    """A library that is not installed; the message says what brings it, mostly an extra."""
