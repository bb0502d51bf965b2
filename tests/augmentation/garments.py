"""Synthetic garments: noisy rectangles on black, the same on every machine."""

import numpy as np
import torch
from torch import Tensor


def make_garments(n: int, size: int = 28) -> Tensor:
    """Return (n, 1, size, size) uint8; all values are whole, so they do not depend on rounding."""
    generator = np.random.default_rng(0)
    images = np.zeros((n, 1, size, size), np.uint8)
    for image in images:
        left, top = generator.integers(2, size // 3, 2)
        right, bottom = generator.integers(size // 2, size - 1, 2)
        shape = (bottom - top, right - left)
        image[0, top:bottom, left:right] = generator.integers(60, 255, shape)
    return torch.from_numpy(images)
