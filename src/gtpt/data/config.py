"""The `data` section of an experiment: which annotations and images, and how they are varied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gtpt.core.errors import InputError
from gtpt.data.augment import AugmentConfig
from gtpt.data.synthetic import SyntheticConfig


class Strict(BaseModel):
    """Unknown keys and numbers that are not finite are errors, and values stay as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(Strict):
    """A COCO keypoint file and its images: a folder, a zip, or a path into a zip.

    Attributes:
        annotations, images: where they are; without `annotations`, annotations.json beside the images.
        skeleton: of the file's keypoints, if it is not the network's: built-in name or YAML file. They are matched by name.
            In training, keypoints that the file does not know have no label; in validation, only those that it knows are
            measured.
    """

    annotations: Path
    images: Path
    skeleton: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _beside_the_images(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("images"), (str, Path)) and values.get("annotations") is None:
            return {**values, "annotations": Path(values["images"]) / "annotations.json"}
        return values


class TrainSource(Source):
    """A data set to learn from.

    Attributes:
        synthetic: people to render into the zip `images` before training, unless it is there; with the network's keypoints.
        teacher: maps of a stronger network on the same people, see `gtpt.data.teacher.load_teacher`.
        teacher_skeleton: of the teacher's keypoints, if it is not that of the annotations.
        labels: false ignores the file's keypoints, for pictures whose labels are bad or not free: the teacher's stay, so
            there must be one.
    """

    synthetic: SyntheticConfig | None = None
    teacher: Path | None = None
    teacher_skeleton: str | None = None
    labels: bool = True

    @model_validator(mode="after")
    def _teaches_something(self) -> TrainSource:
        if not self.labels and self.teacher is None:
            raise InputError("`labels: false` needs a `teacher`, or nothing is learnt from this source")
        return self


class DataConfig(Strict):
    """What to learn from and what to measure on.

    Attributes:
        train: data sets, concatenated.
        val: data set of the figures.
        boxes: detector results for `val` (COCO results form); None: its ground-truth boxes.
        cache: keep decoded training images in memory (for small crops); each loader process has a copy of what it read.
        workers: loader processes per training process.
        augment: training-time variation.
    """

    train: tuple[TrainSource, ...] = ()
    val: Source | None = None
    boxes: Path | None = None
    cache: bool = False
    workers: int = Field(default=2, ge=0, lt=2**10)
    augment: AugmentConfig = AugmentConfig()
