"""The schema of what `gtpt batch` writes: a row for each image or frame, with its people; and one for each bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.batch.places import Place, place_of
from gtpt.core.errors import InputError
from gtpt.core.extras import require
from gtpt.core.numbers import to_json_text
from gtpt.core.poses import NO_ID, Poses
from gtpt.core.skeleton import Skeleton

POSES, ERRORS, BEGUN = "poses", "errors", "begun"  # folders of OUTPUT; the last is empty when all is done
SKELETON, COUNTS = b"gtpt.skeleton", b"gtpt.counts"  # keys of a file's metadata


@dataclass(frozen=True, eq=False)
class Row:
    """The people of one image.

    Attributes:
        source: name of the photo or film below INPUT, or what the table of inputs calls it.
        frame: number of the frame, 0 for photos.
        time: seconds from the beginning of the film.
        poses: the people.
    """

    source: str
    frame: int
    time: float
    poses: Poses


def poses_schema(skeleton: Skeleton) -> Any:
    """The `pyarrow.Schema` of the poses; it depends on the number of keypoints alone."""
    arrow = require("pyarrow", "ray")
    number, joints = arrow.float32(), len(skeleton)
    person = arrow.struct(
        [
            arrow.field("id", arrow.int64()),
            arrow.field("box", arrow.list_(number, 4)),
            arrow.field("score", number),
            arrow.field("keypoints", arrow.list_(arrow.list_(number, 3), joints)),
            arrow.field("raw_scores", arrow.list_(number, joints)),
        ]
    )
    columns = [
        arrow.field("source", arrow.string(), nullable=False),
        arrow.field("frame", arrow.int64(), nullable=False),
        arrow.field("time", arrow.float64(), nullable=False),
        arrow.field("width", arrow.int32(), nullable=False),
        arrow.field("height", arrow.int32(), nullable=False),
        arrow.field("people", arrow.list_(person), nullable=False),
    ]
    return arrow.schema(columns, metadata={SKELETON: to_json_text(skeleton.to_dict())})


def errors_schema() -> Any:
    """The `pyarrow.Schema` of the bad inputs."""
    arrow = require("pyarrow", "ray")
    return arrow.schema([arrow.field(name, arrow.string(), nullable=False) for name in ("source", "error")])


def to_arrow(rows: Sequence[Row], skeleton: Skeleton) -> Any:
    """A `pyarrow.Table` of `poses_schema`."""
    arrow = require("pyarrow", "ray")
    poses, joints = [row.poses for row in rows], len(skeleton)

    def flat(arrays: Sequence[np.ndarray], *lengths: int) -> Any:
        """An array of numbers, as nested lists of these lengths, the inner one first."""
        values = arrow.array(np.concatenate([np.zeros(0, np.float32), *(a.ravel() for a in arrays)]), arrow.float32())
        for length in lengths:
            values = arrow.FixedSizeListArray.from_arrays(values, length)
        return values

    ids = np.concatenate([np.zeros(0, np.int64), *(p.ids for p in poses)])
    schema = poses_schema(skeleton)
    person = schema.field("people").type.value_type
    people = arrow.StructArray.from_arrays(
        [
            arrow.array(ids, mask=ids == NO_ID),
            flat([p.boxes for p in poses], 4),
            flat([p.scores for p in poses]),
            flat([p.to_numpy() for p in poses], 3, joints),
            flat([p.raw_scores for p in poses], joints),
        ],
        fields=list(person),
    )
    ends = np.cumsum([0, *map(len, poses)]).astype(np.int32)
    columns = [
        arrow.array([row.source for row in rows], arrow.string()),
        arrow.array([row.frame for row in rows], arrow.int64()),
        arrow.array([row.time for row in rows], arrow.float64()),
        *(arrow.array([p.image_size[i] for p in poses], arrow.int32()) for i in (0, 1)),
        arrow.ListArray.from_arrays(arrow.array(ends), people),
    ]
    return arrow.Table.from_arrays(columns, schema=schema)


def read_batch(output: str | Path) -> Iterator[Row]:
    """Everything that `gtpt batch` found, image by image, as `Poses`; in no order but that of frames within a film.

    Args:
        output: its OUTPUT.

    Raises:
        InputError: nothing of `gtpt batch` is there.
    """
    place = place_of(output)
    names = parts_of(place)
    if not names:
        raise InputError(f"{place} holds no results of `gtpt batch`")
    for name in names:
        with place.files.open_input_file(place.join(f"{POSES}/{name}")) as file:
            yield from rows_of(require("pyarrow.parquet", "ray").ParquetFile(file))


def parts_of(place: Place) -> list[str]:
    """Names of the complete files of poses."""
    inside = Place(place.address, place.files, place.join(POSES))
    return [name for name, _ in inside.listing() if name.endswith(".parquet")]


def rows_of(file: Any) -> Iterator[Row]:
    """The rows of an open `pyarrow.parquet.ParquetFile` of poses."""
    skeleton = Skeleton.from_dict(json.loads(file.schema_arrow.metadata[SKELETON]))
    joints = len(skeleton)
    for batch in file.iter_batches():
        people = batch.column("people")
        ends, every = people.offsets.to_numpy(), people.values

        def field(name: str, *shape: int, every: Any = every) -> np.ndarray:
            values = every.field(name)
            while hasattr(values, "values"):
                values = values.values
            array: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(len(every), *shape)
            return array

        ids = every.field("id").fill_null(NO_ID).to_numpy(zero_copy_only=False)
        boxes, scores, points = field("box", 4), field("score"), field("keypoints", joints, 3)
        raw = field("raw_scores", joints)
        columns = (batch.column(name).to_pylist() for name in ("source", "frame", "time", "width", "height"))
        for i, (source, frame, time, width, height) in enumerate(zip(*columns, strict=True)):
            at = slice(ends[i], ends[i + 1])
            poses = Poses(
                boxes=boxes[at],
                scores=scores[at],
                keypoints=points[at, :, :2],
                keypoint_scores=points[at, :, 2],
                raw_scores=raw[at],
                ids=ids[at],
                image_size=(width, height),
                skeleton=skeleton,
            )
            yield Row(source, frame, time, poses)


def counts_of(place: Place, name: str) -> dict[str, Any]:
    """What a part says of itself: inputs, images, people, errors, bytes read, CPU seconds, seconds."""
    with place.files.open_input_file(place.join(f"{POSES}/{name}")) as file:
        metadata: Mapping[bytes, bytes] = require("pyarrow.parquet", "ray").ParquetFile(file).metadata.metadata
    counts: dict[str, Any] = json.loads(metadata[COUNTS])
    return counts
