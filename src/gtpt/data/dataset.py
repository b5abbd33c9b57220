"""Crops with their targets, in an order and with an augmentation that depend on (seed, epoch, index) alone.

So a run that is killed and resumed sees what the uninterrupted one would have seen, with any number of loader processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gtpt.core import simcc
from gtpt.core.geometry import affine_matrices, crop, mirror_crops, transform_points
from gtpt.core.skeleton import Skeleton
from gtpt.data.augment import AugmentConfig, plain_view, random_view, vary_pixels
from gtpt.data.coco import Persons
from gtpt.data.images import FileStore

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
    _images: dict[tuple[int, str], np.ndarray] = field(default_factory=dict, repr=False, init=False)

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, item: tuple[int, int]) -> dict[str, np.ndarray]:
        """Crop (H, W, 3) uint8 RGB, joints (K, 2) crop pixels, visible (K,), affine (2, 3) image to crop, index."""
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
        joints = transform_points(view.keypoints[None], matrix)[0]
        return {"crop": pixels, "joints": joints, "visible": view.visible, "affine": matrix[0], "index": np.int64(index)}

    def read(self, index: int) -> np.ndarray:
        """The image of a person, RGB uint8."""
        key = int(self.persons.stores[index]), str(self.persons.files[index])
        if key in self._images:
            return self._images[key]
        image = self.stores[key[0]].read_image(key[1], ignore_orientation=True)
        if not self.cache:
            self._images.clear()
        self._images[key] = image
        return image


@dataclass(frozen=True)
class Collate:
    """Stack items to a batch of tensors and add the SimCC targets; picklable for loader processes."""

    input_size: tuple[int, int]
    split: float
    sigma: float = simcc.SIGMA

    def __call__(self, items: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
        import torch  # reading and evaluating data works without it

        batch = {key: np.stack([item[key] for item in items]) for key in items[0]}
        x, y, weights = simcc.encode(batch["joints"], batch["visible"], self.input_size, self.split, self.sigma)
        batch |= {"target_x": x, "target_y": y, "weight": weights}
        return {key: torch.from_numpy(value) for key, value in batch.items()}


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
