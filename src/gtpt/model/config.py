"""Every GTPT network as data: the sizes T, S and B are a table, the keypoints come from a skeleton. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

from gtpt.core.errors import InputError, WeightsError
from gtpt.core.simcc import bin_counts
from gtpt.core.skeleton import KeypointGroup, Skeleton, load_skeleton
from gtpt.core.text import parse_json

BODY_KEEP_RATES = (1.0, 0.7, 0.3, 0.1)
WHOLEBODY_KEEP_RATES = (1.0, 0.7, 0.5, 0.3)  # fine keypoint tokens share the budget of a group
ENTIRE = (1.0, 1.0, 1.0, 1.0)
PRESETS = {  # keep rates by name, for bodies: points of the front that docs/keep_rates.md measures
    "entire": ENTIRE,
    "accurate": BODY_KEEP_RATES,
    "balanced": (1.0, 0.5, 0.2, 0.05),
    "fast": (1.0, 0.4, 0.15, 0.05),
}

SIZES: dict[str, dict[str, Any]] = {
    "gtpt-t": {"stem": "plain", "stem_channels": 128, "dim": 128},
    "gtpt-s": {"stem": "plain", "stem_channels": 256, "dim": 192},
    "gtpt-b": {"stem": "pyramid", "stem_channels": 256, "dim": 192},
}

LARGEST = {  # far beyond any network that there is: a file that asks for more is damaged, or means harm
    "input_size": 4096,
    "stem_channels": 4096,
    "dim": 4096,
    "heads": 4096,
    "mlp_ratio": 64,
    "patch": 1024,
    "coarse_layers": 256,
    "group_layers": 256,
}
SPECIAL = ("input_size", "coarse_layers", "group_layers")  # whose least value depends on others
MOST_BINS = 16  # of a pixel


@dataclass(frozen=True)
class GTPTConfig:
    """What a GTPT network is made of.

    Attributes:
        name: size, a key of `SIZES`.
        groups: coarse and fine keypoints of each group, by index into the output (section 3.3).
        keep_rates: share of all patches that stay in coarse layers 0-2, coarse layers 3-5, group layers 0-2 and group
            layers 3-5. In a group with fine keypoints their tokens count towards the share.
        input_size: width, height of the crop in pixels.
        simcc_split: SimCC bins per pixel.
        stem: "plain" (T, S: stride 4) or "pyramid" (B: down to stride 16 and up again).
        stem_channels: channels of the stem's output.
        dim: token width.
        heads: attention heads.
        coarse_layers, group_layers: depth of the two encoders; the keep rate changes in the middle of each.
        mlp_ratio: hidden width of the MLPs over dim.
        patch: rows, columns of the stem's output (stride 4) that make one visual token.

    Raises:
        ValueError: an input size that the stem and the patches do not divide, keep rates that leave no visual token, or
            widths and depths that do not divide.
    """

    name: str
    groups: tuple[KeypointGroup, ...]
    keep_rates: tuple[float, float, float, float]
    input_size: tuple[int, int] = (192, 256)
    simcc_split: float = 2.0
    stem: str = "plain"
    stem_channels: int = 128
    dim: int = 128
    heads: int = 8
    coarse_layers: int = 6
    group_layers: int = 6
    mlp_ratio: int = 3
    patch: tuple[int, int] = (4, 3)

    def __post_init__(self) -> None:
        if self.stem not in ("plain", "pyramid"):
            raise InputError(f"stem must be 'plain' or 'pyramid', got {self.stem!r}")
        self._check_sizes()
        if self.dim % self.heads or self.dim % 4:
            raise InputError(f"dim={self.dim} must be a multiple of heads={self.heads}, and of 4 for sines and cosines")
        for what, depth, least in (("coarse_layers", self.coarse_layers, 4), ("group_layers", self.group_layers, 2)):
            if depth < least or depth % 2:
                raise InputError(
                    f"{what}={depth} must be even and at least {least}: the keep rate changes in the middle, where the "
                    f"keypoint tokens join too, and what they attend to in a later coarse layer is what the groups prune by"
                )
        width, height = self.input_size
        rows, columns = self.patch
        stride = 16 if self.stem == "pyramid" else 4
        step = math.lcm(stride, 4 * columns), math.lcm(stride, 4 * rows)
        if width % step[0] or height % step[1] or min(width, height) <= 0:
            raise InputError(f"input size {width}x{height} (width x height) must be multiples of {step[0]} and {step[1]}")
        if min(self.bins) < 2:
            raise InputError(
                f"simcc_split={self.simcc_split} leaves {self.bins} bins for {width}x{height} pixels: use more"
            )
        self.check_keep_rates(self.keep_rates)

    def _check_sizes(self) -> None:
        """Numbers of the right kind and of a sensible size, before anything is built from them."""
        for what, most in LARGEST.items():
            value = getattr(self, what)
            for number in value if isinstance(value, (tuple, list)) else (value,):
                if not isinstance(number, Integral) or int(number) > most:
                    raise InputError(f"{what} must be whole and at most {most}, got {value!r:.60}")
                if int(number) < 1 and what not in SPECIAL:
                    raise InputError(f"{what} must be at least 1, got {value}")
        if not (isinstance(self.simcc_split, Real) and 0 < self.simcc_split <= MOST_BINS):
            raise InputError(f"simcc_split must be positive and at most {MOST_BINS}, got {self.simcc_split!r:.60}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of visual tokens: 16 x 16 for 192x256."""
        return self.input_size[1] // (4 * self.patch[0]), self.input_size[0] // (4 * self.patch[1])

    @property
    def num_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def num_keypoints(self) -> int:
        return sum(len(g.keypoints) + len(g.fine) for g in self.groups)

    @property
    def num_parts(self) -> int:
        return sum(len(g.parts) for g in self.groups)

    @property
    def bins(self) -> tuple[int, int]:
        """SimCC bins of x and y."""
        return bin_counts(self.input_size, self.simcc_split)

    def keep_counts(self, keep_rates: tuple[float, ...] | None = None) -> tuple[int, ...]:
        """Tokens kept in each of the four stages; in groups this counts image and fine keypoint tokens together."""
        return tuple(int(self.num_patches * rate) for rate in keep_rates or self.keep_rates)

    def choose_keep_rates(self, keep_rates: Sequence[float] | str | None) -> tuple[float, float, float, float]:
        """Four rates for this network.

        Args:
            keep_rates: four numbers, also as text ("1,.6,.25,.1"), a name of `PRESETS`, or None for the network's own.

        Raises:
            ValueError: anything else, and rates that `check_keep_rates` refuses.
        """
        if keep_rates is None:
            return self.keep_rates
        given = PRESETS.get(keep_rates, keep_rates.split(",")) if isinstance(keep_rates, str) else keep_rates
        try:
            rates = tuple(map(float, given))
        except (TypeError, ValueError):
            rates = ()
        if len(rates) != 4:
            raise InputError(
                f"keep_rates must be four numbers, such as 1,.7,.3,.1, or one of {list(PRESETS)}, got {keep_rates!r}"
            )
        self.check_keep_rates(rates)
        first, second, third, fourth = rates
        return first, second, third, fourth

    def check_keep_rates(self, keep_rates: tuple[float, ...]) -> None:
        """Raise ValueError unless these are four falling rates in (0, 1] that leave each group a visual token."""
        if len(keep_rates) != 4 or not all(isinstance(r, Real) and 0 < r <= 1 for r in keep_rates):
            raise InputError(f"keep_rates must be four numbers in (0, 1], got {keep_rates}")
        if any(a < b for a, b in pairwise(keep_rates)):
            raise InputError(f"keep_rates must not rise, pruned patches do not come back: {keep_rates}")
        fine = max(len(g.fine) for g in self.groups)
        for stage, count in enumerate(self.keep_counts(keep_rates)):
            needed = fine + 1 if stage >= 2 else 1
            if count < needed:
                least = math.ceil(1000 * needed / self.num_patches) / 1000
                raise InputError(
                    f"keep_rates[{stage}]={keep_rates[stage]} keeps {count} of {self.num_patches} patches, but a group has "
                    f"{fine} fine keypoints and needs at least {needed}: use a rate of {least:g} or more"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for checkpoint headers; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GTPTConfig:
        groups = tuple(
            KeypointGroup(g["name"], tuple(g["keypoints"]), tuple((p, tuple(fine)) for p, fine in g["parts"]))
            for g in data["groups"]
        )
        tuples = {k: tuple(v) for k, v in data.items() if isinstance(v, list)}
        return cls(**{**data, **tuples, "groups": groups})


def make_config(name: str, skeleton: str | Skeleton = "coco17", **changes: Any) -> GTPTConfig:
    """Configuration of a size for a skeleton.

    Args:
        name: "gtpt-t", "gtpt-s" or "gtpt-b".
        skeleton: built-in name, YAML file or `Skeleton`.
        changes: other fields of `GTPTConfig`, e.g. input_size=(288, 384).

    Raises:
        ValueError: unknown name or field.
    """
    if name not in SIZES:
        raise InputError(f"no GTPT size {name!r}: choose one of {list(SIZES)}")
    groups = load_skeleton(skeleton).groups
    keep_rates = WHOLEBODY_KEEP_RATES if any(g.parts for g in groups) else BODY_KEEP_RATES
    unknown = set(changes) - set(GTPTConfig.__dataclass_fields__)
    if unknown:
        raise InputError(f"unknown GTPTConfig fields {sorted(unknown)}; known: {list(GTPTConfig.__dataclass_fields__)}")
    return GTPTConfig(**{"name": name, "groups": groups, "keep_rates": keep_rates, **SIZES[name], **changes})


def decode_header(text: str, source: str) -> dict[str, Any]:
    """The JSON in the header of a weights file; ValueError names the file if it is none."""
    header = parse_json(text, f"{source} was not written by gtpt: its header", WeightsError, strict=True)
    if not isinstance(header, dict):
        raise WeightsError(f"{source} was not written by gtpt: its header is a {type(header).__name__}, not a mapping")
    return header


def parse_header(header: Mapping[str, Any], source: str) -> tuple[GTPTConfig, Skeleton]:
    """What a weights file says about its network; ValueError names the file if this version cannot make it."""
    try:
        config, skeleton = GTPTConfig.from_dict(header["config"]), header["skeleton"]
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else error
        raise WeightsError(f"{source} has a header of another version of gtpt: {what}; update gtpt") from error
    skeleton = Skeleton.from_dict(skeleton, source)
    if skeleton.groups != config.groups:
        raise WeightsError(f"{source} contradicts itself: the groups of its configuration are not those of its skeleton")
    return config, skeleton
