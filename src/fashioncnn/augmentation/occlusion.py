"""Occlusion: random erasing (arXiv:1708.04896) and cutout (arXiv:1708.04552)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fashioncnn.augmentation.grids import WHITE, rectangle_mask, reshape_per_image
from fashioncnn.augmentation.noise import uniform_field

ERASING_STREAM = 2
"""Stream of the random fill; 0 and 1 are those of the pixel noise."""


def erase(
    images: Tensor, parameters: dict[str, Tensor], fill: Literal["noise", "zero"] = "noise"
) -> Tensor:
    """Overwrite a random rectangle of some of the images.

    Args:
        images: (b, 1, size, size) float32 in [0, 255].
        parameters: (b,) each: ``erasing`` (1 for images to change, else 0), ``erasing_area`` and
            ``erasing_aspect`` (height / width) of the rectangle, ``erasing_x`` and ``erasing_y``
            (0 and 1 align it with an edge), ``noise_key``.
        fill: uniform random values in [0, 255] per pixel, or 0.

    Returns:
        (b, 1, size, size) float32 in [0, 255].
    """
    area, aspect = parameters["erasing_area"], parameters["erasing_aspect"]
    height = (area * aspect).sqrt().clamp(max=1)
    width = (area / aspect).sqrt().clamp(max=1)
    x = width / 2 + (1 - width) * parameters["erasing_x"]
    y = height / 2 + (1 - height) * parameters["erasing_y"]
    mask = rectangle_mask(x, y, width, height, images.shape[-1])
    mask = mask * reshape_per_image(parameters["erasing"])
    if fill == "zero":
        return images * (1 - mask)
    noise = uniform_field(parameters["noise_key"], images[0].numel(), ERASING_STREAM)
    return torch.where(mask > 0, WHITE * noise.view(images.shape), images)


def cutout(images: Tensor, x: Tensor, y: Tensor, side: float) -> Tensor:
    """Set a square of each image to black; parts beyond the image edges are clipped.

    Args:
        images: (b, 1, size, size) float32 in [0, 255].
        x: (b,), center as a fraction of the image side.
        y: likewise.
        side: side of the square, as a fraction of the image side.

    Returns:
        (b, 1, size, size) float32 in [0, 255].
    """
    length = torch.full_like(x, side)
    return images * (1 - rectangle_mask(x, y, length, length, images.shape[-1]))
