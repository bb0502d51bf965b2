"""Geometric augmentation: flip, crop, scale, shear, rotation and shift as one affine map."""

from __future__ import annotations

import torch
from torch import Tensor

from fashioncnn.augmentation.grids import resample

AFFINE = frozenset({"flip", "shift_x", "crop_scale", "rotation", "scale", "shear"})
"""Parameters of which each enables one of the transforms."""


def transform_affine(images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """Apply all geometric augmentations with a single bilinear interpolation.

    Pixels from outside of the image are black.

    Args:
        images: (b, 1, size, size) float32 in [0, 255].
        parameters: (b,) each, see `fashioncnn.augmentation.parameters.COLUMNS`; the transforms
            whose parameters are missing are left out.

    Returns:
        (b, 1, size, size) float32 in [0, 255].
    """
    if not parameters.keys() & AFFINE:
        return images
    matrix = _linear_map(len(images), images.device, parameters)
    offset = _translation(matrix, images.shape[-1], parameters)
    return resample(images, torch.cat([matrix, offset.unsqueeze(2)], 2))


def _linear_map(b: int, device: torch.device, parameters: dict[str, Tensor]) -> Tensor:
    """Return (b, 2, 2), from coordinates of the result to coordinates of the image.

    As the map is an inverse, its first factor is the transform that is applied first.
    """
    matrix = torch.eye(2, device=device, dtype=torch.float32).repeat(b, 1, 1)
    if "flip" in parameters:
        matrix[:, 0] *= (1 - 2 * parameters["flip"]).unsqueeze(1)
    if "rotation" in parameters:
        cosine, sine = parameters["rotation"].cos(), parameters["rotation"].sin()
        matrix = matrix @ torch.stack([cosine, -sine, sine, cosine], 1).view(b, 2, 2)
    if "shear" in parameters:
        shear = torch.eye(2, device=device, dtype=torch.float32).repeat(b, 1, 1)
        shear[:, 0, 1] = parameters["shear"]
        matrix = matrix @ shear
    if "scale" in parameters:
        matrix = matrix / parameters["scale"].view(-1, 1, 1)
    if "crop_scale" in parameters:
        matrix = matrix * parameters["crop_scale"].view(-1, 1, 1)
    return matrix


def _translation(matrix: Tensor, size: int, parameters: dict[str, Tensor]) -> Tensor:
    """Return (b, 2), added to what `_linear_map` yields: of the crop's center and of the shift."""
    offset = torch.zeros_like(matrix[:, 0])
    if "crop_scale" in parameters:
        center = torch.stack([parameters["crop_x"], parameters["crop_y"]], 1)
        offset += (1 - parameters["crop_scale"]).unsqueeze(1) * center
    if "shift_x" in parameters:
        offset -= torch.stack([parameters["shift_x"], parameters["shift_y"]], 1) * (2 / size)
    return offset
