"""The network as it is deployed: the same numbers from fewer and larger operations, in a static graph that exports well.

What differs from `gtpt.model.network`:
    BatchNorm, pixel normalisation and patch norm are folded into weights;
    the stem neither shuffles nor splits channels: each convolution writes them where they are read;
    one convolution embeds the patches, so that no feature map is rearranged;
    a pruning layer decides first, so that patches that go are not asked (but still answer, as keys and values);
    groups are a batch axis, since each has the same number of tokens besides its coarse keypoints;
    the last layer computes only what the heads read.

Shapes: B batch, N visual tokens, D width, h heads, d = D / h, G groups, T tokens of a group: first slots for its coarse
keypoints (the largest group fills them, others repeat one that nobody asks), then fine keypoints, then visual tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gtpt.core.geometry import PIXEL_MEAN, PIXEL_STD
from gtpt.model.network import GTPT, Explained, Layer
from gtpt.model.pruning import patch_scores, top_patches
from gtpt.model.stem import PlainStem


def inference_form(model: GTPT) -> InferenceForm:
    """A copy of a network for deployment, on the CPU in float32; its logits agree to about 1e-5.

    Args:
        model: stays as it is, and training it further does not reach the copy.

    Raises:
        ValueError: not a GTPT.
    """
    if not isinstance(model, GTPT):
        raise ValueError(f"only a gtpt.model.GTPT has an inference form, got {type(model).__name__}")
    with torch.no_grad():
        return InferenceForm(copy.deepcopy(model).cpu().float()).eval().requires_grad_(False)


class InferenceForm(nn.Module):
    """Made by `inference_form`."""

    coarse_encoder: Any  # ModuleList of FastLayer
    group_encoder: Any
    gate_hidden: Any
    mean: Tensor
    std: Tensor
    pos: Tensor
    human: Tensor
    side: Tensor
    fine: Tensor

    def __init__(self, model: GTPT):
        super().__init__()
        config = self.config = model.config
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN) * 255)
        self.register_buffer("std", torch.tensor(PIXEL_STD) * 255)
        stem: Any = model.stem
        self.conv = fold(*stem.conv[:2])
        self.conv.weight /= self.std[:, None, None]  # not the mean: the convolution pads with zeros, which are mean pixels
        self.stem = Stem(stem)
        self.patch_embed = embed_convolution(model, self.stem.order)
        self.coarse_encoder = nn.ModuleList(FastLayer(layer) for layer in model.coarse_encoder)
        self.gate_hidden, gate = model.group_gate[0], model.group_gate[2]
        assert isinstance(gate, nn.Linear)
        self.gates = nn.ModuleList(
            linear(w, b) for w, b in zip(gate.weight.split(config.dim), gate.bias.split(config.dim), strict=True)
        )
        self.group_encoder = nn.ModuleList(FastLayer(layer) for layer in model.group_encoder)
        self.head = fuse_heads(model)
        parts = [] if model.part_token is None else [model.part_token]
        self.register_buffer("pos", model.pos_embedding)
        self.register_buffer("human", model.human_token.detach())
        self.register_buffer("side", torch.cat([*parts, model.keypoint_token], dim=1).detach())
        self.register_buffer("fine", None if model.fine_keypoint_token is None else model.fine_keypoint_token.detach())
        self.layout = Layout(config.groups)

    def forward(self, crops: Tensor, return_kept: bool = False) -> tuple[Tensor, Tensor] | Explained:
        """SimCC logits of one person per crop.

        Args:
            crops: (B, H, W, 3) uint8 RGB, or (B, 3, H, W) float of `gtpt.model.normalize`.
            return_kept: also return which patches survived.

        Returns:
            x logits (B, K, W * split) and y logits (B, K, H * split), or `Explained`.

        Raises:
            ValueError: crops of another shape.
        """
        kept: dict[str, list[Tensor]] = {}
        coarse = self._encode_coarse(self.embed(crops), kept)
        keypoints = self._encode_groups(*self._split_groups(*coarse, kept), kept)
        logits = self.head(F.layer_norm(keypoints, keypoints.shape[-1:]))  # (B, K, bins of x and y)
        x, y = logits.split(self.config.bins, dim=-1)
        if not return_kept:
            return x, y
        return Explained(x, y, {stage: [ids.sort(dim=1).values for ids in groups] for stage, groups in kept.items()})

    def embed(self, crops: Tensor) -> Tensor:
        """Visual tokens (B, N, D) of the whole crop."""
        width, height = self.config.input_size
        shape = (height, width, 3) if crops.dtype == torch.uint8 else (3, height, width)
        if tuple(crops.shape[1:]) != shape:
            raise ValueError(f"{crops.dtype} crops must be (B, {', '.join(map(str, shape))}), got {tuple(crops.shape)}")
        if crops.dtype == torch.uint8:
            pixels = crops.permute(0, 3, 1, 2).float() - self.mean[:, None, None]
        else:
            pixels = crops * self.std[:, None, None]
        features = self.stem(F.relu(self.conv(pixels)))  # (B, C, H/4, W/4)
        return self.patch_embed(features).flatten(2).transpose(1, 2) + self.pos

    def _encode_coarse(self, image: Tensor, kept: dict) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Side tokens, visual tokens, their positions and patch numbers, and the last layer's logits (B, h, S, N)."""
        batch, side = image.shape[0], 1
        x = torch.cat([self.human.expand(batch, -1, -1), image], dim=1)  # (B, S + N, D)
        pos, ids = self.pos, torch.arange(self.config.num_patches, device=x.device).expand(batch, -1)
        counts, middle = self.config.keep_counts(), len(self.coarse_encoder) // 2
        for depth, layer in enumerate(self.coarse_encoder):
            if depth > 0:
                x = x + F.pad(pos, (0, 0, side, 0))
            normed = layer.attn_norm(x)
            keys, values = layer.k(normed), layer.v(normed)
            if (keep := counts[depth // middle]) < ids.shape[1]:
                index = top_patches(patch_scores(layer.logits(normed[:, :side], keys[:, side:])), keep)
                x = prune(x, index, side)
                pos, ids = take(pos.expand(batch, -1, -1), index), ids.gather(1, index)
                kept[f"coarse{depth}"] = [ids]
                normed = layer.attn_norm(x)
            x = x + layer.attend(normed, keys, values)
            if depth == middle:
                x = torch.cat([x[:, :side] + self.side, x[:, side:]], dim=1)
                side = self.side.shape[1]
            x = x + layer.mlp(layer.mlp_norm(x))
        logits = layer.logits(normed[:, :side], keys[:, side:])
        return x[:, :side], x[:, side:], pos.expand(batch, -1, -1), ids, logits

    def _split_groups(
        self, side: Tensor, image: Tensor, pos: Tensor, ids: Tensor, logits: Tensor, kept: dict
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Tokens and positions of the groups, each (B, G, T, D), and patch numbers per group."""
        count = self.config.keep_counts()[2]
        hidden = F.relu(self.gate_hidden(image))
        tokens, positions, numbers = [], [], []
        for group, gate in zip(self.layout.groups, self.gates, strict=True):
            own, own_pos, own_ids, own_hidden = image, pos, ids, hidden
            if (keep := count - group.fine) < ids.shape[1]:
                index = top_patches(patch_scores(rows(logits, group.asking, dim=2)), keep)
                own, own_pos, own_hidden = take(image, index), take(pos, index), take(hidden, index)
                own_ids = ids.gather(1, index)
                kept.setdefault("entry", []).append(own_ids)
            gates = gate(own_hidden).sigmoid()
            start = [rows(side, group.slots, dim=1)]
            if group.fine:
                start.append(rows(side, group.part_of_fine, dim=1) + self.fine[:, group.fine_tokens])
            tokens.append(torch.cat([*start, own * gates], dim=1))
            positions.append(F.pad(own_pos * gates, (0, 0, group.image, 0)))
            numbers.append(own_ids)
        return torch.stack(tokens, dim=1), torch.stack(positions, dim=1), numbers

    def _encode_groups(self, x: Tensor, pos: Tensor, ids: list[Tensor], kept: dict) -> Tensor:
        """Keypoint tokens (B, K, D) in output order."""
        counts, middle, last = self.config.keep_counts()[2:], len(self.group_encoder) // 2, len(self.group_encoder) - 1
        layout, now = self.layout, counts[0]
        for depth, layer in enumerate(self.group_encoder):
            x = x + pos  # (B, G, T, D)
            normed = layer.attn_norm(x)
            keys, values = layer.k(normed), layer.v(normed)
            shared = layout.shared_keys(x.shape[2])
            shared_keys, shared_values = (
                rows(t.flatten(1, 2), shared, dim=1).unflatten(1, (len(layout.groups), -1)) for t in (keys, values)
            )  # (B, G, all coarse keypoints + own fine and visual tokens, D)
            if (keep := counts[depth // middle]) < now:
                x, pos, ids = self._prune_groups(layer, x, pos, ids, normed, keys, keep)
                kept[f"group{depth}"] = ids
                normed, now = layer.attn_norm(x), keep
            if depth == last:
                x, normed = x[:, :, : layout.side], normed[:, :, : layout.side]
            x = x + layer.attend(normed, shared_keys, shared_values)
            if depth == last:
                x = rows(x.flatten(1, 2), layout.outputs, dim=1)  # (B, K, D)
            x = x + layer.mlp(layer.mlp_norm(x))
        return x

    def _prune_groups(
        self, layer: FastLayer, x: Tensor, pos: Tensor, ids: list[Tensor], normed: Tensor, keys: Tensor, count: int
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Keep `count` fine keypoints and visual tokens in each group."""
        tokens, positions, numbers = [], [], []
        for g, group in enumerate(self.layout.groups):
            asking = rows(normed[:, g], group.keypoints, dim=1)
            logits = layer.logits(asking, keys[:, g, group.image :])
            index = top_patches(patch_scores(logits), count - group.fine)
            tokens.append(prune(x[:, g], index, group.image))
            positions.append(prune(pos[:, g], index, group.image))
            numbers.append(ids[g].gather(1, index))
        return torch.stack(tokens, dim=1), torch.stack(positions, dim=1), numbers


class Decoded(nn.Module):
    """An inference form that ends in keypoints (B, K, 2) in crop pixels and raw scores (B, K), as of `simcc.decode`."""

    def __init__(self, form: InferenceForm):
        super().__init__()
        self.form = form

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.form(crops)
        coords = torch.stack([v.argmax(dim=-1) for v in logits], dim=-1).float() / self.form.config.simcc_split
        peaks = [1 / (v - v.amax(dim=-1, keepdim=True)).exp().sum(dim=-1) for v in logits]
        return coords, torch.minimum(*peaks)


# --- tokens -----------------------------------------------------------------------------------------------------------


class FastLayer(nn.Module):
    """A `Layer` in pieces, because keys are those of before a prune and shared between groups, and queries those after.

    Attributes:
        one_operator: export attention as ONNX's own operator of opset 23, which is faster where it is known.
    """

    one_operator = False

    def __init__(self, layer: Layer):
        super().__init__()
        self.heads, self.scale = layer.attn.heads, layer.attn.scale
        self.q, self.k, self.v = map(linear, layer.attn.qkv.weight.chunk(3))
        self.attn_norm, self.proj, self.mlp_norm, self.mlp = layer.attn_norm, layer.attn.proj, layer.mlp_norm, layer.mlp

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)  # (..., T, D) -> (..., h, T, d)

    def logits(self, asking: Tensor, keys: Tensor) -> Tensor:
        """Scaled attention logits (..., h, rows, N) of normed tokens (..., rows, D) on keys (..., N, D)."""
        return self.split(self.q(asking) * self.scale) @ self.split(keys).transpose(-1, -2)

    def attend(self, asking: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        if self.one_operator:
            q, k, v = (t.flatten(0, -3) for t in (self.q(asking), keys, values))
            out = torch.onnx.ops.attention(q, k, v, scale=self.scale, q_num_heads=self.heads, kv_num_heads=self.heads)[0]
            return self.proj(out.view(asking.shape))
        out = self.logits(asking, keys).softmax(dim=-1) @ self.split(values)  # (..., h, T, d)
        return self.proj(out.transpose(-2, -3).flatten(-2))


def rows(x: Tensor, index: Sequence[int], dim: int) -> Tensor:
    """Fixed rows of a tensor: a slice where they follow each other."""
    if list(index) == list(range(index[0], index[-1] + 1)):
        return x.narrow(dim, index[0], len(index))
    return x.index_select(dim, torch.tensor(index, device=x.device))


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens (B, N, C) at index (B, n). A lookup in all tokens of the batch, which copies whole rows."""
    batch, count, _ = tokens.shape
    return F.embedding(index + torch.arange(batch, device=index.device)[:, None] * count, tokens.flatten(0, 1))


def prune(tokens: Tensor, index: Tensor, side: int) -> Tensor:
    """The first `side` tokens, and those at index (B, n) of the others."""
    return torch.cat([tokens[:, :side], take(tokens[:, side:], index)], dim=1)


class GroupRows:
    """Where the tokens of one group are.

    Attributes:
        slots: side tokens of its coarse keypoints, filled up to the size of the largest group.
        asking: side tokens that decide on entering the groups: parts and coarse keypoints.
        fine: number of fine keypoints.
        part_of_fine: side token that each fine keypoint grows from; fine_tokens: its own tokens.
        image: row of its first visual token.
        keypoints: rows of its coarse and fine keypoints.
    """

    def __init__(self, parts: range, joints: range, fine_per_part: Sequence[int], fine_start: int, slots: int):
        self.slots = [*joints, *[joints[0]] * (slots - len(joints))]
        self.asking = [*parts, *joints]
        self.fine = sum(fine_per_part)
        self.part_of_fine = [part for part, count in zip(parts, fine_per_part, strict=True) for _ in range(count)]
        self.fine_tokens = slice(fine_start, fine_start + self.fine)
        self.image = slots + self.fine
        self.keypoints = [*range(len(joints)), *range(slots, self.image)]


class Layout:
    """Where the tokens of all groups are.

    Attributes:
        side: rows at the start of a group that hold its keypoints; the same number in all groups.
        outputs: rows of the keypoints in output order, once G groups of `side` rows are one axis.
    """

    def __init__(self, groups: Sequence):
        fine_per_part = [[len(points) for _, points in g.parts] for g in groups]
        parts = list(accumulate((len(f) for f in fine_per_part), initial=0))
        joints = list(accumulate((len(g.keypoints) for g in groups), initial=parts[-1]))
        fine = list(accumulate((sum(f) for f in fine_per_part), initial=0))
        self.slots = max(len(g.keypoints) for g in groups)
        self.groups = [
            GroupRows(range(*parts[i : i + 2]), range(*joints[i : i + 2]), fine_per_part[i], fine[i], self.slots)
            for i in range(len(groups))
        ]
        self.coarse = [len(g.keypoints) for g in groups]
        self.side = max(g.image for g in self.groups)
        made = [k for g in groups for k in (*g.keypoints, *g.fine)]
        where = [i * self.side + row for i, g in enumerate(self.groups) for row in g.keypoints]
        self.outputs = [row for _, row in sorted(zip(made, where, strict=True))]

    def shared_keys(self, tokens: int) -> list[int]:
        """For each group of T tokens: coarse keypoints of all groups, then its own other tokens; rows of (G * T)."""
        coarse = [g * tokens + slot for g, count in enumerate(self.coarse) for slot in range(count)]
        return [
            row for g in range(len(self.groups)) for row in (*coarse, *range(g * tokens + self.slots, (g + 1) * tokens))
        ]


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def embed_convolution(model: GTPT, order: Sequence[int]) -> nn.Conv2d:
    """`patch_norm` and `patch_embed` as one convolution over whole patches, for a feature map with channels in `order`."""
    embed, patch = fold_patch_norm(model), model.config.patch
    conv = nn.Conv2d(model.config.stem_channels, model.config.dim, patch, patch)
    weight = embed.weight.unflatten(1, (*patch, -1)).permute(0, 3, 1, 2)  # (D, C, rows, columns)
    conv.weight.copy_(weight[:, list(order)])
    conv.bias.copy_(embed.bias)  # type: ignore[union-attr]
    return conv


def fuse_heads(model: GTPT) -> nn.Linear:
    """Both heads as one linear layer after a LayerNorm without gain and shift, which are folded in."""
    heads = [fold_layer_norm(*head) for head in (model.head_x, model.head_y)]
    return linear(torch.cat([head.weight for head in heads]), torch.cat([head.bias for head in heads]))


def fold_patch_norm(model: GTPT) -> nn.Linear:
    """`patch_embed` with the BatchNorm of the feature map before it."""
    embed = model.patch_embed
    gain, shift = (value.repeat(embed.in_features // len(value)) for value in affine(model.patch_norm))  # channel fastest
    weight = embed.weight.double()
    return linear((weight * gain).float(), (embed.bias + (weight * shift).sum(dim=1)).float())


def fold_layer_norm(norm: nn.LayerNorm, layer: nn.Linear) -> nn.Linear:
    """A linear layer with the gain and shift of the LayerNorm before it."""
    return linear(layer.weight * norm.weight, layer.bias + layer.weight @ norm.bias)


# --- stem -------------------------------------------------------------------------------------------------------------


class Stem(nn.Module):
    """What follows the first convolution; `order` tells which of the original channels each output channel is."""

    def __init__(self, stem: Any):  # PlainStem or PyramidStem
        super().__init__()
        plain = isinstance(stem, PlainStem)
        order: Sequence[int] = range(64)
        self.down, self.upsample, self.fuse = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        skips = []
        for stage in [stem.stage] if plain else stem.down:
            self.down.append(shrinking := Stage(stage, order))
            order = shrinking.chain.order
            skips.append(order)
        for skip, upsample, fuse in () if plain else zip(skips[-2::-1], stem.upsample, stem.fuse, strict=True):
            enter, *units = fuse
            inputs = [*skip, *range(len(skip), 2 * len(skip))]
            self.upsample.append(channels(fold_upsample(upsample), inputs=order))
            self.fuse.append(chain := Chain([channels(fold(*enter[:2]), inputs=inputs)], units))
            order = chain.order
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for stage in self.down:
            maps.append(stage(maps[-1]))
        x = maps.pop()
        for upsample, fuse in zip(self.upsample, self.fuse, strict=True):
            x = fuse(torch.cat([maps.pop(), F.pixel_shuffle(F.relu(upsample(x)), 2)], dim=1))
        return x


class Stage(nn.Module):
    """A unit of stride 2 and the units of stride 1 after it, for an input with channels in `order`."""

    def __init__(self, stage: Any, order: Sequence[int]):
        super().__init__()
        first, *units = stage
        (shrink, made), (enter, depthwise, leave) = first.shortcut, first.branch
        self.shrink = channels(fold(*shrink), outputs=order)  # depthwise: outputs are inputs
        self.enter = channels(fold(*enter[:2]), inputs=order)
        self.depthwise = fold(*depthwise)
        self.chain = Chain([channels(fold(*made[:2]), inputs=order), fold(*leave[:2])], units)

    def forward(self, x: Tensor) -> Tensor:
        return self.chain(self.shrink(x), self.depthwise(F.relu(self.enter(x))))


class Chain(nn.Module):
    """ShuffleNetV2 units of stride 1 without shuffles and splits.

    Shuffles and splits only decide who reads a channel, and each is read once: by one later unit or by what follows the
    chain. So the 1x1 convolutions that make channels are cut by reader, and readers concatenate what was made for them.

    Args:
        makers: 1x1 convolutions, ReLU after them, whose outputs enter the first unit: one, or two that are interleaved.
        units: the others.

    Attributes:
        order: original channel of each output channel.
    """

    makers: Any  # ModuleList of ModuleDict: reader -> convolution

    def __init__(self, makers: list[nn.Conv2d], units: Sequence[Any]):
        super().__init__()
        self.entries = len(makers)
        makers = [*makers, *(fold(*unit.branch[2][:2]) for unit in units)]
        made = [[(maker, channel) for channel in range(conv.out_channels)] for maker, conv in enumerate(makers)]
        flow = interleave(*made[:2]) if self.entries == 2 else made[0]
        reads = []
        for new in made[self.entries :]:
            passed, read = flow[: len(flow) // 2], flow[len(flow) // 2 :]
            reads.append(read)
            flow = interleave(passed, new)
        reads.append(flow)
        orders = [sorted(range(len(read)), key=lambda i: read[i][0]) for read in reads]  # one block per maker; stable
        self.makers = nn.ModuleList(
            nn.ModuleDict(
                {
                    str(reader): channels(conv, outputs=[c for m, c in read if m == maker])
                    for reader, read in enumerate(reads)
                    if any(m == maker for m, _ in read)
                }
            )
            for maker, conv in enumerate(makers)
        )
        self.enter = nn.ModuleList(
            channels(fold(*unit.branch[0][:2]), inputs=order) for unit, order in zip(units, orders, strict=False)
        )
        self.depthwise = nn.ModuleList(fold(*unit.branch[1]) for unit in units)
        self.order = orders[-1]

    def forward(self, *entries: Tensor) -> Tensor:
        blocks: list[list[Tensor]] = [[] for _ in range(len(self.enter) + 1)]  # per reader
        for maker, parts in enumerate(self.makers):
            if (unit := maker - self.entries) < 0:
                x = entries[maker]
            else:
                x = self.depthwise[unit](F.relu(self.enter[unit](torch.cat(blocks[unit], dim=1))))
            for reader, conv in parts.items():
                blocks[int(reader)].append(F.relu(conv(x)))
        return torch.cat(blocks[-1], dim=1)


def interleave(first: list, second: list) -> list:
    return [x for pair in zip(first, second, strict=True) for x in pair]


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Gain and shift per channel of a BatchNorm in evaluation, float64."""
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return gain, norm.bias.double() - norm.running_mean.double() * gain


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution and the BatchNorm after it as one convolution."""
    folded = copy.deepcopy(conv)
    gain, shift = affine(norm)
    folded.weight.copy_(conv.weight * gain[:, None, None, None])
    folded.bias.copy_(conv.bias * gain + shift)  # type: ignore[union-attr, operator]
    return folded


def fold_upsample(upsample: Any) -> nn.Conv2d:
    """`fold` across a pixel shuffle: BatchNorm treats the four outputs alike that become one channel."""
    conv, shuffle, norm, _ = upsample
    wide = copy.deepcopy(norm)
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(wide, name).data = getattr(norm, name).repeat_interleave(shuffle.upscale_factor**2)
    return fold(conv, wide)


def channels(conv: nn.Conv2d, *, outputs: Sequence[int] | None = None, inputs: Sequence[int] | None = None) -> nn.Conv2d:
    """A convolution with these of its output channels, for an input with channels in this order."""
    picked = copy.deepcopy(conv)
    if outputs is not None:
        picked.weight, picked.bias = (nn.Parameter(t[list(outputs)]) for t in picked.parameters())
        picked.out_channels = len(outputs)
    if inputs is not None:
        picked.weight = nn.Parameter(picked.weight[:, list(inputs)])
    return picked
