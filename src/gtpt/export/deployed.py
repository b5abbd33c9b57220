"""What an exported file computes: a network from pixels to logits or keypoints, with attention as its opset knows it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gtpt.model.attention import three_step_attention
from gtpt.model.network import GTPT, normalize
from gtpt.model.reparameterize import reparameterize

ATTENTION_OPSET = 23  # the first with Attention


class Deployed(nn.Module):
    """A network reparameterized for export.

    Args:
        model: stays as it is.
        opset: of the ONNX standard that the file is for.
        uint8_input: takes RGB uint8 (B, H, W, 3), instead of float (B, 3, H, W) of `gtpt.model.normalize`.
        decode: gives keypoints (B, K, 2) in crop pixels and raw scores (B, K), as of `simcc.decode`, instead of logits.
    """

    def __init__(self, model: GTPT, opset: int, *, uint8_input: bool = True, decode: bool = False):
        super().__init__()
        self.network, self.uint8_input, self.decode = reparameterize(model), uint8_input, decode
        for layer in (*self.network.coarse_encoder, *self.network.group_encoder):
            layer.attn.operator = onnx_attention if opset >= ATTENTION_OPSET else three_step_attention

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(normalize(crops) if self.uint8_input else crops)
        if not self.decode:
            return logits
        coords = torch.stack([v.argmax(dim=-1) for v in logits], dim=-1).float() / self.network.config.simcc_split
        peaks = [1 / (v - v.amax(dim=-1, keepdim=True)).exp().sum(dim=-1) for v in logits]
        return coords, torch.minimum(*peaks)


def onnx_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float) -> Tensor:
    """ONNX's own operator, which is faster where it is known."""
    return torch.onnx.ops.attention(q, k, v, scale=scale, q_num_heads=heads, kv_num_heads=heads)[0]
