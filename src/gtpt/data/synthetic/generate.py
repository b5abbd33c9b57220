"""Synthetic people by number, and an archive of them that the reader of COCO files takes."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gtpt.core.errors import InputError, OutputError
from gtpt.core.progress import Progress
from gtpt.core.skeleton import Skeleton
from gtpt.data.images import read_json
from gtpt.data.synthetic.body import Body
from gtpt.data.synthetic.people import Patterns
from gtpt.data.synthetic.points import Points
from gtpt.data.synthetic.poses import PoseBank
from gtpt.data.synthetic.renderer import Renderer
from gtpt.data.synthetic.scene import Sample, Studio
from gtpt.data.synthetic.surroundings import Surroundings

VERSION = 1  # of what a seed shows: raise it when the same options give other pictures
BATCH = 16  # bodies posed together
CHUNK = 256  # people that an interrupted run loses at most
PATCHES = 1500
ATTEMPTS = 100
JPEG_QUALITY = (62, 95)


class SyntheticConfig(BaseModel):
    """Which people.

    Attributes:
        people: how many.
        surroundings: folder or zip of pictures to set people into, see `Surroundings`; None: drawn scenes.
        height: of the largest crop in pixels; a crop is 1.69 times the person's box, as archives for training are.
        seed: of everything.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    people: int = Field(ge=1)
    surroundings: Path | None = None
    height: int = Field(default=290, ge=64, le=2048)
    seed: int = Field(default=0, ge=0)


class Generator:
    """Synthetic people by number: sample (epoch, index) depends on the configuration, the epoch and the index alone.

    Args:
        config: which people.
        skeleton: which keypoints: any choice of those of `coco_wholebody133`, by name.

    Raises:
        MissingExtraError: the extra `synthetic` is missing.
        GtptError: no OpenGL without a display on this machine.
        FileNotFoundError, GtptError: unusable surroundings, a skeleton with points that the body has not.
    """

    def __init__(self, config: SyntheticConfig, skeleton: Skeleton):
        self.config = config
        surroundings = Surroundings(config.surroundings)
        body = Body()
        self.studio = Studio(
            body=body,
            bank=PoseBank(body.bones, body.bone_heads),
            renderer=Renderer(body),
            points=Points(body, skeleton),
            surroundings=surroundings,
            patterns=Patterns(surroundings.patches(PATCHES, np.random.default_rng(config.seed))),
            largest=config.height,
        )

    def samples(self, indices: Sequence[int], epoch: int = 0) -> Iterator[Sample]:
        """The people of these numbers, in this order."""
        for start in range(0, len(indices), BATCH):
            yield from self._batch(indices[start : start + BATCH], epoch)

    def _batch(self, indices: Sequence[int], epoch: int) -> list[Sample]:
        done: dict[int, Sample] = {}
        for attempt in range(ATTEMPTS):  # a person whom their picture or a thing hides is drawn again
            todo = [i for i in indices if i not in done]
            if not todo:
                break
            plans = [self.studio.plan(np.random.default_rng([self.config.seed, epoch, i, attempt])) for i in todo]
            rotations = np.concatenate([[pose.bones for pose in plan.poses] for plan in plans])
            vertices, frames = self.studio.body.pose(rotations, [shape for plan in plans for shape in plan.shapes])
            normals = self.studio.body.normals(vertices)
            first = 0
            for index, plan in zip(todo, plans, strict=True):
                mine = slice(first, first + len(plan.poses))
                first = mine.stop
                sample = self.studio.shoot(plan, vertices[mine], normals[mine], frames[mine])
                if sample is not None:
                    done[index] = sample
        return [done[i] for i in indices]


def write_synthetic(out: Path, config: SyntheticConfig, skeleton: Skeleton, progress: Progress = iter) -> None:
    """Render people into a zip: images/*.jpg and annotations.json, one person per image, in COCO's form.

    What an interrupted call has finished lies beside `out`, in the folder `out`.part; the same call goes on from there.

    Args:
        out: a zip that does not exist yet.
        config: which people.
        skeleton: which keypoints, see `Generator`.
        progress: wraps the list of chunks, e.g. a progress bar.

    Raises:
        OutputError: `out` is there, or its .part folder is of another configuration.
        InputError: `out` is not called *.zip.
        MissingExtraError, GtptError, FileNotFoundError: see `Generator`.
    """
    if out.suffix.lower() != ".zip":
        raise InputError(f"{out}: the archive's name must end in .zip")
    if out.exists():
        raise OutputError(f"{out} exists; delete it or name another file")
    folder = out.with_name(out.name + ".part")
    _claim(folder, _description(config, skeleton))
    generator: Generator | None = None
    starts = range(0, config.people, CHUNK)
    for start in progress(list(starts)):
        chunk = folder / f"{start:08d}.zip"
        if not chunk.exists():
            generator = generator or Generator(config, skeleton)
            indices = range(start, min(start + CHUNK, config.people))
            _write_archive(chunk, zip(indices, generator.samples(indices), strict=True), config, skeleton)
    _join([folder / f"{start:08d}.zip" for start in starts], out, _description(config, skeleton))
    shutil.rmtree(folder)


def ensure_synthetic(out: Path, config: SyntheticConfig, skeleton: Skeleton, progress: Progress = iter) -> None:
    """Render an archive unless it is there; see `write_synthetic`.

    Raises:
        InputError: an archive is there, but it holds other people.
    """
    if not out.exists():
        write_synthetic(out, config, skeleton, progress)
        return
    found = read_json(out / "annotations.json").get("info", {}).get("synthetic")
    if found != _description(config, skeleton):
        raise InputError(
            f"{out} does not hold the synthetic people of this configuration but {found}; delete it, or name another"
        )


def _description(config: SyntheticConfig, skeleton: Skeleton) -> dict[str, Any]:
    """What an archive depends on."""
    return {"version": VERSION, "keypoints": list(skeleton.keypoints), **config.model_dump(mode="json")}


def _claim(folder: Path, description: dict[str, Any]) -> None:
    """Make the folder of an unfinished archive, or see that it belongs to this one."""
    note = folder / "synthetic.json"
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) != description:
        raise OutputError(f"{folder} is of other people; delete it, or name another file")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(description), encoding="utf-8")


def _write_archive(path: Path, samples: Iterable[tuple[int, Sample]], config: SyntheticConfig, skeleton: Skeleton) -> None:
    content: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": [_category(skeleton)]}
    unfinished = path.with_suffix(".tmp")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        for index, sample in samples:
            name, number = f"images/{index + 1:08d}.jpg", index + 1
            quality = int(np.random.default_rng([config.seed, index]).integers(*JPEG_QUALITY))
            encoded, data = cv2.imencode(".jpg", sample.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            assert encoded
            # without a time of day, so that equal runs are equal files
            archive.writestr(zipfile.ZipInfo(name), data.tobytes())
            height, width = sample.image.shape[:2]
            content["images"].append({"id": number, "file_name": name, "width": width, "height": height})
            content["annotations"].append({"id": number, "image_id": number, **_annotation(sample)})
        archive.writestr(zipfile.ZipInfo("annotations.json"), json.dumps(content), zipfile.ZIP_DEFLATED)
    unfinished.replace(path)


def _category(skeleton: Skeleton) -> dict[str, Any]:
    edges = [[a + 1, b + 1] for a, b in skeleton.edges]
    return {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(skeleton.keypoints), "skeleton": edges}


def _annotation(sample: Sample) -> dict[str, Any]:
    keypoints = [value for x, y, v in sample.keypoints for value in (round(float(x), 1), round(float(y), 1), int(v))]
    return {
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": int((sample.keypoints[:, 2] > 0).sum()),
        "bbox": [round(float(value), 1) for value in sample.box],
        "area": sample.area,
    }


def _join(parts: list[Path], out: Path, description: dict[str, Any]) -> None:
    """Put the people of several archives into one."""
    whole: dict[str, Any] = {"info": {"synthetic": description}, "images": [], "annotations": []}
    unfinished = parts[0].with_name("all.tmp")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        for part in parts:
            with zipfile.ZipFile(part) as source:
                content = json.loads(source.read("annotations.json"))
                for image in content["images"]:
                    archive.writestr(zipfile.ZipInfo(image["file_name"]), source.read(image["file_name"]))
            whole["categories"] = content["categories"]
            for name in ("images", "annotations"):
                whole[name] += content[name]
        archive.writestr(zipfile.ZipInfo("annotations.json"), json.dumps(whole), zipfile.ZIP_DEFLATED)
    unfinished.replace(out)
