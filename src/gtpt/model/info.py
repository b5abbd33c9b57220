"""`gtpt info`: what a network costs, counted while shapes without numbers run through it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product

import torch
from torch.utils.flop_counter import FlopCounterMode

from gtpt.core.skeleton import Skeleton
from gtpt.model.config import SIZES, GTPTConfig, make_config
from gtpt.model.network import GTPT
from gtpt.model.official import SKELETONS


@dataclass(frozen=True)
class Published:
    """Figures of the authors' README for COCO val2017 at 192x256: detector boxes of AP 56, flip test.

    Attributes:
        parameters: millions, without tokens and position embedding; None where not stated.
        gflops: their "GFLOPs", which are multiply-accumulates without those of attention.
        ap: body, or whole body.
    """

    parameters: float | None
    gflops: float
    ap: float


PUBLISHED = {
    ("gtpt-t", "coco17"): Published(2.4, 0.7, 71.1),
    ("gtpt-s", "coco17"): Published(5.4, 1.6, 73.6),
    ("gtpt-b", "coco17"): Published(8.3, 3.6, 74.9),
    ("gtpt-t", "coco_wholebody133"): Published(None, 0.8, 54.9),
    ("gtpt-s", "coco_wholebody133"): Published(None, 2.0, 59.6),
    ("gtpt-b", "coco_wholebody133"): Published(None, 4.0, 61.7),
}


@dataclass(frozen=True)
class Info:
    """The cost of one person.

    Attributes:
        name: size.
        skeleton: name.
        input_size: width, height.
        parameters: weights, tokens and position embedding of the network that is deployed.
        macs: multiply-accumulates of convolutions, linear layers and attention that `GTPT.forward` makes.
        coarse_tokens: tokens that enter each coarse layer.
        group_tokens: tokens that enter each group layer, per group.
        published: None if the authors published nothing for this combination.
    """

    name: str
    skeleton: str
    input_size: tuple[int, int]
    parameters: int
    macs: int
    coarse_tokens: tuple[int, ...]
    group_tokens: tuple[tuple[int, ...], ...]
    published: Published | None


def describe(name: str, skeleton: str | Skeleton = "coco17", input_size: tuple[int, int] | None = None) -> Info:
    """The cost of a variant.

    Args:
        name: "gtpt-t", "gtpt-s" or "gtpt-b".
        skeleton: built-in name, YAML file or `Skeleton`.
        input_size: width, height; default 192x256.

    Raises:
        ValueError: unknown name, or an input size that does not fit.
    """
    config = make_config(name, skeleton, **({"input_size": input_size} if input_size else {}))
    parameters, macs = count(config)
    coarse, groups = _tokens(config)
    title = skeleton.name if isinstance(skeleton, Skeleton) else str(skeleton)
    return Info(
        name=name,
        skeleton=title,
        input_size=config.input_size,
        parameters=parameters,
        macs=macs,
        coarse_tokens=coarse,
        group_tokens=groups,
        published=PUBLISHED.get((name, title)) if config == make_config(name, skeleton) else None,
    )


def count(config: GTPTConfig) -> tuple[int, int]:
    """Parameters and multiply-accumulates of one person, as of `Info`."""
    with torch.device("meta"):  # shapes without numbers
        net = GTPT(config).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, *reversed(config.input_size)))
    parameters = sum(p.numel() for p in net.parameters()) + net.pos_embedding.numel()
    return parameters, counter.get_total_flops() // 2  # it counts additions too


@cache
def official_variants() -> tuple[Info, ...]:
    """The cost of the six official variants: 17 keypoints first, small networks first."""
    return tuple(describe(name, skeleton) for skeleton, name in product(SKELETONS, SIZES))


def info_table() -> str:
    """The six official variants as a Markdown table, and what its columns mean."""
    rows = [
        ("network", "skeleton", "params M", "GMAC", "published M", "GFLOPs", "AP", "tokens per layer"),
        *map(_row, official_variants()),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    notes = (
        "One person at 192x256. params: weights, tokens and position embedding. GMAC: multiply-accumulates (10^9) of",
        "convolutions, linear layers and attention that are run. Published: the authors' README; its GFLOPs are GMAC",
        "without attention, its parameters without tokens and position embedding, its AP on COCO val2017 (whole-body AP",
        "for 133 points). Tokens: coarse layers; then group layers, group by group.",
    )
    return "\n".join([lines[0], rule, *lines[1:], "", *notes])


def info_json() -> str:
    """The six official variants as a JSON list of `Info`."""
    return json.dumps([asdict(info) for info in official_variants()], indent=1)


def _row(info: Info) -> tuple[str, ...]:
    published = info.published
    assert published is not None
    groups = "; ".join(" ".join(map(str, tokens)) for tokens in zip(*info.group_tokens, strict=True))
    return (
        info.name,
        info.skeleton,
        f"{info.parameters / 1e6:.4f}",
        f"{info.macs / 1e9:.3f}",
        "-" if published.parameters is None else f"{published.parameters}",
        f"{published.gflops}",
        f"{published.ap}",
        f"{' '.join(map(str, info.coarse_tokens))}; {groups}",
    )


def _tokens(config: GTPTConfig) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Tokens that enter the attention of each coarse layer, and of each group layer per group."""
    counts, groups = config.keep_counts(), config.groups
    middle = config.coarse_layers // 2
    side = config.num_parts + sum(len(g.keypoints) for g in groups)
    coarse = [
        1 + (config.num_patches if depth == 0 else counts[(depth - 1) // middle])
        if depth <= middle
        else side + counts[(depth - 1) // middle]
        for depth in range(config.coarse_layers)
    ]
    middle = config.group_layers // 2
    entering = [counts[2 + max(depth - 1, 0) // middle] for depth in range(config.group_layers)]
    return tuple(coarse), tuple(tuple(len(g.keypoints) + count for g in groups) for count in entering)
