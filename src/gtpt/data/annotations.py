"""What an annotation file means: the one reader of COCO and COCO-WholeBody JSON, for checks, training, tests and boxes.

The fields that COCO knows are models of pydantic, so what a file may hold stands here once. Boxes and keypoints stay as
they are until somebody asks for those of an entry (`box`, `joints`): many files have wrong ones that nobody uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr, TypeAdapter, ValidationError

from gtpt.core.errors import AnnotationError
from gtpt.core.geometry import MAX_COORDINATE
from gtpt.core.numbers import plain
from gtpt.core.skeleton import Skeleton
from gtpt.data.images import read_json
from gtpt.io.formats.coco import WHOLEBODY_LISTS

Id = int | str


def _identifier(value: Any) -> Any:
    """Tables write 7.0 and "7" where they mean 7; other texts stay names."""
    value = plain(value)  # parsed content may come from arrays
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}(\.0+)?", value, re.ASCII):
        return int(value.partition(".")[0])
    return value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(plain)]
Named = Annotated[Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)] | StrictStr, BeforeValidator(_identifier)]
EXPECTED = {  # what a field must be, in words
    **dict.fromkeys(("id", "image_id", "category_id"), "a whole number of 64 bits or a text"),
    **dict.fromkeys(("width", "height", "area", "score", "iscrowd"), "a finite number"),
    **dict.fromkeys(("file_name", "name"), "a text"),
}


REAL = (int, float, np.integer, np.floating)


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)

    def lacks(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys that the file does not give for this entry, sorted."""
        return sorted(set(keys) - self.model_fields_set)


class Image(_Entry):
    """One of the `images`; what the file does not state is empty."""

    id: Named
    file_name: StrictStr = ""
    width: Number = 0
    height: Number = 0

    @property
    def size(self) -> tuple[float, float]:
        """Width and height as the file says."""
        return self.width, self.height


class Category(_Entry):
    """One of the `categories`."""

    id: Named
    name: StrictStr = ""
    keypoints: Any = ()


class _Person(_Entry):
    """What annotations and results have in common: a box, and keypoints in one list or in the five of COCO-WholeBody."""

    model_config = ConfigDict(extra="allow")

    category_id: Named | None = None
    bbox: Any = None

    @property
    def lists(self) -> list[Any]:
        """The values of `WHOLEBODY_LISTS`, None where there is none."""
        extra = self.__pydantic_extra__ or {}
        return [extra.get(name) for name in WHOLEBODY_LISTS]

    def box(self, title: str) -> list[float]:
        """Left, top, width, height; AnnotationError, which begins with `title`, if these are not four finite numbers."""
        values = self.bbox if isinstance(self.bbox, (list, tuple, np.ndarray)) else ()
        if len(values) != 4 or not all(isinstance(v, REAL) and -MAX_COORDINATE <= v <= MAX_COORDINATE for v in values):
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
        except (ValueError, TypeError, OverflowError):
            joints = np.array(np.nan)
        if not np.isfinite(joints).all():
            raise AnnotationError(f"{title} has keypoints that are not finite numbers")
        return joints


class Annotation(_Person):
    """One of the `annotations`."""

    id: Named | None = None
    image_id: Named | None = None
    iscrowd: StrictBool | Number | None = 0
    area: Number | None = None

    def joints(self, skeleton: Skeleton, title: str) -> np.ndarray:
        """As of results; zeros, that is nothing labelled, for somebody without keypoints."""
        if all(values is None or (isinstance(values, (list, tuple)) and not values) for values in self.lists):
            return np.zeros((len(skeleton), 3))
        return super().joints(skeleton, title)

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
        return not self.iscrowd and self.size > 0 and self.has_joints

    @property
    def size(self) -> float:
        """The segment's area, or that of the box where the file does not state one."""
        if self.area is not None:
            return self.area
        try:
            _, _, width, height = self.box("")
        except AnnotationError:
            return 0.0
        return max(width, 0.0) * max(height, 0.0)


class Result(_Person):
    """One of the results of a detector or of a pose estimator."""

    image_id: Named | None = None
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
        if len({type(image.id) for image in self.images}) > 1:
            raise AnnotationError(f"{source}: some ids of images are numbers and some are texts: take one kind")

    def images_by_id(self, needed: Sequence[str] = ("file_name", "width", "height")) -> dict[Id, Image]:
        """The images; AnnotationError names one that lacks something."""
        for image in self.images:
            if missing := image.lacks(needed):
                raise AnnotationError(f"{self.source}: image {image.id} has no {', '.join(missing)}")
        return {image.id: image for image in self.images}

    def sample(self, people: int) -> Annotations:
        """About so many of the people: some of the images, spread evenly over the file, each with everybody in it."""
        share = min(people / max(len(self.annotations), 1), 1)
        few = copy(self)
        few.images = [image for i, image in enumerate(self.images) if int((i + 1) * share) > int(i * share)]
        chosen = {image.id for image in few.images}
        few.annotations = [annotation for annotation in self.annotations if annotation.image_id in chosen]
        return few

    def person_category(self) -> Id:
        """Id of the category that means people.

        It is the one named "person", or the only one, or else the only one that annotations with keypoints belong to, or
        any annotations at all: other categories may be balls, or the root under which some tools put the real ones.
        """
        named = [category.id for category in self.categories if category.name.casefold() == "person"]
        everybody = [category.id for category in self.categories]
        with_joints = {a.category_id for a in self.annotations if a.has_joints}
        with_boxes = {a.category_id for a in self.annotations}
        for used in (with_joints, with_boxes, set(everybody)):
            for candidates in (named, everybody):
                found = list(dict.fromkeys(i for i in candidates if i in used))
                if len(found) == 1:
                    return found[0]
        names = sorted(category.name for category in self.categories)
        raise AnnotationError(f"{self.source}: no category 'person' among {names}, and several have keypoints or none has")

    def categories_of(self, skeleton: Skeleton) -> set[Id]:
        """The person category, and others whose keypoints are those of the skeleton or not named: what figures are of."""
        everybody = {category.id for category in self.categories}
        try:
            person = self.person_category()
        except AnnotationError:  # several kinds of people
            return everybody
        return {
            category.id
            for category in self.categories
            if category.id == person
            or not category.keypoints
            or (
                isinstance(category.keypoints, (list, tuple))
                and tuple(category.keypoints) == skeleton.keypoints[: len(category.keypoints)]
            )
        }

    def check_keypoint_names(self, skeleton: Skeleton, only: Iterable[Id] | None = None) -> None:
        """AnnotationError if the categories, or `only` some, name other keypoints or in another order."""
        chosen = None if only is None else set(only)
        for category in self.categories:
            names = category.keypoints if chosen is None or category.id in chosen else ()
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


def read_results(file: str | Path | Sequence[Any], needed: Sequence[str], name: str | None = None) -> list[Result]:
    """COCO results: a list with one entry for each person.

    Args:
        file: a path, a member of a zip, or the parsed content.
        needed: keys that each entry must have.
        name: what errors call parsed content.

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
