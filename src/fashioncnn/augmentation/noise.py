"""Random values that are functions of a key alone, on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def uniform_field(key: Tensor, n: int, stream: int) -> Tensor:
    """Return `n` random values in (0, 1) for each key, (b, n) float32.

    The hash is ``lowbias32`` (Wellons 2018, https://nullprogram.com/blog/2018/07/31/).

    Args:
        key: (b,) int64 in [0, 2³²).
        n: up to 2²⁴.
        stream: 0 to 255; each gives other values.
    """
    places = torch.arange(n, device=key.device) * 256 + stream + 1
    x = key.unsqueeze(1) ^ (places * 0x9E3779B1) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> shift)) * factor & 0xFFFFFFFF
    x = x ^ (x >> 16)
    return ((x + 0.5) / 2**32).to(torch.float32).clamp_(2**-33, 1 - 2**-24)


def normal_field(key: Tensor, n: int, stream: int) -> Tensor:
    """Return `n` normal values for each key, (b, n) float32 (Box and Muller 1958).

    Args:
        key: (b,) int64 in [0, 2³²).
        n: up to 2²⁴.
        stream: 0 to 127; each gives other values.
    """
    radius = (-2 * uniform_field(key, n, 2 * stream).log()).sqrt()
    return radius * (2 * math.pi * uniform_field(key, n, 2 * stream + 1)).cos()
