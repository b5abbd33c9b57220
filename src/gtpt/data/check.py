"""`gtpt data check`: what is wrong with a data set, and what training will skip, before a long run finds out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gtpt.core.errors import AnnotationError, InputError
from gtpt.core.geometry import clean_boxes, meant_pixels
from gtpt.core.progress import Progress
from gtpt.core.skeleton import Skeleton, load_skeleton
from gtpt.data.annotations import Annotation, Annotations, Id, Image, read_annotations
from gtpt.data.coco import read_coco
from gtpt.data.config import DataConfig, Source, TrainSource
from gtpt.data.images import FileStore
from gtpt.data.teacher import teacher_of

Effect = Literal["stops training", "is skipped", "is used"]

SHOWN = 5  # findings of a kind in the text; the JSON has all
BOX_TOLERANCE = 2.0  # pixels that rounding may put a box beyond its image
FAR = 1.0  # joints further than one box size from the box are taken for mistakes, e.g. swapped or relative coordinates


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: e.g. "missing image"; equal ones are counted together.
        file: annotation file or image.
        id: of the annotation or image in the annotation file; None where it concerns the whole file.
        detail: what was found, with its values.
        effect: what becomes of it: it "stops training", "is skipped", or "is used" as it is.
    """

    kind: str
    file: str
    id: int | str | None
    detail: str
    effect: Effect

    def __str__(self) -> str:
        name = "" if self.id is None else f", id {self.id}"
        return f"{Path(self.file).name}{name}: {self.detail}"


@dataclass
class SourceReport:
    """One annotation file.

    Attributes:
        annotations, images: as in the experiment.
        findings: in the order of the file; annotations first, then images.
        counts: "images", "images without annotations", "annotations", "persons used", and how many annotations the official
            rules leave out, by reason ("skipped: crowd", ...), which is no mistake.
    """

    annotations: str
    images: str
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


@dataclass
class CheckReport:
    """What `check` found, per annotation file."""

    sources: list[SourceReport]

    @property
    def findings(self) -> list[Finding]:
        return [f for source in self.sources for f in source.findings]

    def to_json(self) -> str:
        return json.dumps({"sources": [asdict(source) for source in self.sources]}, indent=1)

    def __str__(self) -> str:
        return "\n\n".join(map(_as_text, self.sources))


def check_data(
    data: DataConfig, skeleton: str | Path | Skeleton, *, decode: bool = True, progress: Progress = iter
) -> CheckReport:
    """All data sets of an experiment, of which this is the section `data`; see `check`."""
    sources = [*data.train, *([data.val] if data.val else [])]
    if not sources:
        raise InputError("the experiment names no data: set data.train to a list of {annotations, images}")
    return check(sources, load_skeleton(skeleton), decode=decode, progress=progress)


def check(sources: Iterable[Source], skeleton: Skeleton, *, decode: bool = True, progress: Progress = iter) -> CheckReport:
    """Read annotation files and their images, and list what is wrong.

    Args:
        sources: pairs of `annotations` and `images`.
        skeleton: tells how many keypoints a person must have.
        decode: read every image that training would read, once; else only look whether it exists.
        progress: wraps the list of images of each source, e.g. a progress bar.
    """
    return CheckReport([_check_source(source, skeleton, decode, progress) for source in sources])


def unpaired_sides(skeleton: Skeleton) -> str:
    """What is said of keypoints that look like one side of a body but have no partner on the other."""
    return (
        f"skeleton {skeleton.name!r}: {', '.join(map(repr, skeleton.unpaired))} look like one side of a body, but no "
        f"keypoint is named as the other side: mirrored crops teach them wrong. List both in the flip_pairs of its file"
    )


def _check_source(source: Source, wanted: Skeleton, decode: bool, progress: Progress) -> SourceReport:
    report = SourceReport(str(source.annotations), str(source.images))
    teaching = source if isinstance(source, TrainSource) else None
    if teaching and teaching.synthetic and not source.images.exists():
        report.counts = {"people to render before training": teaching.synthetic.people}
        return report
    labelled = teaching is None or teaching.labels
    try:
        skeleton = load_skeleton(source.skeleton or wanted)
        skeleton.shared_with(wanted)
        store = FileStore(source.images)
        file = read_annotations(source.annotations)
        category, images = file.person_category(), file.images_by_id()
        if labelled:
            file.check_keypoint_names(skeleton, [category])
    except (OSError, ValueError) as error:  # nothing else can be looked at
        report.findings.append(Finding("unusable source", report.annotations, None, str(error), "stops training"))
        return report
    if skeleton.unpaired:
        report.findings.append(Finding("unpaired sides", str(skeleton.name), None, unpaired_sides(skeleton), "is used"))
    used = _check_annotations(file, images, category, skeleton if labelled else None, report)
    if teaching and teaching.teacher and not any(f.effect == "stops training" for f in report.findings):
        report.findings.extend(_check_teacher(teaching, file, skeleton, wanted))
    needed = [image for image in images.values() if image.id in used]
    look = _check_pixels if decode else _check_existence
    for image in progress(needed):
        report.findings.extend(look(image, store))
    return report


def _check_teacher(source: TrainSource, file: Annotations, own: Skeleton, wanted: Skeleton) -> Iterator[Finding]:
    try:
        teacher_of(source, read_coco(file, own, labelled=source.labels), own, wanted)
    except (OSError, ValueError) as error:
        yield Finding("unusable teacher", str(source.teacher), None, str(error), "stops training")


def _check_annotations(
    file: Annotations, images: Mapping[Id, Image], category: Id, skeleton: Skeleton | None, report: SourceReport
) -> set[Id]:
    """Findings and counts of an annotation file, whose keypoints do not count without a skeleton.

    Returns:
        The ids of the images that training will read.
    """
    path, people = report.annotations, file.annotations
    categories = {c.id for c in file.categories}
    ids: dict[str, list[Id | None]] = {"image": [i.id for i in file.images], "annotation": [p.id for p in people]}
    for what, names in ids.items():
        for twice, count in Counter(names).items():
            if count > 1:
                detail = f"{count} {what}s have this id"
                report.findings.append(Finding(f"duplicate {what} id", path, twice, detail, "is used"))
    for name, count in Counter(name for name, _ in {(image.file_name, image.id) for image in file.images}).items():
        if count > 1:
            report.findings.append(Finding("file listed twice", path, name, f"{count} images are this file", "is used"))
    skipped: Counter[str] = Counter()
    used: Counter[Id] = Counter()
    for person in people:
        found = list(_check_person(person, images, categories, skeleton, path))
        reason = _skip_reason(person, category, labelled=skeleton is not None)
        if reason:
            skipped[reason] += 1  # whatever else is wrong with it does not matter
            found = [f for f in found if f.kind in ("unknown image", "unknown category")]
        elif not any(f.effect != "is used" for f in found):
            assert person.image_id is not None  # else it had a finding
            used[person.image_id] += 1
        report.findings.extend(found)
    report.counts = {
        "images": len(file.images),
        "images without annotations": len(images.keys() - {person.image_id for person in people}),
        "annotations": len(people),
        "persons used": sum(used.values()),
        **{f"skipped: {reason}": count for reason, count in sorted(skipped.items())},
    }
    if not used:
        report.findings.append(Finding("no usable person", path, None, f"counts: {report.counts}", "stops training"))
    return set(used)


def _skip_reason(person: Annotation, category: Id, *, labelled: bool) -> str | None:
    """Why the official rules leave an annotation out, None if they do not; a teacher takes everybody with a box."""
    if person.category_id != category:
        return "not a person"
    if person.iscrowd:
        return "crowd"
    if not labelled:
        return None
    if not person.has_joints:
        return "no labelled keypoint"
    return None if person.counts else "no area"


def _check_person(
    person: Annotation, images: Mapping[Id, Image], categories: set[Id], skeleton: Skeleton | None, file: str
) -> Iterator[Finding]:
    name = person.id
    if person.category_id not in categories:
        detail = f"category {person.category_id} is not among {sorted(map(str, categories))}"
        yield Finding("unknown category", file, name, detail, "is skipped")
    image = None if person.image_id is None else images.get(person.image_id)
    if image is None:
        yield Finding("unknown image", file, name, f"image {person.image_id} is not listed", "stops training")
        return
    try:
        box = person.box(f"annotation {name}")
    except AnnotationError as error:
        yield Finding("wrong box", file, name, str(error), "stops training")
        return
    if person.area is None and skeleton is not None:
        yield Finding("no area", file, name, f"the area of its box is taken: {person.size:g}", "is used")
    for finding in _check_box(box, image, file, name):
        yield finding
        if finding.effect == "is skipped":
            return
    if skeleton is None:
        return
    try:
        joints = person.joints(skeleton, f"annotation {name}")
    except AnnotationError as error:
        yield Finding("wrong keypoints", file, name, str(error), "stops training")
        return
    yield from _check_joints(joints, np.array(box, dtype=np.float64), image, skeleton, file, name)


def _check_box(box: list[float], image: Image, file: str, name: Any) -> Iterator[Finding]:
    width, height = image.size
    cleaned, inside = clean_boxes(np.array(box), (width, height))
    where = f"box {box} in an image of {width:g}x{height:g}"
    beyond = [-box[0], -box[1], box[0] + box[2] - width, box[1] + box[3] - height]
    if not inside[0] or cleaned[0, 2:].max() <= 0:
        yield Finding("box outside", file, name, f"{where}: nothing to see", "is skipped")
    elif beyond[0] >= box[2] or beyond[1] >= box[3]:  # the official cleaning shifts before it cuts
        yield Finding("box outside", file, name, f"{where}: moved to its border", "is used")
    elif min(box[2:]) <= 0:
        yield Finding("flat box", file, name, f"{where}: without width or height", "is used")
    elif max(beyond) > BOX_TOLERANCE:
        yield Finding("box beyond the border", file, name, f"{where}: cut off", "is used")


def _check_joints(
    joints: np.ndarray, box: np.ndarray, image: Image, skeleton: Skeleton, file: str, name: Any
) -> Iterator[Finding]:
    if joints[:, 2].min() < 0 or joints[:, 2].max() > 2:  # between 0 and 1 it is a weight: COCO-WholeBody has those
        detail = f"visibility from {joints[:, 2].min():g} to {joints[:, 2].max():g}, expected 0, 1 or 2"
        detail += " (below 0 counts as not labelled)" if joints[:, 2].min() < 0 else ""
        yield Finding("wrong visibility", file, name, detail, "is used")
    labelled = joints[:, 2] > 0
    if labelled.sum() > 1 and ((joints[labelled, :2] >= 0) & (joints[labelled, :2] <= 1)).all():
        detail = "all labelled ones lie in 0..1: keypoints are in pixels, not shares of the picture"
        yield Finding("keypoints in the first pixel", file, name, detail, "is used")
    margin = FAR * box[2:].max()
    outside = np.maximum(box[:2] - joints[:, :2], joints[:, :2] - box[:2] - box[2:]).max(axis=1)
    if (far := np.flatnonzero(labelled & (outside > margin))).size:
        joint = far[np.argmax(outside[far])]
        detail = f"{skeleton.keypoints[joint]} at {joints[joint, :2].tolist()} is far from the box {box.tolist()}"
        yield Finding("keypoint far outside", file, name, detail, "is used")
    beyond = np.maximum(-joints[:, :2], joints[:, :2] - image.size).max(axis=1)
    if (far := np.flatnonzero(labelled & (beyond > BOX_TOLERANCE))).size:
        joint = far[np.argmax(beyond[far])]
        detail = f"{skeleton.keypoints[joint]} at {joints[joint, :2].tolist()}, image {image.width:g}x{image.height:g}"
        yield Finding("keypoint outside the image", file, name, detail, "is used")


def _check_existence(image: Image, store: FileStore) -> Iterator[Finding]:
    try:
        missing = "" if store.exists(image.file_name) else "no such file"
    except AnnotationError as error:  # a path that leads elsewhere
        missing = str(error)
    if missing:
        yield Finding("missing image", f"{store.root}/{image.file_name}", image.id, missing, "stops training")


def _check_pixels(image: Image, store: FileStore) -> Iterator[Finding]:
    file, name = f"{store.root}/{image.file_name}", image.id
    try:
        stored = store.read_stored(image.file_name)
    except FileNotFoundError:
        yield Finding("missing image", file, name, "no such file", "stops training")
    except (ValueError, OSError) as error:
        yield Finding("unreadable image", file, name, str(error), "stops training")
    else:
        reading = meant_pixels(image.size, stored.size, stored.orientation)
        if reading.doubt:
            yield Finding("unclear orientation", file, name, reading.doubt, "is used")
        elif reading.stored and stored.size != image.size:
            width, height = stored.size
            stated = f"{image.width:g}x{image.height:g}"
            yield Finding("other size", file, name, f"is {width}x{height}, the annotations say {stated}", "is used")


def _as_text(source: SourceReport) -> str:
    lines = [f"{source.annotations} with {source.images}"]
    lines += [f"  {count:>8,} {what}" for what, count in source.counts.items()]
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in source.findings:
        kinds.setdefault((finding.kind, finding.effect), []).append(finding)
    for (kind, effect), findings in kinds.items():
        lines.append(f"  {len(findings):>8,} x {kind}: {effect}")
        lines += [f"             {finding}" for finding in findings[:SHOWN]]
        lines += [f"             and {len(findings) - SHOWN} more"] * (len(findings) > SHOWN)
    return "\n".join([*lines, "  no findings"] if not source.findings else lines)
