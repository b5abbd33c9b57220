"""Crops with their targets, in an order and with an augmentation that depend on (seed, epoch, index) alone.

So a run that is killed and resumed sees what the uninterrupted one would have seen, with any number of loader processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from gtpt.core import simcc
from gtpt.core.geometry import affine_matrices, crop, meant_pixels, mirror_crops, transform_points
from gtpt.core.skeleton import Skeleton
from gtpt.data.augment import AugmentConfig, paste, plain_view, random_view, vary_pixels
from gtpt.data.coco import Persons
from gtpt.data.images import FileStore
from gtpt.data.teacher import TeacherMaps, splat

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class CropDataset:
    """Map-style data set for a torch DataLoader: item (epoch, index) is one person's crop and joints.

    Attributes:
        persons: what to show.
        stores: where their images lie, `persons.stores` indexes this.
        skeleton: K keypoints.
        input_size: width, height of the crop.
        augment: None for test-time crops.
        seed: of all randomness.
        teachers: what a teacher says of the persons of each store, None for a store without one.
        split: SimCC bins per pixel, for the teacher's targets.
        cache: keep decoded images in memory; for data sets of small crops (16,000 of them take about 2 GB, in each loader
            process that has read them all). Without it only the last image is kept: people of one image read in a row
            decode it once.
    """

    persons: Persons
    stores: list[FileStore]
    skeleton: Skeleton
    input_size: tuple[int, int]
    augment: AugmentConfig | None = None
    seed: int = 42
    cache: bool = False
    teachers: tuple[TeacherMaps | None, ...] = ()
    split: float = simcc.SPLIT
    _images: dict[tuple[int, str], np.ndarray] = field(default_factory=dict, repr=False, init=False)

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, item: tuple[int, int]) -> dict[str, np.ndarray]:
        """One person as the network is to see it.

        Returns:
            crop (H, W, 3) uint8 RGB, joints (K, 2) crop pixels, visible (K,), affine (2, 3) image to crop, index; with
            teachers also teacher_x (K, W * split), teacher_y (K, H * split): maps projected onto the axes, and
            teacher_weight (K,): the teacher's scores.
        """
        epoch, index = item
        people, aspect = self.persons, self.input_size[0] / self.input_size[1]
        image = self.read(index)
        view = plain_view(people.boxes[index], people.keypoints[index], people.visible[index], aspect)
        rng = np.random.default_rng([self.seed, epoch, index])
        if self.augment is not None:
            view = random_view(view, self.augment, self.skeleton, image.shape[1], aspect, rng)
            if view.flipped:
                image = mirror_crops(image)
        matrix = affine_matrices(view.center, view.size, self.input_size, view.rotation)
        pixels = crop(image, matrix[0], self.input_size)
        if self.augment is not None:
            pixels = vary_pixels(pixels, self.augment, rng)
            if self.augment.paste and rng.random() < self.augment.paste:
                pixels = paste(pixels, self.read(int(rng.integers(len(self))), keep=False), rng)
        joints = transform_points(view.keypoints[None], matrix)[0]
        out = {"crop": pixels, "joints": joints, "visible": view.visible, "affine": matrix[0], "index": np.int64(index)}
        if any(self.teachers):
            out |= self._taught(index, image.shape[1], view.flipped, matrix)
        return out

    def _taught(self, index: int, width: int, flipped: bool, matrix: np.ndarray) -> dict[str, np.ndarray]:
        """The teacher's maps of a person on the axes of its crop."""
        teacher, count = self.teachers[int(self.persons.stores[index])], len(self.skeleton)
        bins = simcc.bin_counts(self.input_size, self.split)
        row = teacher.row(self.persons.ids[index]) if teacher else None
        if teacher is None or row is None:
            axes = {f"teacher_{a}": np.zeros((count, n), np.float32) for a, n in zip("xy", bins, strict=True)}
            return {**axes, "teacher_weight": np.zeros(count, np.float32)}
        points, mass, _, scores = teacher.about(row)
        if flipped:
            order = self.skeleton.flip_index
            points, mass, scores = points[order] * (-1, 1) + (width - 1, 0), mass[order], scores[order]
        points = transform_points(points.reshape(1, -1, 2), matrix).reshape(points.shape)
        x, y = splat(points, mass, bins, self.split)
        return {"teacher_x": x, "teacher_y": y, "teacher_weight": scores}

    def require_files(self) -> None:
        """FileNotFoundError if images of these persons are missing; does not open them."""
        wanted = dict.fromkeys(zip(self.persons.stores.tolist(), self.persons.files.tolist(), strict=True))
        if missing := [(store, name) for store, name in wanted if not self.stores[store].exists(name)]:
            store, name = missing[0]
            more = f" and {len(missing) - 1} more of its annotations" if len(missing) > 1 else ""
            raise FileNotFoundError(f"{self.stores[store].root} has no {name}{more}")

    def read(self, index: int, *, keep: bool = True) -> np.ndarray:
        """The image of a person, RGB uint8, the way round that its annotations mean.

        Without `keep` it does not take the place of the last one, whose next person may follow; a cache has place for all.
        """
        key = int(self.persons.stores[index]), str(self.persons.files[index])
        if key in self._images:
            return self._images[key]
        stored = self.stores[key[0]].read_stored(key[1])
        stated = float(self.persons.sizes[index, 0]), float(self.persons.sizes[index, 1])
        as_stored = meant_pixels(stated, stored.size, stored.orientation).stored
        image = stored.pixels if as_stored else stored.upright
        if self.cache:
            self._images[key] = image
        elif keep:
            self._images = {key: image}
        return image


@dataclass(frozen=True)
class Collate:
    """Stack items to a batch of tensors and add the SimCC targets; picklable for loader processes.

    Attributes:
        input_size, split, sigma: of the targets, see `gtpt.core.simcc.encode`.
        teacher: share of a perfectly sure teacher in the targets of labelled keypoints, 0..1; those whose `visible` is
            below 1 have no label and take the teacher's alone.
    """

    input_size: tuple[int, int]
    split: float
    sigma: float = simcc.SIGMA
    teacher: float = 0.0

    def __call__(self, items: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
        import torch  # reading and evaluating data works without it

        batch = {key: np.stack([item[key] for item in items]) for key in items[0]}
        x, y, weights = simcc.encode(batch["joints"], batch["visible"], self.input_size, self.split, self.sigma)
        if "teacher_weight" in batch:
            x, y, weights = self._taught(batch, x, y, weights)
        batch |= {"target_x": x, "target_y": y, "weight": weights}
        return {key: torch.from_numpy(value) for key, value in batch.items()}

    def _taught(
        self, batch: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mix the teacher's distributions into targets (B, K, L) and weights (B, K); its arrays leave the batch."""
        soft = [smooth(batch.pop(f"teacher_{axis}"), self.sigma) for axis in "xy"]
        scores = batch.pop("teacher_weight")
        inside = np.minimum(*(s.sum(axis=-1) for s in soft)) > 0.5  # most of what it says lies in the crop
        labelled = weights >= 1
        share = np.where(labelled, self.teacher * scores * inside, 1).astype(np.float32)[..., None]
        weights = np.where(labelled | inside, weights, 0)
        mixed = [target * (1 - share) + taught * share for target, taught in zip((x, y), soft, strict=True)]
        return mixed[0], mixed[1], weights


def smooth(vectors: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve (..., L) with a Gaussian of `sigma` bins; what leaves at the ends is lost, as of the targets of labels."""
    reach = round(3 * sigma)
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    flat = vectors.reshape(-1, vectors.shape[-1])
    kernel = (kernel / kernel.sum()).astype(np.float32)[None]
    return cv2.filter2D(flat, -1, kernel, borderType=cv2.BORDER_CONSTANT).reshape(vectors.shape)


@dataclass
class EpochBatches:
    """Batch sampler of (epoch, index) pairs that can start in the middle of an epoch and be shared by processes.

    Every process draws the same shuffled order and takes every `world`-th batch element, so that all of them together
    see each sample once; the last incomplete batch is kept, as in the official code.

    Attributes:
        size: samples in the data set.
        batch_size: per process.
        seed, shuffle: of the order.
        rank, world: of this process.
        epoch: to draw.
        start: batches of the epoch that are already done.
    """

    size: int
    batch_size: int
    seed: int = 42
    shuffle: bool = True
    rank: int = 0
    world: int = 1
    epoch: int = 0
    start: int = 0

    def __len__(self) -> int:
        return -(-self.size // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = (
            np.random.default_rng([self.seed, self.epoch]).permutation(self.size) if self.shuffle else np.arange(self.size)
        )
        step = self.batch_size * self.world
        for batch in range(self.start, len(self)):
            whole = order[batch * step : (batch + 1) * step]
            mine = whole[self.rank :: self.world]
            if not len(mine):  # too few are left for all processes, and each must take part in every step
                mine = whole[:1]
            yield [(self.epoch, int(i)) for i in mine]
