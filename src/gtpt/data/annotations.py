"""What an annotation file means: the one reader of COCO and COCO-WholeBody JSON, for checks, training, tests and boxes.

The fields that COCO knows are models of pydantic, so what a file may hold stands here once. Boxes and keypoints stay as
they are until somebody asks for those of an entry (`box`, `joints`): many files have wrong ones that nobody uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr, TypeAdapter, ValidationError

from gtpt.core.errors import AnnotationError
from gtpt.core.skeleton import Skeleton
from gtpt.data.images import read_json
from gtpt.io.formats.coco import WHOLEBODY_LISTS


def _plain(value: Any) -> Any:
    """Parsed content may come from arrays."""
    return value.item() if isinstance(value, np.generic) else value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_plain)]
Whole = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63), BeforeValidator(_plain)]
EXPECTED = {  # what a field must be, in words
    **dict.fromkeys(("id", "image_id", "category_id"), "a whole number of 64 bits"),
    **dict.fromkeys(("width", "height", "area", "score", "iscrowd"), "a finite number"),
    **dict.fromkeys(("file_name", "name"), "a text"),
}


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)

    def lacks(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys that the file does not give for this entry, sorted."""
        return sorted(set(keys) - self.model_fields_set)


class Image(_Entry):
    """One of the `images`; what the file does not state is empty."""

    id: Whole
    file_name: StrictStr = ""
    width: Number = 0
    height: Number = 0

    @property
    def size(self) -> tuple[float, float]:
        """Width and height as the file says."""
        return self.width, self.height


class Category(_Entry):
    """One of the `categories`."""

    id: Whole
    name: StrictStr = ""
    keypoints: Any = ()


class _Person(_Entry):
    """What annotations and results have in common: a box, and keypoints in one list or in the five of COCO-WholeBody."""

    model_config = ConfigDict(extra="allow")

    category_id: Whole | None = None
    bbox: Any = None

    @property
    def lists(self) -> list[Any]:
        """The values of `WHOLEBODY_LISTS`, None where there is none."""
        extra = self.__pydantic_extra__ or {}
        return [extra.get(name) for name in WHOLEBODY_LISTS]

    def box(self, title: str) -> list[float]:
        """Left, top, width, height; AnnotationError, which begins with `title`, if these are not four finite numbers."""
        values = self.bbox if isinstance(self.bbox, (list, tuple, np.ndarray)) else ()
        if len(values) != 4 or not all(isinstance(v, Real) and math.isfinite(v) for v in values):
            raise AnnotationError(f"{title} has the box {self.bbox!r:.40}, not left, top, width, height")
        return [float(value) for value in values]

    def joints(self, skeleton: Skeleton, title: str) -> np.ndarray:
        """(K, 3) float64 x, y, and visibility or score.

        Args:
            skeleton: number of keypoints.
            title: of the entry, for errors.

        Raises:
            AnnotationError: lists of other things than finite numbers, or of another number of keypoints.
        """
        lists = self.lists
        for name, values in zip(WHOLEBODY_LISTS, lists, strict=True):
            if not isinstance(values, (list, tuple, np.ndarray, NoneType)):
                raise AnnotationError(
                    f"{title} has the {name} {values!r:.40}, not a list of numbers x, y, visibility or score, ..."
                )
        flat = lists[0]
        if flat is None or len(flat) != 3 * len(skeleton):
            flat = [value for values in lists if values is not None for value in values]
        if len(flat) != 3 * len(skeleton):
            found = f"{len(flat) / 3:g} keypoints, {skeleton.name} has {len(skeleton)}"
            raise AnnotationError(f"{title} has {found}: use the skeleton of the file")
        try:
            joints = np.array(flat, dtype=np.float64).reshape(-1, 3)
        except (ValueError, TypeError):
            joints = np.array(np.nan)
        if not np.isfinite(joints).all():
            raise AnnotationError(f"{title} has keypoints that are not finite numbers")
        return joints


class Annotation(_Person):
    """One of the `annotations`."""

    id: Whole | StrictStr | None = None
    image_id: Whole | None = None
    iscrowd: StrictBool | Number = 0
    area: Number = 0

    @property
    def has_joints(self) -> bool:
        """Whether any body keypoint is labelled; also where the list holds no numbers, which `joints` complains about."""
        body = self.lists[0]
        try:
            return bool(max(body if body is not None and len(body) else [0]) != 0)
        except TypeError:
            return True

    @property
    def counts(self) -> bool:
        """The official choice of whom to learn from: no crowd, some area, some labelled body keypoint."""
        return not self.iscrowd and self.area > 0 and self.has_joints


class Result(_Person):
    """One of the results of a detector or of a pose estimator."""

    image_id: Whole | StrictStr | None = None
    score: Number = 1


class _File(BaseModel):
    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


class Annotations:
    """A COCO file.

    Attributes:
        source: what errors call it.
        images, annotations, categories: its lists.
    """

    def __init__(self, data: Any, source: str) -> None:
        """AnnotationError unless `data` has the three lists of a COCO file, with entries of the usual types."""
        self.source = source
        lists = ("images", "annotations", "categories")
        if not isinstance(data, Mapping) or not all(isinstance(data.get(name), (list, tuple)) for name in lists):
            raise AnnotationError(
                f"{source} is not a COCO file: expected the lists 'images', 'annotations' and 'categories'"
            )
        file = _validated(TypeAdapter(_File), {name: data[name] for name in lists}, source)
        self.images, self.annotations, self.categories = file.images, file.annotations, file.categories

    def images_by_id(self, needed: Sequence[str] = ("file_name", "width", "height")) -> dict[int, Image]:
        """The images; AnnotationError names one that lacks something."""
        for image in self.images:
            if missing := image.lacks(needed):
                raise AnnotationError(f"{self.source}: image {image.id} has no {', '.join(missing)}")
        return {image.id: image for image in self.images}

    def person_category(self) -> int:
        """Id of "person", or of the only category of a custom data set."""
        ids = {category.name: category.id for category in self.categories}
        if "person" in ids:
            return ids["person"]
        if len(ids) == 1:
            return next(iter(ids.values()))
        raise AnnotationError(f"{self.source}: no category 'person' among {sorted(ids)}")

    def check_keypoint_names(self, skeleton: Skeleton, only: int | None = None) -> None:
        """AnnotationError if the categories, or the `only` one, name other keypoints or in another order."""
        for category in self.categories:
            names = category.keypoints if only in (None, category.id) else ()
            title = f"{self.source}: category {category.name!r} has the keypoints"
            if not isinstance(names, (list, tuple)):
                raise AnnotationError(f"{title} {names!r:.40}, no list of names")
            expected = skeleton.keypoints[: len(names)]  # COCO-WholeBody lists the body's names only
            if tuple(names) != expected:
                raise AnnotationError(
                    f"{title} {list(names)}, which are not those of skeleton {skeleton.name!r}, {list(expected)}, "
                    f"in this order"
                )


def read_annotations(file: str | Path | Mapping[str, Any] | Annotations, name: str | None = None) -> Annotations:
    """A COCO annotation file.

    Args:
        file: a path, a member of a zip ("crops.zip/annotations.json"), the parsed content, or what was read already.
        name: what errors call parsed content.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: not a COCO file; the message names the entry, the value and what is allowed.
    """
    if isinstance(file, Annotations):
        return file
    if isinstance(file, Mapping):
        return Annotations(file, name or "annotations")
    return Annotations(read_json(file), str(file))


def read_results(
    file: str | Path | Sequence[Any], needed: Sequence[str], name: str | None = None, *, named: bool = False
) -> list[Result]:
    """COCO results: a list with one entry for each person.

    Args:
        file: a path, a member of a zip, or the parsed content.
        needed: keys that each entry must have.
        name: what errors call parsed content.
        named: whether images may be called by texts; where results belong to a COCO file they cannot.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: not such a list; the message names the entry, the value and what is allowed.
    """
    data: Any = read_json(file) if isinstance(file, (str, Path)) else file
    source = str(file) if isinstance(file, (str, Path)) else name or "COCO results"
    if not isinstance(data, (list, tuple)):
        raise AnnotationError(f"{source}: results must be a list of one entry per person, got {type(data).__name__}")
    results = _validated(TypeAdapter(list[Result]), data, source, ("results",))
    for number, result in enumerate(results):
        if lacking := result.lacks(needed):
            raise AnnotationError(f"{source}: result {number} has no {', '.join(lacking)}")
        if isinstance(result.image_id, str) and not named:
            raise AnnotationError(_wrong(source, ("results", number, "image_id"), result.image_id))
    return results


T = TypeVar("T")


def _validated(form: TypeAdapter[T], data: Any, source: str, place: tuple[str, ...] = ()) -> T:
    try:
        return form.validate_python(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
    where = (*place, *problem["loc"])
    if len(where) < 3:
        raise AnnotationError(
            f"{source} is not a COCO file: entry {where[1]} of the {where[0]} is {problem['input']!r:.40}"
        )
    if problem["type"] == "missing":
        raise AnnotationError(f"{source}: entry {where[1]} of the {where[0]} has no {where[2]}")
    raise AnnotationError(_wrong(source, where, problem["input"]))


def _wrong(source: str, where: tuple[int | str, ...], value: Any) -> str:
    listed, number, key = where[:3]
    return f"{source}: entry {number} of the {listed} has the {key} {value!r:.40}, not {EXPECTED[str(key)]}"
