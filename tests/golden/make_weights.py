"""Deterministic weights for the GTPT golden vectors.  numpy only; no torch needed.

    sd = make_state_dict("t_coco.keys.json")

Returns an ordered {key: numpy array} holding every key of the official
state_dict (features.*, ema_features.*, mlp_head_*, ema_mlp_head_*).
"""

import json
import math
import zlib

import numpy as np

HEADS, GROUPS, SPARSE_PER_GROUP = 8, 3, 6


def _rng(key):
    return np.random.default_rng(zlib.crc32(key.encode()))


def sine_table(n_tokens, dim):
    """2-D sine table of a square token grid (16x16 for 256x192), float32 (1, N, dim)."""
    side = round(math.sqrt(n_tokens))
    assert side * side == n_tokens
    half = dim // 2
    i = np.arange(half)
    freq = (10000.0 ** (2 * (i // 2) / half)).astype(np.float32)
    pos = (np.arange(1, side + 1) / (side + 1e-6) * 2 * math.pi).astype(np.float32)
    ang = pos[:, None] / freq[None, :]  # (side, half)
    one = np.where(i % 2 == 0, np.sin(ang), np.cos(ang)).astype(np.float32)
    y = np.repeat(one, side, axis=0)  # row index of token r*side+c
    x = np.tile(one, (side, 1))  # column index
    return np.concatenate([y, x], axis=1)[None]


def group_mask(shape):
    """True = blocked: first query row of group 0, and first key column of every group."""
    m = np.zeros(shape, dtype=bool)  # (1, H, 3, N+6, N+18)
    m[:, :, 0, 0, :] = True
    m[..., 0] = True
    return m


def make_array(key, shape, dtype):
    shape = tuple(shape)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith(".mask"):
        return group_mask(shape)
    if key.endswith("pos_embedding"):
        return sine_table(shape[1], shape[2])
    rng = _rng(key)
    if key.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    n = rng.standard_normal(shape)
    if key.endswith("running_mean") or key.endswith(".bias"):
        a = 0.1 * n
    elif key.endswith("_token"):
        a = 0.5 * n
    elif len(shape) == 1:  # 1-D *.weight: LayerNorm / BatchNorm
        a = 1.0 + 0.1 * n
    else:
        gain = 1.0
        if key.endswith("to_qkv.weight"):
            gain = 2.0  # spreads the attention logits
        elif len(shape) == 4:
            gain = 1.2  # keeps the ReLU stem near unit scale
        a = n * (gain / math.sqrt(float(np.prod(shape[1:]))))
    return a.astype(np.float32)


def make_state_dict(keys_json):
    with open(keys_json) as f:
        keys = json.load(f)
    out = {}
    for key, shape, dtype in keys:
        a = make_array(key, shape, dtype)
        assert a.shape == tuple(shape) and str(a.dtype) == dtype, (key, a.shape, a.dtype, dtype)
        out[key] = a
    return out


def make_input(seed, batch):
    """float32 (batch, 3, 256, 192): already-normalised image."""
    return np.random.default_rng(seed).standard_normal((batch, 3, 256, 192)).astype(np.float32)
