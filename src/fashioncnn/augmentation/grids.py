"""Pixel grids of image batches: coordinates, masks and resampling.

Coordinates are those of `torch.nn.functional.affine_grid` without aligned corners, except where
stated: -1 and 1 are the outer edges of the image, x points right, y down.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

WHITE = 255.0
"""Largest pixel value; 0 is black."""


def reshape_per_image(values: Tensor) -> Tensor:
    """Reshape (b,) to (b, 1, 1, 1), which broadcasts over the pixels of each image."""
    return values.view(-1, 1, 1, 1)


def choose(options: Sequence[Tensor], choice: Tensor) -> Tensor:
    """Return, for each image, the option with the number `choice`.

    Args:
        options: (b, 1, size, size) each.
        choice: (b,), whole numbers from 0.

    Returns:
        (b, 1, size, size).
    """
    images = torch.arange(len(choice), device=choice.device)
    return torch.stack(list(options), 1)[images, choice.long()]


def axis_coordinates(size: int, device: torch.device) -> Tensor:
    """Return (size,) float32 from -1 to 1, at the centers of the first and of the last pixel."""
    return torch.linspace(-1, 1, size, device=device, dtype=torch.float32)


def rotated_coordinates(angle: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return x and y of each pixel in axes rotated by `angle`; see `axis_coordinates`.

    Args:
        angle: (b,), in radians.
        size: image side in pixels.

    Returns:
        x and y, (b, 1, size, size) float32 each.
    """
    axis = axis_coordinates(size, angle.device)
    column = axis.view(-1, 1)
    cosine, sine = reshape_per_image(angle.cos()), reshape_per_image(angle.sin())
    return cosine * axis + sine * column, cosine * column - sine * axis


def rectangle_mask(x: Tensor, y: Tensor, width: Tensor, height: Tensor, size: int) -> Tensor:
    """Return 1 inside and 0 outside of a rectangle per image, clipped at the image edges.

    Args:
        x: (b,), center as a fraction of the image side.
        y: likewise.
        width: (b,), as a fraction of the image side.
        height: likewise.
        size: image side in pixels.

    Returns:
        (b, 1, size, size) float32.
    """
    centers = (torch.arange(size, device=x.device, dtype=torch.float32) + 0.5) / size
    columns = (centers - x.unsqueeze(1)).abs() < width.unsqueeze(1) / 2
    rows = (centers - y.unsqueeze(1)).abs() < height.unsqueeze(1) / 2
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1).to(torch.float32)


def resample(images: Tensor, theta: Tensor, displacement: Tensor | None = None) -> Tensor:
    """Resample images by affine maps, bilinearly; values outside of the image are 0.

    Args:
        images: (b, c, size, size) float32.
        theta: (b, 2, 3), from coordinates of the result to coordinates of the image.
        displacement: (b, size, size, 2), added to the image coordinates (x, y).

    Returns:
        (b, c, size, size) float32.
    """
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    grid = grid if displacement is None else grid + displacement
    return F.grid_sample(images, grid, align_corners=False)
