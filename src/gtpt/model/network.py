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

from gtpt.core.errors import InputError
from gtpt.core.geometry import PIXEL_MEAN, PIXEL_STD
from gtpt.core.skeleton import Skeleton
from gtpt.model.attention import Attention
from gtpt.model.config import GTPTConfig
from gtpt.model.layout import Layout
from gtpt.model.pruning import patch_scores, prune, rows, take, top_patches
from gtpt.model.stem import STEMS


class Explained(NamedTuple):
    """Logits and which patches survived each prune.

    `kept` maps "coarse0" and "coarse3" (in the first layer, and after the human token looked around), "entry" (on entering
    the groups) and "group3" (in the middle of the group encoder) to a list with one (B, n) int64 tensor per group, or a
    single one before there are groups: ids of patches, row-major over the grid, ascending. A stage in which nothing was
    pruned is absent.
    """

    x: Tensor
    y: Tensor
    kept: dict[str, list[Tensor]]


class Person(NamedTuple):
    """What leaves the coarse encoder: tokens of the whole person."""

    side: Tensor  # (B, S, D) part tokens, then coarse keypoint tokens in group order
    image: Tensor  # (B, N, D) visual tokens
    pos: Tensor  # (B, N, D) position embedding of each visual token
    ids: Tensor  # (B, N) patch number of each visual token
    attention: Tensor  # (B, h, S, N) logits of the last layer, by which the groups prune first


class Encoded(NamedTuple):
    """What `GTPT.encode` knows in the end: logits, kept patches (see `Explained`), and what training looks at."""

    x: Tensor
    y: Tensor
    kept: dict[str, list[Tensor]]
    person: Person


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


class PatchEmbed(nn.Linear):
    """One token per patch."""

    def __init__(self, channels: int, patch: tuple[int, int], dim: int):
        super().__init__(math.prod(patch) * channels, dim)
        self.patch = patch

    def forward(self, features: Tensor) -> Tensor:
        """Feature map (B, C, H, W) to tokens (B, N, D), row-major."""
        ph, pw = self.patch
        pixels = features.permute(0, 2, 3, 1)  # (B, H, W, C), channels last, as they lie in memory
        patches = pixels.unflatten(2, (-1, pw)).unflatten(1, (-1, ph))  # (B, rows, ph, columns, pw, C)
        patches = patches.transpose(2, 3).flatten(3).flatten(1, 2)  # (B, N, ph * pw * C), channel fastest
        return super().forward(patches)


class GTPT(nn.Module):
    """The network. Build it with `gtpt.model.build`, `load` or `load_official`.

    Args:
        config: sizes, groups and keep rates.
        skeleton: names of the keypoints; the network itself never reads it, checkpoints and exports carry it along.
    """

    pos_embedding: Tensor

    def __init__(self, config: GTPTConfig, skeleton: Skeleton | None = None):
        super().__init__()
        self.config = config
        self.skeleton = skeleton
        dim, groups = config.dim, config.groups
        self.stem = STEMS[config.stem](config.stem_channels)
        self.patch_norm = nn.BatchNorm2d(config.stem_channels)
        self.patch_embed = PatchEmbed(config.stem_channels, config.patch, dim)
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

        self.layout = Layout(groups)
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
            keep_rates: instead of the config's, see `GTPTConfig.choose_keep_rates`. With fine keypoints even the "entire"
                pass drops as many patches per group as it has fine keypoints (as the official code does).
            return_kept: also return which patches survived.

        Returns:
            x logits (B, K, W * split) and y logits (B, K, H * split), or `Explained`.

        Raises:
            ValueError: images of another shape, or keep rates that leave a group no patch.
        """
        out = self.encode(self.embed(images), keep_rates)
        if not return_kept:
            return out.x, out.y
        kept = {stage: [ids.sort(dim=1).values for ids in groups] for stage, groups in out.kept.items()}
        return Explained(out.x, out.y, kept)

    def embed(self, images: Tensor) -> Tensor:
        """Visual tokens (B, N, D) of the whole crop; the part that both passes of the training step share."""
        return self.tokenize(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Feature map (B, C, H/4, W/4)."""
        width, height = self.config.input_size
        if images.dim() != 4 or tuple(images.shape[1:]) != (3, height, width):
            raise InputError(
                f"images must be (B, 3, {height}, {width}) for this network, got {tuple(images.shape)}; "
                f"another size needs a network built with input_size=(width, height)"
            )
        if not images.is_floating_point():
            raise InputError(f"images must be floating point and normalised, got {images.dtype}; see gtpt.model.normalize")
        return self.patch_norm(self.stem(images))

    def tokenize(self, features: Tensor) -> Tensor:
        """Feature map (B, C, H/4, W/4) to one token per patch, (B, N, D)."""
        return self.patch_embed(features) + self.pos_embedding

    def encode(self, image: Tensor, keep_rates: Sequence[float] | str | None = None) -> Encoded:
        """Everything after the tokenizer: visual tokens (B, N, D) to logits."""
        counts = self.config.keep_counts(self.config.choose_keep_rates(keep_rates))
        kept: dict[str, list[Tensor]] = {}
        person = self._encode_coarse(image, counts[:2], kept)
        keypoints = self._encode_groups(*self._split_groups(person, counts[2], kept), counts[2:], kept)  # (B, K, D)
        x, y = self.head_x(keypoints), self.head_y(keypoints)
        return Encoded(x, y, kept, person)

    def _encode_coarse(self, image: Tensor, counts: Sequence[int], kept: dict[str, list[Tensor]]) -> Person:
        """Section 3.2: the human token finds the person, then part and keypoint tokens take its place."""
        batch, patches, _ = image.shape
        side, middle = 1, len(self.coarse_encoder) // 2
        x = torch.cat([self.human_token.expand(batch, -1, -1), image], dim=1)  # (B, S + N, D)
        pos = self.pos_embedding.to(x.dtype).expand(batch, -1, -1)  # (B, N, D)
        ids = torch.arange(patches, device=x.device).expand(batch, -1)  # (B, N)
        for depth, layer in enumerate(self.coarse_encoder):
            if depth > 0:
                x = x + F.pad(pos, (0, 0, side, 0))
            normed = layer.attn_norm(x)
            keys, values = layer.attn.keys_values(normed)
            if (keep := counts[depth // middle]) < ids.shape[1]:
                index = layer.attn.most_looked_at(normed[:, :side], keys[:, side:], keep)
                x, normed = prune(x, index, side), prune(normed, index, side)
                pos, ids = take(pos, index), ids.gather(1, index)
                kept[f"coarse{depth}"] = [ids]
            x = x + layer.attn(normed, keys, values)  # a patch that goes asks no more, but still answers
            if depth == middle:  # between attention and MLP: from here on the keypoints ask, each starting as the human
                x = torch.cat([x[:, :side] + self._side_tokens(), x[:, side:]], dim=1)
                side = x.shape[1] - keep
            x = layer.feed_forward(x)
        return Person(x[:, :side], x[:, side:], pos, ids, layer.attn.logits(normed[:, :side], keys[:, side:]))

    def _side_tokens(self) -> Tensor:
        """Part tokens, then coarse keypoint tokens in group order: (1, S, D)."""
        if self.part_token is None:
            return self.keypoint_token
        return torch.cat([self.part_token, self.keypoint_token], dim=1)

    def _split_groups(
        self, person: Person, count: int, kept: dict[str, list[Tensor]]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Section 3.3: each group gets a gated copy of the patches that it keeps; parts unfold into fine keypoints.

        Returns:
            Tokens (B, G, T, D), their positions (B, G, T, D), zero for keypoints, and patch numbers G x (B, N).
        """
        layout, gates = self.layout, cast("nn.Linear", self.group_gate[2])
        hidden = self.group_gate[:2](person.image)  # (B, N, D / 2)
        tokens, positions = [], []
        numbers: list[Tensor] = []
        for g, group in enumerate(layout.groups):
            visual, ids = [person.image, person.pos, hidden], person.ids
            if (keep := count - len(group.fine_tokens)) < ids.shape[1]:
                asking = rows(person.attention, [*group.parts, *group.joints], dim=2)  # (B, h, rows, N)
                index = top_patches(patch_scores(asking), keep)
                visual, ids = [take(t, index) for t in visual], ids.gather(1, index)
                kept["entry"] = numbers  # of all groups: one with fine keypoints may prune where another does not
            image, pos, own_hidden = visual
            weight, bias = (p.unflatten(0, (len(layout.groups), -1))[g] for p in (gates.weight, gates.bias))
            gate = F.linear(own_hidden, weight, bias).sigmoid()  # (B, N, D), of the patches that stay
            joints = rows(person.side, group.joints, dim=1)
            side = [F.pad(joints, (0, 0, 0, layout.slots - len(group.joints)))]  # (B, slots, D)
            if self.fine_keypoint_token is not None and group.fine_tokens:
                parts = rows(person.side, group.part_of_fine, dim=1)
                side.append(parts + rows(self.fine_keypoint_token, group.fine_tokens, dim=1))
            tokens.append(torch.cat([*side, image * gate], dim=1))  # (B, T, D)
            positions.append(F.pad(pos * gate, (0, 0, group.image, 0)))
            numbers.append(ids)
        return torch.stack(tokens, dim=1), torch.stack(positions, dim=1), numbers

    def _encode_groups(
        self, x: Tensor, pos: Tensor, ids: list[Tensor], counts: Sequence[int], kept: dict[str, list[Tensor]]
    ) -> Tensor:
        """Section 3.4, MHGA: every token asks its own group and the coarse keypoints of all groups, in one softmax.

        Returns:
            Keypoint tokens (B, K, D) in output order.
        """
        layout, middle, last = self.layout, len(self.group_encoder) // 2, len(self.group_encoder) - 1
        for depth, layer in enumerate(self.group_encoder):
            x = x + pos  # (B, G, T, D)
            normed = layer.attn_norm(x)
            keys, values = layer.attn.keys_values(normed)
            answering = self._answering(keys), self._answering(values)
            if (keep := counts[depth // middle]) < x.shape[2] - layout.slots:
                index = [
                    layer.attn.most_looked_at(
                        rows(normed[:, g], group.keypoints, dim=1), keys[:, g, group.image :], keep - len(group.fine_tokens)
                    )
                    for g, group in enumerate(layout.groups)
                ]
                x, pos, normed = (prune_groups(t, index, layout) for t in (x, pos, normed))
                kept[f"group{depth}"] = ids = [i.gather(1, best) for i, best in zip(ids, index, strict=True)]
            if depth == last:  # only keypoints are read from here on
                x, normed = x[:, :, : layout.side], normed[:, :, : layout.side]
            x = x + layer.attn(normed, *answering)
            if depth == last:
                x = rows(x.flatten(1, 2), layout.outputs, dim=1)  # (B, K, D)
            x = layer.feed_forward(x)
        return x

    def _answering(self, keys: Tensor) -> Tensor:
        """Whom each group asks, of keys or values (B, G, T, D): all coarse keypoints and its own others, (B, G, M, D)."""
        index = self.layout.answering(keys.shape[2])
        return rows(keys.flatten(1, 2), index, dim=1).unflatten(1, (keys.shape[1], -1))


def prune_groups(tokens: Tensor, index: Sequence[Tensor], layout: Layout) -> Tensor:
    """Keypoints of each group (B, G, T, D), and its visual tokens at index, G x (B, keep)."""
    pruned = [prune(tokens[:, g], i, group.image) for g, (group, i) in enumerate(zip(layout.groups, index, strict=True))]
    return torch.stack(pruned, dim=1)


def normalize(crops: Tensor) -> Tensor:
    """RGB uint8 crops (B, H, W, 3) to the network's input (B, 3, H, W) float32, channels last in memory."""
    mean, std = (torch.tensor(c, device=crops.device)[:, None, None] * 255 for c in (PIXEL_MEAN, PIXEL_STD))
    return (crops.permute(0, 3, 1, 2).float() - mean) / std


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
