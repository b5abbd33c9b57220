"""GTPT, the Group-based Token Pruning Transformer (ECCV 2024), top to bottom.

    images -> stem -> patches -> coarse encoder -> coarse to fine -> group encoder -> SimCC heads
                                 one human token   gates, groups,     multi-head       x and y
                                 looks around,     the first          group attention  logits
                                 keypoints join    group pruning      (MHGA), pruning

Shapes: B batch, N visual tokens of the moment, S keypoint-side tokens, T = S + N, D width, h heads, d = D / h, G groups,
K keypoints. "Side" tokens stand for the person, its parts or its keypoints; they ask, the visual tokens answer, and the
visual tokens that no keypoint asks about are pruned. How many stay is fixed by the config, so the graph is static.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gtpt.core.geometry import PIXEL_MEAN, PIXEL_STD
from gtpt.core.skeleton import Skeleton
from gtpt.model.config import ENTIRE, GTPTConfig
from gtpt.model.pruning import patch_scores, take, top_patches
from gtpt.model.stem import STEMS


class Explained(NamedTuple):
    """Logits and which patches survived each prune.

    `kept` maps "coarse3" (after the human token looked around), "entry" (on entering the groups) and "group3" (in the
    middle of the group encoder) to a list with one (B, n) int64 tensor per group (a single one for "coarse3"): ids of
    patches, row-major over the grid, ascending. A stage in which nothing was pruned is absent.
    """

    x: Tensor
    y: Tensor
    kept: dict[str, list[Tensor]]


class Encoded(NamedTuple):
    """What `GTPT.encode` knows in the end: logits, kept patches (see `Explained`), and what training looks at.

    `image` (B, N, D) are the visual tokens that leave the coarse encoder, of the patches `ids` (B, N). `attention` are the
    logits (B, h, S, N) of part and coarse keypoint tokens on them in its last layer, on which the first pruning of the
    groups rests.
    """

    x: Tensor
    y: Tensor
    kept: dict[str, list[Tensor]]
    attention: Tensor
    ids: Tensor
    image: Tensor


class Stream(NamedTuple):
    """Tokens that attend to each other: the whole person, or one group of keypoints."""

    side: Tensor  # (B, S, D)
    image: Tensor  # (B, N, D)
    pos: Tensor  # (B, N, D) position embedding of each visual token
    ids: Tensor  # (B, N) patch number of each visual token

    def prune(self, logits: Tensor, keep: int) -> Stream:
        """Keep the `keep` patches that the rows of `logits` (B, h, rows, N) look at most."""
        index = top_patches(patch_scores(logits), keep)
        return Stream(self.side, take(self.image, index), take(self.pos, index), take(self.ids, index))

    def tokens(self) -> Tensor:
        return torch.cat([self.side, self.image], dim=1)  # (B, S + N, D)

    def with_tokens(self, tokens: Tensor) -> Stream:
        side, image = tokens.split([self.side.shape[1], tokens.shape[1] - self.side.shape[1]], dim=1)
        return self._replace(side=side, image=image)


class Attention(nn.Module):
    """Multi-head attention in pieces, because pruning wants its logits and groups share keys."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.scale = dim**-0.5  # of the whole width, not of a head: as the official weights were trained
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, h, T, d)."""
        return self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.training and q.device.type == "cpu" and q.dtype == torch.bfloat16:
            # the backward pass of the fused operator takes several times as long there as these three steps
            out = (q * self.scale @ k.transpose(2, 3)).softmax(dim=-1).to(v.dtype) @ v  # (B, h, T, d)
        else:
            out = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj(out.transpose(1, 2).flatten(2))  # (B, T, D)

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        """Scaled dot products before the softmax, (B, h, rows, columns): what pruning reads."""
        return q @ k.transpose(2, 3) * self.scale


class Layer(nn.Module):
    """Pre-norm transformer layer; the encoders below run its two halves and prune in between."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int):
        super().__init__()
        self.attn_norm = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_ratio * dim), nn.GELU(), nn.Linear(mlp_ratio * dim, dim))

    def feed_forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.mlp_norm(x))


class GTPT(nn.Module):
    """The network. Build it with `gtpt.model.build`, `load` or `load_official`.

    Args:
        config: sizes, groups and keep rates.
        skeleton: names of the keypoints; the network itself never reads it, checkpoints and exports carry it along.
    """

    pos_embedding: Tensor
    output_order: Tensor

    def __init__(self, config: GTPTConfig, skeleton: Skeleton | None = None):
        super().__init__()
        self.config = config
        self.skeleton = skeleton
        dim, groups = config.dim, config.groups
        self.stem = STEMS[config.stem](config.stem_channels)
        self.patch_norm = nn.BatchNorm2d(config.stem_channels)
        self.patch_embed = nn.Linear(math.prod(config.patch) * config.stem_channels, dim)
        # A buffer, but loaded from checkpoints: the official averaging of weights moved it a little.
        self.register_buffer("pos_embedding", sine_table(config.grid, dim))

        coarse = sum(len(g.keypoints) for g in groups)
        fine = config.num_keypoints - coarse
        self.human_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.keypoint_token = nn.Parameter(torch.zeros(1, coarse, dim))
        self.part_token = nn.Parameter(torch.zeros(1, config.num_parts, dim)) if fine else None
        self.fine_keypoint_token = nn.Parameter(torch.zeros(1, fine, dim)) if fine else None

        def layers(count: int) -> Sequence[Layer]:
            made = nn.ModuleList(Layer(dim, config.heads, config.mlp_ratio) for _ in range(count))
            return cast("Sequence[Layer]", made)

        self.coarse_encoder = layers(config.coarse_layers)
        self.group_gate = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, len(groups) * dim), nn.Sigmoid()
        )
        self.group_encoder = layers(config.group_layers)
        self.head_x = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, config.bins[0]))
        self.head_y = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, config.bins[1]))

        made = [i for g in groups for i in g.keypoints] + [i for g in groups for i in g.fine]
        self.register_buffer("output_order", torch.tensor(made).argsort(), persistent=False)
        self.apply(init_weights)
        for token in (self.human_token, self.keypoint_token, self.part_token, self.fine_keypoint_token):
            if token is not None:
                nn.init.trunc_normal_(token, std=0.02)

    def forward(
        self, images: Tensor, keep_rates: Sequence[float] | str | None = None, return_kept: bool = False
    ) -> tuple[Tensor, Tensor] | Explained:
        """SimCC logits of one person per crop.

        Args:
            images: (B, 3, H, W) float, RGB, normalised: see `normalize`.
            keep_rates: instead of the config's: four rates, or "entire" for the unpruned pass. With fine keypoints even
                the entire pass drops as many patches per group as it has fine keypoints (as the official code does).
            return_kept: also return which patches survived.

        Returns:
            x logits (B, K, W * split) and y logits (B, K, H * split), or `Explained`.

        Raises:
            ValueError: images of another shape, or keep rates that leave a group no patch.
        """
        out = self.encode(self.embed(images), keep_rates)
        return Explained(out.x, out.y, out.kept) if return_kept else (out.x, out.y)

    def embed(self, images: Tensor) -> Tensor:
        """Visual tokens (B, N, D) of the whole crop; the part that both passes of the training step share."""
        return self.tokenize(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Feature map (B, C, H/4, W/4)."""
        width, height = self.config.input_size
        if images.dim() != 4 or tuple(images.shape[1:]) != (3, height, width):
            raise ValueError(
                f"images must be (B, 3, {height}, {width}) for this network, got {tuple(images.shape)}; "
                f"another size needs a network built with input_size=(width, height)"
            )
        if not images.is_floating_point():
            raise ValueError(f"images must be floating point and normalised, got {images.dtype}; see gtpt.model.normalize")
        return self.patch_norm(self.stem(images))

    def tokenize(self, features: Tensor) -> Tensor:
        """Feature map (B, C, H/4, W/4) to one token per patch, (B, N, D)."""
        (rows, columns), (ph, pw) = self.config.grid, self.config.patch
        pixels = features.permute(0, 2, 3, 1)  # channels last, as they lie in memory
        patches = pixels.unflatten(2, (columns, pw)).unflatten(1, (rows, ph))  # (B, rows, ph, columns, pw, C)
        patches = patches.transpose(2, 3).flatten(3).flatten(1, 2)  # (B, N, ph * pw * C), channel fastest
        return self.patch_embed(patches) + self.pos_embedding

    def encode(self, image: Tensor, keep_rates: Sequence[float] | str | None = None) -> Encoded:
        """Everything after the tokenizer: visual tokens (B, N, D) to logits."""
        counts = self.config.keep_counts(self._rates(keep_rates))
        kept: dict[str, list[Tensor]] = {}
        person, logits = self._encode_coarse(image, counts[:2], kept)
        streams = self._split_groups(person, logits, counts[2], kept)
        sides = self._encode_groups(streams, counts[2:], kept)

        coarse = [side[:, : len(g.keypoints)] for side, g in zip(sides, self.config.groups, strict=True)]
        fine = [side[:, len(g.keypoints) :] for side, g in zip(sides, self.config.groups, strict=True)]
        keypoints = torch.cat(coarse + fine, dim=1)[:, self.output_order]  # (B, K, D)
        return Encoded(self.head_x(keypoints), self.head_y(keypoints), kept, logits, person.ids, person.image)

    def _rates(self, keep_rates: Sequence[float] | str | None) -> tuple[float, ...]:
        """The four keep rates that are meant, checked."""
        if keep_rates is None:
            return self.config.keep_rates
        if isinstance(keep_rates, (str, float, int)):
            if keep_rates == "entire":
                return ENTIRE
            raise ValueError(f"keep_rates must be four numbers or 'entire', got {keep_rates!r}")
        rates = tuple(keep_rates)
        self.config.check_keep_rates(rates)
        return rates

    def _encode_coarse(self, image: Tensor, counts: Sequence[int], kept: dict) -> tuple[Stream, Tensor]:
        """Section 3.2: the human token finds the person, then part and keypoint tokens take its place.

        Returns:
            The tokens, and the last layer's attention logits of side tokens on patches (B, h, S, N).
        """
        batch, patches = image.shape[:2]
        ids = torch.arange(patches, device=image.device).expand(batch, -1)
        side = self.human_token.expand(batch, -1, -1)
        stream = Stream(side, image, self.pos_embedding.to(image.dtype).expand(batch, -1, -1), ids)
        middle = len(self.coarse_encoder) // 2
        for depth, layer in enumerate(self.coarse_encoder):
            if depth > 0:
                stream = stream._replace(image=stream.image + stream.pos)
            tokens, asking = stream.tokens(), stream.side.shape[1]
            q, k, v = layer.attn.project(layer.attn_norm(tokens))
            stream = stream.with_tokens(tokens + layer.attn.attend(q, k, v))
            if (keep := counts[depth // middle]) < stream.image.shape[1]:
                stream = stream.prune(layer.attn.logits(q[:, :, :asking], k[:, :, asking:]), keep)
                kept[f"coarse{depth}"] = [stream.ids.sort(dim=1).values]
            if depth == middle:  # between attention and MLP: from here on the keypoints ask, each starting as the human
                stream = stream._replace(side=stream.side + self._side_tokens())
            stream = stream.with_tokens(layer.feed_forward(stream.tokens()))
        return stream, layer.attn.logits(q[:, :, :asking], k[:, :, asking:])

    def _side_tokens(self) -> Tensor:
        """Part tokens, then coarse keypoint tokens in group order: (1, S, D)."""
        if self.part_token is None:
            return self.keypoint_token
        return torch.cat([self.part_token, self.keypoint_token], dim=1)

    def _split_groups(self, person: Stream, logits: Tensor, count: int, kept: dict) -> list[Stream]:
        """Section 3.3: each group gets a gated copy of the patches and prunes it; parts unfold into fine keypoints."""
        gates = self.group_gate(person.image).chunk(len(self.config.groups), dim=2)  # G x (B, N, D)
        streams = []
        part, joint, fine = 0, self.config.num_parts, 0  # next row of the side tokens, next fine keypoint token
        for group, gate in zip(self.config.groups, gates, strict=True):
            part_rows = list(range(part, part + len(group.parts)))
            joint_rows = list(range(joint, joint + len(group.keypoints)))
            side = [person.side[:, joint_rows]]
            for row, (_, points) in zip(part_rows, group.parts, strict=True):
                assert self.fine_keypoint_token is not None
                side.append(person.side[:, row, None] + self.fine_keypoint_token[:, fine : fine + len(points)])
                fine += len(points)
            part, joint = part + len(part_rows), joint + len(joint_rows)
            stream = Stream(torch.cat(side, dim=1), person.image * gate, person.pos * gate, person.ids)
            if (keep := count - len(group.fine)) < stream.image.shape[1]:
                stream = stream.prune(logits[:, :, part_rows + joint_rows], keep)
                kept.setdefault("entry", []).append(stream.ids.sort(dim=1).values)
            streams.append(stream)
        return streams

    def _encode_groups(self, streams: list[Stream], counts: Sequence[int], kept: dict) -> list[Tensor]:
        """Section 3.4, MHGA: every token asks its own group and the coarse keypoints of all groups, in one softmax.

        Returns:
            Per group its keypoint tokens (B, S, D): coarse, then fine.
        """
        groups = self.config.groups
        middle, last = len(self.group_encoder) // 2, len(self.group_encoder) - 1
        for depth, layer in enumerate(self.group_encoder):
            streams = [s._replace(image=s.image + s.pos) for s in streams]
            qkv = [layer.attn.project(layer.attn_norm(s.tokens())) for s in streams]
            shared = [
                torch.cat([part[i][:, :, : len(g.keypoints)] for part, g in zip(qkv, groups, strict=True)], dim=2)
                for i in (1, 2)
            ]  # keys and values of all coarse keypoints
            for i, (group, (q, k, v)) in enumerate(zip(groups, qkv, strict=True)):
                stream, own = streams[i], len(group.keypoints)
                asking = stream.side.shape[1]
                tokens = stream.tokens()
                if depth == last:  # only keypoints are read from here on
                    tokens, q = stream.side, q[:, :, :asking]
                keys = torch.cat([shared[0], k[:, :, own:]], dim=2)
                values = torch.cat([shared[1], v[:, :, own:]], dim=2)
                stream = stream.with_tokens(tokens + layer.attn.attend(q, keys, values))
                if (keep := counts[depth // middle] - len(group.fine)) < stream.image.shape[1]:
                    stream = stream.prune(layer.attn.logits(q[:, :, :asking], k[:, :, asking:]), keep)
                    kept.setdefault(f"group{depth}", []).append(stream.ids.sort(dim=1).values)
                streams[i] = stream.with_tokens(layer.feed_forward(stream.tokens()))
        return [s.side for s in streams]


def normalize(crops: Tensor) -> Tensor:
    """RGB uint8 crops (B, H, W, 3) to the network's input (B, 3, H, W) float32, channels last in memory."""
    mean, std = (torch.tensor(c, device=crops.device) * 255 for c in (PIXEL_MEAN, PIXEL_STD))
    return ((crops.float() - mean) / std).permute(0, 3, 1, 2)


def sine_table(grid: tuple[int, int], dim: int) -> Tensor:
    """Initial position embedding (1, N, D) of a grid of rows and columns: half of the channels say y, half x."""
    half = dim // 2
    channel = torch.arange(half)
    frequency = 10000 ** (2 * (channel // 2) / half)

    def encode(count: int) -> Tensor:
        angle = (torch.arange(1, count + 1) / (count + 1e-6) * 2 * math.pi)[:, None] / frequency  # (count, half)
        return torch.where(channel % 2 == 0, angle.sin(), angle.cos())

    rows, columns = grid
    y = encode(rows)[:, None].expand(rows, columns, half)
    x = encode(columns)[None].expand(rows, columns, half)
    return torch.cat([y, x], dim=2).reshape(1, rows * columns, dim)


def init_weights(module: nn.Module) -> None:
    """The official initialisation: tiny convolutions (a BatchNorm follows each), PyTorch's defaults elsewhere."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.001)
