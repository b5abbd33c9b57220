"""Synthetic people with exact keypoints: rendered bodies in clothes, light and surroundings, without a GPU."""

from gtpt.data.synthetic.generate import Generator, SyntheticConfig, ensure_synthetic, write_synthetic
from gtpt.data.synthetic.scene import Sample

__all__ = ["Generator", "Sample", "SyntheticConfig", "ensure_synthetic", "write_synthetic"]
