"""NPZ: all arrays of `Poses`, people after each other. They stay in memory until the end, and their place on the
disk is held for them: long videos want JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.numbers import to_json_text
from gtpt.core.poses import ARRAYS, Poses
from gtpt.core.skeleton import load_skeleton
from gtpt.io.formats.file import FileWriter, Reserve, naming_errors


class NPZWriter(FileWriter):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._poses: list[Poses] = []
        self._frames: list[tuple[int, float, str]] = []
        self._reserve, self._size = Reserve(path.parent), 1 << 16  # the skeleton and the names of the arrays

    def write(self, poses: Poses, *, frame: int, time: float, name: str, image_id: int | str | None = None) -> None:
        self.check(poses)
        size = self._size + 1.01 * sum(getattr(poses, array).nbytes for array in ARRAYS) + 8 * len(name) + 64
        with naming_errors(self.path):
            self._reserve.hold(int(size))  # what cannot be compressed grows a little
        self._size = size
        self._poses.append(poses)
        self._frames.append((frame, time, name))
        self.images += 1

    def finish(self) -> None:
        poses = self._poses or [Poses.empty((0, 0), load_skeleton("coco17"))]  # no image at all: arrays of length 0
        frames = np.array([frame for frame, _, _ in self._frames], dtype=np.int64)
        arrays: dict[str, Any] = {
            "frames": frames,
            "times": np.array([time for _, time, _ in self._frames], dtype=np.float64),
            "names": np.array([name for _, _, name in self._frames], dtype=str),
            "image_sizes": np.array([p.image_size for p in self._poses], dtype=np.int64).reshape(-1, 2),
            "person_frames": np.repeat(frames, [len(p) for p in self._poses]),
            "joints": np.array(poses[0].skeleton.keypoints),
            "skeleton": np.array(to_json_text(poses[0].skeleton.to_dict())),
            **{name: np.concatenate([getattr(p, name) for p in poses]) for name in ARRAYS},
        }
        self._reserve.close()
        np.savez_compressed(self.file, **arrays)
