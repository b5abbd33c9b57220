"""The figures of an evaluation together with the protocol they belong to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

METRICS = ("AP", "AP .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)")
UNDEFINED = -1.0  # COCO's value of a row without ground truth


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What moves a figure beside the data; figures with different protocols do not compare.

    Attributes:
        network: which weights and pass, e.g. "GTPT-T coco17, pruned".
        boxes: "ground truth", or the name of the detector file.
        flip_test: whether the mirrored crop was averaged in.
        input_size: width, height of the crops.
    """

    network: str
    boxes: str
    flip_test: bool
    input_size: tuple[int, int]

    def __str__(self) -> str:
        width, height = self.input_size
        flip = "yes" if self.flip_test else "no"
        return f"network: {self.network}; boxes: {self.boxes}; flip test: {flip}; input: {width}x{height}"


@dataclass(frozen=True)
class Report:
    """COCO keypoint figures, one row of `METRICS` per part of the skeleton.

    Attributes:
        figures: part -> metric -> value in [0, 1], or -1 where the ground truth has nobody to find. The last part is all
            keypoints: "body" for a skeleton without parts, else "whole"; "hand" is the mean of both hands.
        skeleton: name.
        images: evaluated images, those without people too.
        persons: in the ground truth with at least one labelled keypoint, no crowd regions.
        detections: persons in the results.
        protocol: None if the results come from elsewhere.
    """

    figures: dict[str, dict[str, float]]
    skeleton: str
    images: int
    persons: int
    detections: int
    protocol: Protocol | None = None

    @property
    def ap(self) -> float:
        """AP over all keypoints, the one number to rank models by."""
        return next(reversed(self.figures.values()))["AP"]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    def to_markdown(self) -> str:
        """Protocol and table, in percent; "-" where COCO gives -1."""
        width = max(len(part) for part in ("part", *self.figures))
        rows = ["| " + " | ".join(["part".ljust(width), *(f"{m:>6}" for m in METRICS)]) + " |"]
        rows.append(f"|{'-' * (width + 2)}|" + "-------:|" * len(METRICS))
        for part, values in self.figures.items():
            cells = ("-" if values[m] == UNDEFINED else f"{100 * values[m]:.1f}" for m in METRICS)
            rows.append("| " + " | ".join([part.ljust(width), *(f"{cell:>6}" for cell in cells)]) + " |")
        counts = f"{self.skeleton}: {self.images} images, {self.persons} persons, {self.detections} detections"
        return "\n".join([counts, str(self.protocol or "protocol: not stated"), "", *rows])

    __str__ = to_markdown
