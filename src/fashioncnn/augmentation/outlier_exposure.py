"""Out-of-distribution images for outlier exposure.

A network trained on such images with uniform targets is less confident on other out-of-distribution
images too (Hendrycks, Mazeika and Dietterich 2019, "Deep anomaly detection with outlier exposure",
arXiv:1812.04606). There are three kinds:

- synthetic: shapes filled with noise, textures or a single tone, also full and empty images;
- fabric: a small section of a garment, enlarged;
- partial garments that belong to no class: the upper half of trousers are shorts, the lower half
  of a dress is a skirt.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fashioncnn.augmentation.grids import (
    WHITE,
    choose,
    resample,
    reshape_per_image,
    rotated_coordinates,
)
from fashioncnn.augmentation.sampling import Sampler

WHOLE, UPPER, LOWER = 0, 1, 2
"""Half of a garment that is a partial garment of no class; `WHOLE` if neither half is."""


def generate_outliers(images: Tensor, partial_garments: Tensor, sampler: Sampler) -> Tensor:
    """Turn each image into an out-of-distribution image.

    Args:
        images: (b, 1, size, size) float32 in [0, 255], light garments on black.
        partial_garments: (b,) int64: `UPPER`, `LOWER` or `WHOLE`.
        sampler: of these images.

    Returns:
        (b, 1, size, size) float32 in [0, 255].
    """
    synthetic = _synthesize(sampler)
    halves = _cut_half(images, partial_garments, sampler)
    fabric = _enlarge_section(images, sampler)
    use_half = (partial_garments != WHOLE) & (sampler.bernoulli(0.7) > 0)
    use_fabric = sampler.bernoulli(0.3) > 0
    others = torch.where(reshape_per_image(use_fabric), fabric, synthetic)
    return torch.where(reshape_per_image(use_half), halves, others)


def _cut_half(images: Tensor, partial_garments: Tensor, sampler: Sampler) -> Tensor:
    """Set all but the upper or lower part of each garment to black, along a slanted line."""
    size, device = images.shape[-1], images.device
    height = (torch.arange(size, device=device, dtype=torch.float32) + 0.5).view(1, 1, -1, 1) / size
    slope = reshape_per_image(sampler.uniform(-0.08, 0.08))
    height = height + slope * torch.linspace(-1, 1, size, device=device, dtype=torch.float32)
    upper = height < reshape_per_image(sampler.uniform(0.3, 0.55))
    lower = height > reshape_per_image(sampler.uniform(0.4, 0.6))
    return images * torch.where(reshape_per_image(partial_garments) == UPPER, upper, lower)


def _enlarge_section(images: Tensor, sampler: Sampler) -> Tensor:
    """Enlarge a small random section near the center of each image to the full size."""
    scale = sampler.uniform(0.15, 0.35)
    x, y = sampler.uniform(-0.3, 0.3), sampler.uniform(-0.4, 0.4)
    zero = torch.zeros_like(scale)
    return resample(images, torch.stack([scale, zero, x, zero, scale, y], 1).view(-1, 2, 3))


def _synthesize(sampler: Sampler) -> Tensor:
    """Return textured shapes: blob, lines, rectangle, ellipse, the whole image, or nothing."""
    tone = reshape_per_image(sampler.uniform(0.2, 1))
    fill = tone + reshape_per_image(sampler.uniform(0, 0.5)) * sampler.texture()
    coarse = reshape_per_image(sampler.bernoulli(0.5)) > 0
    noise = torch.where(coarse, sampler.smooth_noise(3), sampler.smooth_noise(6))
    blob = noise > reshape_per_image(sampler.uniform(-0.8, 0.8))
    lines = noise.abs() < reshape_per_image(sampler.uniform(0.05, 0.3))
    everything = torch.ones_like(blob)
    shapes = (blob, lines, _rectangle(sampler), _ellipse(sampler), everything, ~everything)
    shape = choose(shapes, sampler.uniform(0, len(shapes)).floor())
    return WHITE * fill.clamp(0, 1) * shape


def _rectangle(sampler: Sampler) -> Tensor:
    x, y = _random_axes(sampler)
    return torch.maximum(x.abs(), y.abs()) < 1


def _ellipse(sampler: Sampler) -> Tensor:
    x, y = _random_axes(sampler)
    return x.square() + y.square() < 1


def _random_axes(sampler: Sampler) -> tuple[Tensor, Tensor]:
    """Return coordinates in randomly rotated axes, in units of random half-lengths."""
    x, y = rotated_coordinates(sampler.uniform(-0.6, 0.6), sampler.size)
    half_width, half_height = sampler.uniform(0.25, 1), sampler.uniform(0.25, 1)
    return x / reshape_per_image(half_width), y / reshape_per_image(half_height)
