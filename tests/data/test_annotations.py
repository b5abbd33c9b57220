"""The one reader: fields of the usual types, numbers from arrays too, and errors that name the entry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gtpt.core.errors import AnnotationError
from gtpt.data.annotations import read_annotations, read_results

from .figures import coco_file, figure_keypoints

IMAGES = [{"id": 7, "file_name": "7.jpg"}]
GOOD = {"image_id": 7, "keypoints": figure_keypoints()}


def test_parsed_content_may_come_from_arrays() -> None:
    numbers = {"image_id": np.int64(7), "area": np.float32(9.5), "iscrowd": np.int8(0), "bbox": np.arange(4.0)}
    (person,) = read_annotations(coco_file([{**GOOD, **numbers}], IMAGES)).annotations
    assert (person.image_id, person.area, person.iscrowd, person.box("")) == (7, 9.5, 0, [0, 1, 2, 3])


def test_a_crowd_may_be_a_boolean() -> None:
    read = read_annotations(coco_file([{**GOOD, "iscrowd": True}, GOOD], IMAGES))
    assert [person.counts for person in read.annotations] == [False, True]


def test_without_an_area_the_box_tells_it() -> None:
    unstated = [{**GOOD, "bbox": box, "area": None} for box in ([5, 6, 20, 30], [5, 6, -20, -30], [5, 6], None)]
    assert [person.size for person in read_annotations(coco_file(unstated, IMAGES)).annotations] == [600, 0, 0, 0]


def test_a_sample_is_spread_over_the_images_and_has_everybody_in_them() -> None:
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(1, 7)]
    read = read_annotations(coco_file([{**GOOD, "image_id": i} for i in (1, 2, 2, 3, 4, 5)], images))
    few = read.sample(3)
    assert [image.id for image in few.images] == [2, 4, 6] and [a.image_id for a in few.annotations] == [2, 2, 4]
    assert len(read.sample(100).annotations) == len(read.annotations) == 6


def test_what_was_read_is_not_read_again() -> None:
    read = read_annotations(coco_file([GOOD], IMAGES))
    assert read_annotations(read) is read


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"image_id": 7}, "results.json: result 0 has no score"),
        ({"image_id": [7], "score": 1}, r"entry 0 of the results has the image_id \[7\], not a whole number"),
        ({"image_id": 7, "score": None}, "entry 0 of the results has the score None, not a finite number"),
        ({"image_id": 7.5, "score": 1}, "has the image_id 7.5, not a whole number"),
        (7, "entry 0 of the results is 7"),
    ],
)
def test_wrong_results_are_named(entry: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([entry]))
    with pytest.raises(AnnotationError, match=message):
        read_results(path, ("image_id", "score"))


def test_boxes_may_call_their_images_by_name() -> None:
    (result,) = read_results([{"image_id": "a.jpg", "bbox": [1, 2, 3, 4]}], ("image_id", "bbox"))
    assert result.image_id == "a.jpg" and result.score == 1
