"""Skeletons: what the keypoints are called, how they connect, mirror, group and are judged.

A skeleton is data, read from a YAML file; the 17 points of COCO and the 133 of COCO-WholeBody are two such files and a
user's own is a third of the same form (see `docs/skeletons.md`). Nothing here knows about images or networks.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gtpt.core.errors import InputError
from gtpt.core.text import read_yaml

BUILTIN_DIR = Path(__file__).parent / "skeletons"
MAX_KEYPOINTS = 1000  # a whole body has 133

_LEFT = """left l lt links linke linker linkes gauche izquierdo izquierda izq sinistro sinistra sx esquerdo esquerda esq
    левый левая левое 왼쪽"""
_RIGHT = """right r rt rechts rechte rechter rechtes droit droite derecho derecha der destro destra dx direito direita dir
    правый правая правое 오른쪽"""
SIDES = {word: side for side, words in (("left", _LEFT), ("right", _RIGHT)) for word in words.split()}
# words of "left_ear", "leftEar", "LEar" and "ear2"; letters of other scripts are letters too
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_JOINED = re.compile(r"(?P<first>left|right|左|右)(?P<rest>.+)|(?P<begin>.+)(?P<last>left|right|左|右)")
_SIDE_LETTER = re.compile(r"(?<![^\W\d_])[lr](?=[^\W\d_])|(?<=[^\W\d_])[lr](?![^\W\d_])")
_CHARACTERS = {"左": "left", "右": "right"}


@dataclass(frozen=True)
class KeypointGroup:
    """Keypoints that prune image patches together (GTPT section 3.3).

    Attributes:
        name: for people, e.g. "arms".
        keypoints: indices of the coarse (sparse) keypoints, each a token of its own from the middle of the network on.
        parts: per part, its name and the indices of the fine (dense) keypoints that grow from that part's token.
    """

    name: str
    keypoints: tuple[int, ...]
    parts: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def fine(self) -> tuple[int, ...]:
        """Indices of all fine keypoints, part after part."""
        return tuple(i for _, indices in self.parts for i in indices)


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Names, edges, mirror pairs, OKS constants and groups of K keypoints; validated on creation.

    Attributes:
        name: identifier, e.g. "coco17".
        keypoints: K unique names, in the order of every array of keypoints.
        sigmas: (K,) float64 OKS constants (COCO convention: the tolerance grows with 2 * sigma * sqrt(area)).
        edges: pairs of indices, the limbs that are drawn.
        flip_pairs: pairs of indices that swap when the image is mirrored.
        groups: every keypoint belongs to exactly one group, as a coarse or as a fine one.
        lower_body: indices that count as lower body in half-body augmentation; the others are upper body.
        parts: slices that are evaluated on their own, name -> indices (empty for coco17).

    Raises:
        ValueError: duplicate names, indices outside 0..K-1, a keypoint in no group or two, a part without keypoints, a
            sigma that is not positive.
    """

    name: str
    keypoints: tuple[str, ...]
    sigmas: np.ndarray
    edges: tuple[tuple[int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()
    groups: tuple[KeypointGroup, ...] = ()
    lower_body: tuple[int, ...] = ()
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.keypoints)
        if not count:
            raise InputError(f"skeleton {self.name!r} has no keypoints")
        if count > MAX_KEYPOINTS:
            raise InputError(
                f"skeleton {self.name!r} has {count:,} keypoints, allowed are {MAX_KEYPOINTS:,}: each is a token"
            )
        if twice := _twice(self.keypoints):
            raise InputError(f"skeleton {self.name!r}: keypoint names must be unique, twice: {twice}")
        sigmas = np.array(self.sigmas, dtype=np.float64)
        if sigmas.shape != (count,) or not np.all(np.isfinite(sigmas) & (sigmas > 0)):
            raise InputError(f"skeleton {self.name!r}: sigmas must be {count} positive numbers, got {self.sigmas!r}")
        sigmas.setflags(write=False)  # the built-in skeletons are shared by everybody
        object.__setattr__(self, "sigmas", sigmas)
        if not self.groups:
            object.__setattr__(self, "groups", (KeypointGroup("all", tuple(range(count))),))
        self._check_indices()
        self._check_groups()
        if twice := _twice([self.keypoints[i] for pair in self.flip_pairs for i in pair]):
            raise InputError(f"skeleton {self.name!r}: a keypoint can be in one flip pair only, twice: {twice}")

    def _check_indices(self) -> None:
        """Everything that refers to keypoints refers to some that are there."""
        fine = {f"part {part!r} of group {g.name!r}": indices for g in self.groups for part, indices in g.parts}
        parts = {f"part {part!r}": indices for part, indices in self.parts.items()}
        pairs = [(what, pair) for what in ("edges", "flip_pairs") for pair in getattr(self, what)]
        for what, pair in pairs:
            if len(pair) != 2:
                raise InputError(f"skeleton {self.name!r}: {what} must be pairs of indices, got {pair!r}")
        for what, indices in (fine | parts).items():
            if not indices:
                raise InputError(f"skeleton {self.name!r}: {what} has no keypoints; name some or leave it out")
        coarse = [(f"group {g.name!r}", g.keypoints) for g in self.groups]
        for what, indices in [*pairs, *coarse, *fine.items(), *parts.items(), ("lower_body", self.lower_body)]:
            if odd := [i for i in indices if not isinstance(i, (int, np.integer)) or not 0 <= i < len(self)]:
                allowed = f"allowed are the indices 0 to {len(self) - 1}"
                raise InputError(f"skeleton {self.name!r}: {what}: no keypoint {odd[0]!r}, {allowed}")

    def _check_groups(self) -> None:
        owners = Counter(i for g in self.groups for i in (*g.keypoints, *g.fine))
        if odd := [name for i, name in enumerate(self.keypoints) if owners[i] != 1]:
            raise InputError(f"skeleton {self.name!r}: each keypoint must be in exactly one group, not so: {odd}")
        for group in self.groups:
            if not group.keypoints:
                raise InputError(f"skeleton {self.name!r}: group {group.name!r} needs at least one coarse keypoint")

    def __len__(self) -> int:
        return len(self.keypoints)

    def __repr__(self) -> str:
        groups = ", ".join(f"{g.name} {len(g.keypoints)}+{len(g.fine)}" for g in self.groups)
        return f"Skeleton({self.name!r}, {len(self)} keypoints, groups: {groups})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Skeleton):
            return NotImplemented
        return self is other or self._content() == other._content()

    def _content(self) -> tuple[str, list[int]]:
        """Everything, in order: that of keypoints and groups is what arrays and networks go by, which mappings forget."""
        return json.dumps(self.to_dict()), self.flip_index.tolist()

    def __hash__(self) -> int:
        return hash((self.name, self.keypoints))

    @cached_property
    def flip_index(self) -> np.ndarray:
        """(K,) int64: keypoint i of the mirrored image is keypoint flip_index[i] of the original."""
        index = np.arange(len(self))
        for a, b in self.flip_pairs:
            index[a], index[b] = b, a
        return index

    @cached_property
    def unpaired(self) -> tuple[str, ...]:
        """Keypoints whose names look like one side of a body but that have no mirror partner.

        Also two names that differ in one letter, l and r at the beginning or end of a word ("lshoulder", "paw_fl"): that
        may be chance ("lip", "rip"), so it makes no pair.
        """
        paired = {i for pair in self.flip_pairs for i in pair}
        alone = [name for i, name in enumerate(self.keypoints) if i not in paired]
        by_letter = Counter(key for name in alone for key in _without_side_letters(name))
        return tuple(
            name
            for name in alone
            if split_side(name) is not None or any(by_letter[key] > 1 for key in _without_side_letters(name))
        )

    def index(self, name: str) -> int:
        """Index of a keypoint by name; ValueError with the known names if there is none."""
        return _lookup(self.keypoints, name, f"skeleton {self.name!r}")

    def shared_with(self, other: Skeleton) -> tuple[np.ndarray, np.ndarray]:
        """The M keypoints that both skeletons have, by name.

        Returns:
            (M,) int64 indices in this skeleton, and (M,) in the other one.

        Raises:
            InputError: there are none.
        """
        names = [name for name in self.keypoints if name in other.keypoints]
        if not names:
            raise InputError(f"skeletons {self.name!r} and {other.name!r} share no keypoint, by name")
        mine, theirs = ([one.keypoints.index(name) for name in names] for one in (self, other))
        return np.array(mine), np.array(theirs)

    def part_of(self, index: int) -> str | None:
        """Name of the part whose fine keypoint this is ("face", "left_hand"); None for a coarse keypoint."""
        return next((part for g in self.groups for part, fine in g.parts if index in fine), None)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "skeleton") -> Skeleton:
        """Build from the content of a skeleton file (names everywhere; see `docs/skeletons.md`).

        Raises:
            ValueError: unknown or missing keys, values of another form, unknown keypoint names, or what `Skeleton` refuses;
                `source` is named in the message.
        """
        from gtpt.core.skeleton_file import read_form

        form = read_form(data, source)
        names = tuple(form.keypoints)
        if len(names) > MAX_KEYPOINTS:
            raise InputError(f"{source}: {len(names):,} keypoints, allowed are {MAX_KEYPOINTS:,}: each is a token")
        match = lru_cache(maxsize=None)(partial(_match, names, source=source))  # the same pattern often comes again

        def pick(patterns: Iterable[str]) -> tuple[int, ...]:
            return tuple(i for p in patterns for i in match(p))

        chains = [_chain(pick(chain), chain, source) for chain in form.edges]
        groups = tuple(
            KeypointGroup(name, pick(g.keypoints), tuple((part, pick(fine)) for part, fine in g.parts.items()))
            for name, g in form.groups.items()
        )
        flip_pairs = [_pair(pick(p), p, source) for p in form.flip_pairs]
        lower_body, parts = pick(form.lower_body), {part: pick(points) for part, points in form.parts.items()}
        try:
            return cls(
                name=form.name,
                keypoints=names,
                sigmas=np.array(list(form.keypoints.values())),
                edges=tuple(pair for chain in chains for pair in pairwise(chain)),
                flip_pairs=_flip_pairs(names, flip_pairs),
                groups=groups,
                lower_body=lower_body,
                parts=parts,
            )
        except ValueError as error:
            raise InputError(f"{source}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """The file form, so that `Skeleton.from_dict(s.to_dict()) == s`; plain JSON types."""
        name = self.keypoints.__getitem__
        automatic = set(map(frozenset, left_right_pairs(self.keypoints)))
        return {
            "name": self.name,
            "keypoints": dict(zip(self.keypoints, self.sigmas.tolist(), strict=True)),
            "edges": [[name(a), name(b)] for a, b in self.edges],
            "flip_pairs": [[name(a), name(b)] for a, b in self.flip_pairs if {a, b} not in automatic],
            "groups": {
                g.name: {
                    "keypoints": [name(i) for i in g.keypoints],
                    "parts": {part: [name(i) for i in fine] for part, fine in g.parts},
                }
                for g in self.groups
            },
            "lower_body": [name(i) for i in self.lower_body],
            "parts": {part: [name(i) for i in points] for part, points in self.parts.items()},
        }

    @classmethod
    def from_coco_category(cls, category: Mapping[str, Any]) -> Skeleton:
        """Build from an entry of `categories` of a COCO keypoint file (its `skeleton` counts from 1).

        All keypoints fall into one group and get the default sigma; write `to_dict()` to a YAML file to refine both.

        Raises:
            ValueError: no list of names, or an edge that is no pair of numbers from 1 to K; the category is named.
        """
        source, listed = f"COCO category {category.get('name')!r}", category.get("keypoints")
        if not listed or not isinstance(listed, (list, tuple)):
            raise InputError(f"{source} has no 'keypoints' list of names")
        names = [str(n) for n in listed]
        edges = category.get("skeleton") or ()
        for edge in edges if isinstance(edges, (list, tuple)) else (edges,):
            ends = edge if isinstance(edge, (list, tuple)) else ()
            if len(ends) != 2 or not all(isinstance(i, (int, np.integer)) and 1 <= i <= len(names) for i in ends):
                raise InputError(
                    f"{source}: its 'skeleton' has the edge {edge!r}, allowed are pairs of numbers from 1 to {len(names)}: "
                    f"COCO counts keypoints from 1"
                )
        chains = [[names[a - 1], names[b - 1]] for a, b in edges]
        return cls.from_dict({"name": str(category.get("name", "custom")), "keypoints": names, "edges": chains}, source)


def builtin_skeletons() -> list[str]:
    """Names that `load_skeleton` knows without a file."""
    return sorted(p.stem for p in BUILTIN_DIR.glob("*.yaml"))


def load_skeleton(source: str | Path | Skeleton) -> Skeleton:
    """A skeleton by built-in name ("coco17", "coco_feet23", "coco_wholebody133") or from a YAML file.

    Raises:
        FileNotFoundError: neither a built-in name nor a file; the message lists the built-in names.
        ValueError: the file is no valid skeleton; the message names the file and what is wrong.
    """
    if isinstance(source, Skeleton):
        return source
    if str(source) in builtin_skeletons():
        return _read(BUILTIN_DIR / f"{source}.yaml")
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"no skeleton {str(source)!r}: give a YAML file or one of {builtin_skeletons()}")
    return _read(path)


@lru_cache(maxsize=16)
def _read_cached(path: Path, _modified: float) -> Skeleton:
    return Skeleton.from_dict(read_yaml(path), str(path))


def _read(path: Path) -> Skeleton:
    return _read_cached(path, path.stat().st_mtime)


def _lookup(names: Sequence[str], name: str, source: str) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise InputError(f"{source}: no keypoint {name!r}; known: {list(names)}") from None


def _match(names: Sequence[str], pattern: str, *, source: str) -> list[int]:
    """Indices of a name, or of a pattern with * in keypoint order."""
    if "*" not in pattern or pattern in names:
        return [_lookup(names, pattern, source)]
    if found := [i for i, n in enumerate(names) if fnmatchcase(n, pattern)]:
        return found
    raise InputError(f"{source}: no keypoint matches {pattern!r}; known: {list(names)}")


def _chain(indices: tuple[int, ...], names: Sequence[str], source: str) -> tuple[int, ...]:
    if len(indices) < 2:
        raise InputError(f"{source}: edges are lists of two keypoint names or more, got {names!r}")
    return indices


def _pair(indices: tuple[int, ...], names: Sequence[str], source: str) -> tuple[int, int]:
    if len(indices) != 2:
        raise InputError(f"{source}: a flip pair is two keypoint names, got {names!r}")
    return indices[0], indices[1]


def split_side(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Which side a keypoint is on by its name, and its words with "*" for the side; None if the name tells no side.

    Understood are left and right as a word ("left_ear", "ear_left", "Left Ear", "leftEar"), l and r as one of several
    ("l_ear", "L_ear", "LEar", "ear.R"), left and right as the beginning or end of a word ("leftear"), and the words of
    some other languages.
    """
    words = [word.casefold() for word in _WORDS.findall(name)]
    told = {i: SIDES[word] for i, word in enumerate(words) if len(word) > 1 and word in SIDES}
    told = told or {i: SIDES[word] for i, word in enumerate(words) if len(words) > 1 and word in SIDES}
    if not told:
        parts = [(i, match) for i, word in enumerate(words) if (match := _JOINED.fullmatch(word))]
        if len(parts) == 1:
            at, match = parts[0]
            side = match["first"] or match["last"]
            told = {at: _CHARACTERS.get(side, side)}
            words[at : at + 1] = ["*", match["rest"] or match["begin"]]
            return told[at], tuple(words)
    if len(set(told.values())) != 1:
        return None
    return next(iter(told.values())), tuple("*" if i in told else word for i, word in enumerate(words))


def _without_side_letters(name: str) -> set[str]:
    """A name with "*" for an l or r that begins or ends a word, in each way."""
    text = name.casefold()
    return {f"{text[: match.start()]}*{text[match.end() :]}" for match in _SIDE_LETTER.finditer(text)}


def left_right_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Keypoints that mirror each other by their names, without being listed: indices of the left and the right one.

    Two names are a pair if they have the same words but for the side, in the same order or else with the side elsewhere
    ("ear_left" and "right_ear"), and no third one has them too.
    """
    sided = {i: split for i, name in enumerate(names) if (split := split_side(name)) is not None}
    pairs: list[tuple[int, int]] = []
    for key in (lambda words: words, lambda words: tuple(word for word in words if word != "*")):
        alike: dict[tuple[str, ...], dict[str, list[int]]] = {}
        for i, (side, words) in sided.items():
            alike.setdefault(key(words), {"left": [], "right": []})[side].append(i)
        found = [(sides["left"][0], sides["right"][0]) for sides in alike.values() if [*map(len, sides.values())] == [1, 1]]
        pairs += found
        paired = {i for pair in found for i in pair}
        sided = {i: split for i, split in sided.items() if i not in paired}
    return tuple(pairs)


def _twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _flip_pairs(names: Sequence[str], listed: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The pairs that names tell and the listed ones; listing an automatic pair again does no harm."""
    unordered = {frozenset(pair): pair for pair in (*listed, *left_right_pairs(names))}
    return tuple(sorted(unordered.values()))
