"""What a user can mend skips a source; what is a bug comes through with its traceback."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import gtpt
from gtpt import GtptError
from gtpt.core import errors

PHOTOS = Path(__file__).parents[2] / "examples/photos"


@pytest.mark.parametrize("error", [ValueError, OSError, ImportError, KeyError])
def test_a_bug_in_a_detector_of_ones_own_comes_through(error: type[Exception], tmp_path: Path) -> None:
    def detector(images: list[np.ndarray]) -> list[np.ndarray]:
        raise error("a slip of mine")

    with pytest.raises(error, match="a slip of mine"):
        gtpt.predict(PHOTOS / "cameraman.jpg", tmp_path, detector=detector, quiet=True)


@pytest.mark.parametrize("boxes", [[], [np.array([[9.0, 9.0, 1.0, 1.0]])], ["nothing"]])
def test_so_does_a_result_that_cannot_be(boxes: list, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="detector") as caught:
        gtpt.predict(PHOTOS / "cameraman.jpg", tmp_path, detector=lambda images: boxes, quiet=True)
    assert not isinstance(caught.value, GtptError)


def test_a_broken_source_is_skipped_and_its_traceback_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with caplog.at_level(logging.INFO, logger="gtpt"):
        photo = PHOTOS / "cameraman.jpg"
        summary = gtpt.predict([photo, broken], tmp_path / "out", boxes="whole-image", quiet=True)
    assert summary.exit_code == 3 and [name for name, _ in summary.skipped] == [str(broken)]
    assert any(record.exc_info and record.exc_info[0] is errors.SourceError for record in caplog.records)


def test_a_source_that_breaks_off_with_a_system_error_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("gtpt.io.sources.photos.read_file", gone)
    summary = gtpt.predict(PHOTOS / "cameraman.jpg", tmp_path, boxes="whole-image", quiet=True)
    assert summary.exit_code == 1 and "Input/output error" in summary.skipped[0][1]


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(errors.OutputError, match="cannot write to the folder"):
        gtpt.predict(PHOTOS / "cameraman.jpg", tmp_path / "out", boxes="whole-image", quiet=True)


@pytest.mark.parametrize(
    "name", ["InputError", "SourceError", "AnnotationError", "WeightsError", "OutputError", "MissingExtraError"]
)
def test_all_are_value_errors(name: str) -> None:
    error = getattr(errors, name)("why")
    assert isinstance(error, GtptError) and isinstance(error, ValueError) and str(error) == "why"


def test_output_and_extra_errors_are_those_of_python_too() -> None:
    assert errors.OutputError(28, "No space left").errno == 28
    assert isinstance(errors.MissingExtraError("av", name="av"), ImportError)
