"""Poses of garments on photographs: spread sleeves, deformation, shoes in pairs.

All images are (b, 1, size, size) float32 in [0, 1], light garments on black; lengths are in half
image sides, y points down.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fashioncnn.augmentation.grids import axis_coordinates, resample, reshape_per_image
from fashioncnn.augmentation.sampling import Sampler

VISIBLE = 0.06
"""Smallest lightness of a garment; darker pixels are background."""
SLEEVE_SCALE = 0.72
"""Spread sleeves need room at the sides, so the garment is scaled by this factor."""


def spread_sleeves(images: Tensor, has_sleeves: Tensor, sampler: Sampler) -> Tensor:
    """Rotate what is beside the trunk about the shoulders, as sleeves of a garment laid out flat.

    In Fashion-MNIST, sleeves hang down beside the trunk.

    Args:
        images: (b, 1, size, size) float32 in [0, 1].
        has_sleeves: (b,) bool; 60% of these images are changed.
        sampler: of these images.

    Returns:
        (b, 1, size, size) float32 in [0, 1].
    """
    spread = sampler.bernoulli(0.6) * has_sleeves
    x = axis_coordinates(sampler.size, images.device)
    trunk = reshape_per_image(sampler.uniform(0.36, 0.52))  # half of its width
    shoulder = sampler.uniform(-0.8, -0.5)  # y coordinate
    left_angle = sampler.uniform(10, 75)
    right_angle = -left_angle * sampler.uniform(0.7, 1.3)
    zero = torch.zeros_like(shoulder)
    result = _rotate_about(images * (x.abs() <= trunk), zero, zero, zero)
    for side, angle in ((-1, left_angle), (1, right_angle)):
        sleeve = images * (side * x > trunk)
        sleeve = _rotate_about(sleeve, angle, side * trunk.flatten(), shoulder)
        result = torch.maximum(result, sleeve)
    return torch.where(reshape_per_image(spread) > 0, result, images)


def _rotate_about(images: Tensor, degrees: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Rotate images clockwise about the point (x, y), then scale them by `SLEEVE_SCALE`."""
    scale, zero = torch.full_like(degrees, SLEEVE_SCALE), torch.zeros_like(degrees)
    angle = torch.deg2rad(degrees)
    shift_x = scale * (x - (angle.cos() * x - angle.sin() * y))
    shift_y = scale * (y - (angle.sin() * x + angle.cos() * y))
    return warp(images, degrees, scale, scale, zero, shift_x, shift_y)


def deform(images: Tensor, drapes: Tensor, sampler: Sampler) -> Tensor:
    """Rotate, stretch, shear, flare and crumple garments, and lift what is beside the trunk.

    Args:
        images: (b, 1, size, size) float32 in [0, 1].
        drapes: (b,) bool; these garments become wider.
        sampler: of these images.

    Returns:
        (b, 1, size, size) float32 in [0, 1].
    """
    any_rotation = sampler.bernoulli(0.06)
    small, large = sampler.uniform(-20, 20), sampler.uniform(-180, 180)
    degrees = small * (1 - any_rotation) + large * any_rotation
    scale, widening = sampler.uniform(0.75, 1.02), drapes * sampler.uniform(0, 0.4)
    stretch = (sampler.uniform(-0.4, 0.4) + widening).exp()
    scale_x = scale * stretch.clamp(max=1.15) * sampler.random_sign()
    scale_y = scale / stretch.clamp(min=0.87)
    shear = sampler.uniform(-0.2, 0.2)
    shift_x, shift_y = sampler.uniform(-0.05, 0.05), sampler.uniform(-0.05, 0.05)
    displacement = _displacement(sampler)
    return warp(images, degrees, scale_x, scale_y, shear, shift_x, shift_y, displacement)


def _displacement(sampler: Sampler) -> Tensor:
    """Return (b, size, size, 2): a flare towards the hem, lifted sleeves and random wrinkles."""
    size = sampler.size
    x = axis_coordinates(size, sampler.values.device)
    flare = reshape_per_image(sampler.uniform(-0.45, 0.45)) * x.view(-1, 1) * x
    beside_trunk = (x.abs() - reshape_per_image(sampler.uniform(0.3, 0.6))).clamp(min=0)
    lift = reshape_per_image(sampler.uniform(0, 1.5) * sampler.bernoulli(0.5))
    lift = beside_trunk.expand(-1, -1, size, -1) * lift
    coarse = reshape_per_image(sampler.uniform(0, 0.1))
    fine = reshape_per_image(sampler.uniform(0, 0.04))
    wrinkles_x = coarse * sampler.smooth_noise(3) + fine * sampler.smooth_noise(6)
    wrinkles_y = coarse * sampler.smooth_noise(3) + fine * sampler.smooth_noise(6)
    return torch.cat([wrinkles_x + flare, wrinkles_y + lift], 1).permute(0, 2, 3, 1)


def arrange_pairs(images: Tensor, has_pair: Tensor, sampler: Sampler) -> Tensor:
    """Add the second shoe of a pair: upright side by side, or lying one behind the other.

    Args:
        images: (b, 1, size, size) float32 in [0, 1].
        has_pair: (b,) bool; 75% of these images are changed.
        sampler: of these images.

    Returns:
        (b, 1, size, size) float32 in [0, 1].
    """
    paired = sampler.bernoulli(0.75) * has_pair
    upright = sampler.bernoulli(0.6)
    opposite = sampler.bernoulli(0.75)  # left and right shoe instead of the same view twice
    scale, squeeze = sampler.uniform(0.6, 0.95), sampler.uniform(0.65, 1.1)
    distance = sampler.uniform(0.25, 0.6)
    shift_x = distance * upright + sampler.uniform(-0.15, 0.15)
    shift_y = distance * (1 - upright) + sampler.uniform(-0.1, 0.1)
    upright_angle = (90 + sampler.uniform(-30, 30)) * sampler.random_sign()
    first_angle = upright_angle * upright + sampler.uniform(-25, 25) * (1 - upright)
    flipped = opposite * upright
    second_angle = first_angle * (1 - 2 * flipped) + sampler.uniform(-12, 12)
    second_sign = torch.where(opposite > 0, 1 - 2 * flipped, sampler.random_sign())
    scale_y, zero = scale * squeeze, torch.zeros_like(scale)
    first = warp(images, first_angle, scale, scale_y, zero, -shift_x, -shift_y)
    second = warp(images, second_angle, scale * second_sign, scale_y, zero, shift_x, shift_y)
    both = torch.where(second > VISIBLE, second, first)
    return torch.where(reshape_per_image(paired) > 0, both, images)


def warp(
    images: Tensor,
    degrees: Tensor,
    scale_x: Tensor,
    scale_y: Tensor,
    shear: Tensor,
    shift_x: Tensor,
    shift_y: Tensor,
    displacement: Tensor | None = None,
) -> Tensor:
    """Scale and shear images, then rotate, then shift them; values from outside are 0.

    Args:
        images: (b, c, size, size) float32.
        degrees: (b,), clockwise rotation.
        scale_x: (b,), negative to flip horizontally.
        scale_y: (b,).
        shear: (b,), shift in x of a line with y = 1.
        shift_x: (b,).
        shift_y: (b,).
        displacement: see `fashioncnn.augmentation.grids.resample`.

    Returns:
        (b, c, size, size) float32.
    """
    angle = torch.deg2rad(degrees)
    cosine, sine = angle.cos(), angle.sin()
    rotation = torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
    scaling = torch.stack([scale_x, shear, torch.zeros_like(scale_y), scale_y], 1).view(-1, 2, 2)
    inverse = torch.linalg.inv_ex(rotation @ scaling).inverse  # never singular: not checked
    shift = inverse @ torch.stack([shift_x, shift_y], 1).unsqueeze(2)
    return resample(images, torch.cat([inverse, -shift], 2), displacement)
