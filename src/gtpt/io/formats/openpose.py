"""OpenPose: a folder with one JSON file for each image, named as OpenPose's `--write_json` names those of a film."""

from __future__ import annotations

import os
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from gtpt import formats
from gtpt.poses import Poses
from gtpt.writers.file import naming_errors


class OpenPoseWriter(AbstractContextManager["OpenPoseWriter"]):
    """Each image's file is complete as soon as it is there, so there is nothing to close."""

    controlnet = False

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()  # may we write there? better now than after the first image

    def write(self, poses: Poses, *, frame: int, time: float, name: str) -> None:
        target = self.path / f"{Path(name).stem}_{frame:012d}_keypoints.json"
        partial = target.with_name(target.name + ".partial")
        text = formats.to_json_text(poses.to_openpose(controlnet=self.controlnet))
        with naming_errors(target):
            try:
                partial.write_text(text, encoding="utf-8")
                os.replace(partial, target)
            except OSError:
                partial.unlink(missing_ok=True)
                raise

    def close(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.close()


class ControlNetWriter(OpenPoseWriter):
    controlnet = True
