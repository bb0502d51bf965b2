"""Photometric augmentation: brightness, contrast, Gaussian blur and Gaussian noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fashioncnn.augmentation.grids import WHITE, reshape_per_image
from fashioncnn.augmentation.noise import normal_field

BLUR_TRUNCATE = 3
"""Radius of the blur kernel in standard deviations."""
NOISE_STREAM = 0
"""Stream of the pixel noise; random erasing and renderers use others, or other keys."""


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply each image by a factor and clip it to [0, 255].

    Args:
        images: (b, 1, size, size) float32 in [0, 255].
        factor: (b,).

    Returns:
        (b, 1, size, size) float32 in [0, 255].
    """
    return (images * reshape_per_image(factor)).clamp_(0, WHITE)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply differences to the mean of each image by a factor and clip the result to [0, 255].

    Args:
        images: (b, 1, size, size) float32 in [0, 255].
        factor: (b,).

    Returns:
        (b, 1, size, size) float32 in [0, 255].
    """
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + (images - mean) * reshape_per_image(factor)).clamp_(0, WHITE)


def gaussian_blur(images: Tensor, sigma: Tensor, max_sigma: float) -> Tensor:
    """Convolve each image with its own Gaussian; pixels at the edges are repeated outwards.

    Args:
        images: (b, 1, size, size) float32 in [0, 255].
        sigma: (b,), standard deviation in pixels, up to `max_sigma`.
        max_sigma: decides the size of the kernel, which is the same for all images.

    Returns:
        (b, 1, size, size) float32 in [0, 255], up to rounding.
    """
    radius = math.ceil(BLUR_TRUNCATE * max_sigma)
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3).unsqueeze(1)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    # Images become the channels of a single one, so that each has its own kernel.
    channels = images.transpose(0, 1)
    b = len(images)
    for shape, padding in (
        ((b, 1, 1, -1), (radius, radius, 0, 0)),
        ((b, 1, -1, 1), (0, 0, radius, radius)),
    ):
        padded = F.pad(channels, padding, mode="replicate")
        channels = F.conv2d(padded, kernel.view(shape), groups=b)
    return channels.transpose(0, 1)


def add_gaussian_noise(images: Tensor, std: Tensor, key: Tensor) -> Tensor:
    """Add independent normal noise to each pixel; the result is not clipped.

    Args:
        images: (b, 1, size, size) float32 in [0, 255].
        std: (b,), standard deviation as a fraction of 255.
        key: (b,) int64 in [0, 2³²), see `fashioncnn.augmentation.noise`.

    Returns:
        (b, 1, size, size) float32.
    """
    noise = normal_field(key, images[0].numel(), NOISE_STREAM).view(images.shape)
    return images + WHITE * reshape_per_image(std) * noise
