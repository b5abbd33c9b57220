"""The options of `gtpt predict` and `gtpt.predict`: this is the only list of them, and says what each means and allows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import numpy as np

from gtpt.core.calibration import VISIBLE
from gtpt.core.errors import InputError
from gtpt.detect import DEFAULT_DETECTOR
from gtpt.estimator import DEFAULT_WEIGHTS, MIN_SCORE
from gtpt.io.formats import FORMATS
from gtpt.io.sources import Kind, Selection

MOVING: tuple[Kind, ...] = ("video", "stream", "camera")


@dataclass(frozen=True)
class Help:
    """What belongs to an option beside its type and default.

    Attributes:
        text: one or two sentences.
        short: one-letter name on the command line.
        least, most: bounds of a number, both allowed.
        shell: whether the command line has it too.
        matters: whether results depend on it; what does must be the same for all shards.
        batch: whether `gtpt batch` has it too, which reads and writes by ways of its own.
    """

    text: str
    short: str | None = None
    least: float | None = None
    most: float | None = None
    shell: bool = True
    matters: bool = True
    batch: bool = True


@dataclass(frozen=True)
class Share:
    """One of the equal parts into which a call is divided: every photo, and every other source, is in exactly one.

    Attributes:
        number: from 1.
        count: how many there are.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """From 3/16; InputError for anything else."""
        match = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", str(text), re.ASCII)
        if match is None or int(match[1]) > int(match[2]):
            raise InputError(f"shard must be i/n with 1 <= i <= n, such as 3/16, got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, source: int) -> bool:
        """Is the n-th source, one that is not divided, in this share?"""
        return source % self.count == self.number - 1

    def photos(self, source: int) -> slice:
        """Those of the photos of the n-th source; each source begins with another share, so that small ones spread."""
        return slice((self.number - 1 - source) % self.count, None, self.count)


@dataclass(frozen=True)
class Options:
    """How `predict` works; `check` says what does not go together."""

    out: Annotated[
        str | Path, Help("Folder for the results; made if it is not there.", short="-o", matters=False, batch=False)
    ] = "out"
    _: KW_ONLY
    list: Annotated[
        str | Path | None, Help("A text file with more sources, one in each line.", matters=False, batch=False)
    ] = None
    shard: Annotated[
        str | None,
        Help(
            "Do only the i-th of n shares of the work, as 3/16; `gtpt merge` joins all of them.", matters=False, batch=False
        ),
    ] = None
    weights: Annotated[str | Path, Help("Registered name, *.onnx, *.safetensors or *.pth.", short="-w")] = DEFAULT_WEIGHTS
    detector: Annotated[
        str | Path | Callable[[Sequence[np.ndarray]], Sequence[Any]],
        Help("Registered name, a YOLOX *.onnx, or whole-image; in Python also what `gtpt.detect.as_detector` takes."),
    ] = DEFAULT_DETECTOR
    detector_threshold: Annotated[
        float | None,
        Help("Leave out people that the detector scores lower. Default: 0.3; boxes of your own: 0.", least=0, most=1),
    ] = None
    detector_device: Annotated[
        str | None, Help("cpu, cuda or coreml: detectors run in onnxruntime. Default: the --device.")
    ] = None
    boxes: Annotated[
        str | Path | Mapping[str | int, Any] | None,
        Help(
            "Boxes of your own (COCO JSON or CSV), or whole-image, instead of a detector; in Python also a mapping that "
            "`gtpt.detect.GivenBoxes` takes."
        ),
    ] = None
    format: Annotated[str | None, Help(f"{', '.join(FORMATS)}. Default: coco, for videos jsonl.", batch=False)] = None
    draw: Annotated[bool, Help("Draw the poses into pictures and videos.", batch=False)] = True
    show: Annotated[
        bool,
        Help(
            "Show the people in a window meanwhile; q or Esc ends it. A photo stays until a key is pressed.",
            matters=False,
            batch=False,
        ),
    ] = False
    explain: Annotated[bool, Help("Also show which patches each keypoint group kept.", batch=False)] = False
    threshold: Annotated[
        float, Help("Keypoints with a lower calibrated score are not drawn.", least=0, most=1, batch=False)
    ] = VISIBLE
    min_score: Annotated[
        float | None,
        Help(
            f"Drop people with a lower score: detector times mean keypoint. Default: {MIN_SCORE}; boxes of your own: 0.",
            least=0,
            most=1,
        ),
    ] = None
    track: Annotated[bool | None, Help("Give people ids over time. Default: for videos, streams and cameras.")] = None
    smooth: Annotated[bool, Help("Calm the keypoints over time. Photos: with --track.")] = False
    detect_every: Annotated[
        int,
        Help("Detect on every n-th frame; boxes in between come from the poses. Photos: with --track.", least=1),
    ] = 1
    stride: Annotated[int, Help("Take every n-th frame.", least=1)] = 1
    start: Annotated[float | None, Help("Seconds into the video.", least=0)] = None
    end: Annotated[float | None, Help("Seconds into the video.", least=0)] = None
    engine: Annotated[str | None, Help("onnxruntime, openvino or torch. Default: what reads the weights.")] = None
    device: Annotated[
        str,
        Help("cpu; onnxruntime: cuda, coreml; openvino: gpu, npu; torch: cuda, cuda:1. An error if it is not there."),
    ] = "cpu"
    threads: Annotated[
        int | None, Help("CPU threads of the network. Default: the engine's choice.", least=1, matters=False)
    ] = None
    precision: Annotated[
        str,
        Help("float32, bfloat16 (faster, in OpenVINO on CPUs that have it), or auto: the fastest here that loses little."),
    ] = "float32"
    batch_size: Annotated[int, Help("People per call of the network.", least=1, matters=False)] = 32
    flip_test: Annotated[bool, Help("Average with the mirrored crop: slower, a little better.")] = False
    resume: Annotated[
        bool,
        Help(
            "Go on with what a call of the same options and folder has begun: what is done is not done again.",
            matters=False,
            batch=False,
        ),
    ] = False
    quiet: Annotated[bool, Help("Show no progress bar.", shell=False, matters=False, batch=False)] = False

    def check(self) -> None:
        """InputError for values out of bounds, or that do not go together."""
        for name, (_, help_) in described().items():
            value = getattr(self, name)
            bounds = (help_.least, help_.most)
            if bounds != (None, None) and value is not None and not _within(value, *bounds):
                raise InputError(f"{name} must be {_bounds(*bounds)}, got {value!r}")
        if self.format is not None and self.format not in FORMATS:
            raise InputError(f"unknown format {self.format!r}: use one of {list(FORMATS)}")
        if self.smooth and self.track is False:
            raise InputError("smooth needs to know who is who: leave out track=False (--no-track)")
        if self.explain and self.engine == "openvino":
            raise InputError("explain reads the network's inside, which openvino does not show: leave out the engine")
        if self.boxes is not None and self.detector != DEFAULT_DETECTOR:
            raise InputError(f"boxes take the place of the detector {self.detector}: give one of them")
        if callable(self.detector) and (self.detector_threshold is not None or self.detector_device is not None):
            raise InputError("a detector of your own has its own threshold and device: leave out those of gtpt")
        Selection(self.stride, self.start, self.end)
        self.share  # noqa: B018  # says what is wrong with `shard`

    @property
    def share(self) -> Share | None:
        """The part of the work that this call does; None: all of it."""
        return None if self.shard is None else Share.parse(self.shard)

    def files(self) -> Sequence[str | Path]:
        """What is, or may be, read beside the sources: networks, boxes, the list of sources."""
        read = (self.boxes, self.weights, self.detector, self.list)
        return [value for value in read if isinstance(value, (str, Path))]

    def follows(self, kind: Kind) -> bool:
        """Are people of such a source followed from frame to frame?"""
        return kind in MOVING if self.track is None else self.track


def described() -> dict[str, tuple[Any, Help]]:
    """Type and help of each option, in order."""
    hints = get_type_hints(Options, include_extras=True)
    return {name: get_args(hint)[:2] for name, hint in hints.items() if name != "_"}


def _within(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _bounds(least: float | None, most: float | None) -> str:
    return f"in [{least}, {most}]" if most is not None else f"at least {least}"
