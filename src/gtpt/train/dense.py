"""Keypoint maps read straight from the features: a second answer, asked for in training only (ours; not in the paper)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gtpt.model.config import GTPTConfig
from gtpt.train.loss import pointing_loss


class DenseHeads(nn.Module):
    """Two linear maps from features to "which keypoint is in this cell", of the stem's map and of the visual tokens.

    The network's own answer reaches the stem through a dozen layers of attention, which in a short training tell it little;
    this one tells every place at once. The heads are thrown away with the training run.
    """

    def __init__(self, config: GTPTConfig):
        super().__init__()
        self.config = config
        self.from_features = nn.Conv2d(config.stem_channels, config.num_keypoints, 1)
        self.from_tokens = nn.Linear(config.dim, config.num_keypoints * config.patch[0] * config.patch[1])
        for layer in (self.from_features, self.from_tokens):
            nn.init.normal_(layer.weight, std=0.01)

    def loss(self, features: Tensor, tokens: Tensor, ids: Tensor, joints: Tensor, weight: Tensor) -> Tensor:
        """Pointing loss of both, the stem's counting half.

        Args:
            features: (B, C, H/4, W/4) of `GTPT.features`.
            tokens, ids: `image` (B, N, D) and `ids` (B, N) of `Encoded`.
            joints: (B, K, 2) crop pixels.
            weight: (B, K) joint weights.
        """
        (rows, columns), (ph, pw) = self.config.grid, self.config.patch
        grid, size = (rows * ph, columns * pw), self.config.input_size
        everywhere = torch.arange(grid[0] * grid[1], device=ids.device).expand(len(ids), -1)
        convolution = self.from_features  # as a linear layer, which keeps channels last, also backwards
        pixels = features.permute(0, 2, 3, 1).flatten(1, 2)
        maps = F.linear(pixels, convolution.weight.flatten(1), convolution.bias).transpose(1, 2)  # (B, K, H/4 * W/4)
        early = pointing_loss(maps, everywhere, joints, weight, grid, size)

        inner = torch.arange(ph * pw, device=ids.device)  # cells of a patch, row-major
        row = (ids // columns)[..., None] * ph + inner // pw
        column = (ids % columns)[..., None] * pw + inner % pw
        cells = (row * grid[1] + column).flatten(1)  # (B, N * ph * pw)
        logits = self.from_tokens(tokens).unflatten(2, (self.config.num_keypoints, -1)).transpose(1, 2).flatten(2)
        return pointing_loss(logits, cells, joints, weight, grid, size) + 0.5 * early
