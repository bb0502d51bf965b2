"""Random fields computed by hashing a key, identical on every device and in every batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

KEY_MASK = 0xFFFFFFFF
"""Keys and hashes are 32-bit integers, stored in int64 tensors."""
STREAMS = 256
GOLDEN_RATIO = 0x9E3779B1
"""Prime near 2³² / φ: multiplicative hashing of the positions (Knuth, TAOCP vol. 3, 6.4)."""
LOWBIAS32 = ((16, 0x7FEB352D), (15, 0x846CA68B))
"""Shifts and factors of ``lowbias32`` (Wellons 2018, https://nullprogram.com/blog/2018/07/31/)."""


def uniform_field(key: Tensor, n: int, stream: int) -> Tensor:
    """Return `n` uniform random values in (0, 1) for each key.

    Args:
        key: (b,) int64 in [0, 2³²).
        n: number of values per key, up to 2²⁴.
        stream: 0 to 255; different streams of one key are independent.

    Returns:
        (b, n) float32.
    """
    positions = torch.arange(n, device=key.device) * STREAMS + stream + 1
    x = key.unsqueeze(1) ^ (positions * GOLDEN_RATIO) & KEY_MASK
    for shift, factor in LOWBIAS32:
        x = (x ^ (x >> shift)) * factor & KEY_MASK
    x = x ^ (x >> 16)
    return ((x.to(torch.float32) + 0.5) / 2**32).clamp_(2**-33, 1 - 2**-24)


def normal_field(key: Tensor, n: int, stream: int) -> Tensor:
    """Return `n` standard normal values for each key (Box and Muller 1958).

    Args:
        key: (b,) int64 in [0, 2³²).
        n: number of values per key, up to 2²⁴.
        stream: 0 to 127; uses the streams 2 · `stream` and 2 · `stream` + 1 of `uniform_field`.

    Returns:
        (b, n) float32.
    """
    radius = (-2 * uniform_field(key, n, 2 * stream).log()).sqrt()
    return radius * (2 * math.pi * uniform_field(key, n, 2 * stream + 1)).cos()
