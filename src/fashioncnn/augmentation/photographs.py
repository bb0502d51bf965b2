"""Fashion-MNIST images rendered like photographs of garments.

Garments that `fashioncnn.images.segmentation` cuts out of photographs differ from Fashion-MNIST in
pose (`fashioncnn.augmentation.poses`), in tone (any fabric in any light, textures), and in outline,
as segmentation keeps some background or misses parts of the garment. Some images show the garment
in front of a background, since whole photographs are model inputs too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fashioncnn.augmentation.grids import WHITE, resample, reshape_per_image, rotated_coordinates
from fashioncnn.augmentation.poses import VISIBLE, arrange_pairs, deform, spread_sleeves, warp
from fashioncnn.augmentation.sampling import Sampler

MIN_LIGHTNESS = 0.1
"""Lightness of the darkest fabric, so that black garments differ from the background."""
BACKGROUND_PROBABILITY = 0.35
"""Probability that an image shows the garment in front of a background."""


@dataclass(frozen=True)
class ClassTraits:
    """Properties of garments that follow from their classes.

    Attributes:
        has_pair: (n,) bool, whether the garment comes in pairs.
        has_sleeves: (n,) bool, whether it may have sleeves that can be spread.
        drapes: (n,) bool, whether its fabric hangs in folds, so that it is wider when laid flat.
    """

    has_pair: Tensor
    has_sleeves: Tensor
    drapes: Tensor


def render_photographs(images: Tensor, traits: ClassTraits, sampler: Sampler) -> Tensor:
    """Render each image as a photograph, or as a garment cut out of one.

    Args:
        images: (b, 1, size, size) float32 in [0, 255], light garments on black.
        traits: of these images.
        sampler: of these images.

    Returns:
        (b, 1, size, size) float32 in [0, 255].
    """
    images = spread_sleeves(images / WHITE, traits.has_sleeves, sampler)
    images = deform(images, traits.drapes, sampler)
    images = arrange_pairs(images, traits.has_pair, sampler)
    mask = _close((images > VISIBLE).to(torch.float32))
    fabric = _recolor(images, mask, sampler)
    segmented = _crop_to_content(_segment(fabric, mask, sampler), sampler)
    scene = _compose_scene(fabric, mask, sampler)
    use_scene = reshape_per_image(sampler.bernoulli(BACKGROUND_PROBABILITY)) > 0
    result = torch.where(use_scene, scene, segmented)
    result = result + reshape_per_image(sampler.uniform(0, 0.04)) * sampler.pixel_noise()
    return WHITE * result.clamp_(0, 1)


# Below, images are (b, 1, size, size) float32 in [0, 1]; masks are 1 on the garment, else 0.


def _close(mask: Tensor) -> Tensor:
    """Fill gaps that are one pixel wide: a morphological closing with a 3×3 square."""
    return -F.max_pool2d(-F.max_pool2d(mask, 3, 1, 1), 3, 1, 1)


def _recolor(images: Tensor, mask: Tensor, sampler: Sampler) -> Tensor:
    """Give each garment a random tone, contrast (also inverted), texture and shading."""
    area = mask.sum((1, 2, 3), keepdim=True).clamp(min=1)
    mean = (images * mask).sum((1, 2, 3), keepdim=True) / area
    contrast, tone = sampler.uniform(-1.2, 1.2), sampler.uniform(0.25, 0.95)
    fabric = (images - mean) * reshape_per_image(contrast) + reshape_per_image(tone)
    texture = reshape_per_image(sampler.uniform(0, 0.25) * sampler.bernoulli(0.35))
    fabric = fabric + texture * sampler.texture()
    fabric = fabric + reshape_per_image(sampler.uniform(0, 0.15)) * sampler.smooth_noise(4)
    return fabric.clamp(MIN_LIGHTNESS, 1)


def _segment(fabric: Tensor, mask: Tensor, sampler: Sampler) -> Tensor:
    """Cut garments out with typical errors: remaining background, missing pieces, soft edges."""
    soft = 0.6 * mask + 0.4 * mask * F.avg_pool2d(mask, 3, 1, 1)
    margin = F.max_pool2d(mask, 7, 1, 3) * (1 - mask)
    remains = sampler.smooth_noise(7) > reshape_per_image(sampler.uniform(0.3, 1.6))
    remaining = remains * margin * reshape_per_image(sampler.bernoulli(0.25))
    missing = sampler.smooth_noise(7) > reshape_per_image(sampler.uniform(1.8, 4.0))
    tone = reshape_per_image(sampler.uniform(0.1, 1))
    background = (tone + 0.12 * sampler.smooth_noise(9)).clamp(MIN_LIGHTNESS, 1)
    alpha = torch.maximum(soft * (1 - missing.to(torch.float32)), remaining)
    return alpha * (mask * fabric + (1 - mask) * background)


def _crop_to_content(images: Tensor, sampler: Sampler) -> Tensor:
    """Scale the bounding square of the visible pixels to about the image size."""
    visible = (images > VISIBLE).to(torch.float32)
    size = sampler.size
    positions = torch.arange(size, device=images.device, dtype=torch.float32)
    scale = sampler.uniform(0.95, 1.25) / size
    theta = torch.zeros(len(images), 2, 3, device=images.device, dtype=torch.float32)
    lengths = []
    for axis, reduced in ((0, 2), (1, 3)):  # x, y
        occupied = visible.amax((1, reduced)) > 0
        first = torch.where(occupied, positions, size).amin(1)
        last = torch.where(occupied, positions + 1, 0).amax(1)
        empty = last <= first
        first, last = first.masked_fill(empty, 0), last.masked_fill(empty, size)
        theta[:, axis, 2] = (first + last) / size - 1
        lengths.append(last - first)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.maximum(*lengths) * scale
    return resample(images, theta)


def _compose_scene(fabric: Tensor, mask: Tensor, sampler: Sampler) -> Tensor:
    """Place each garment, scaled and shifted, on a background on which it casts a shadow."""
    scale = sampler.uniform(0.65, 1.1)
    shift_x, shift_y = sampler.uniform(-0.15, 0.15), sampler.uniform(-0.15, 0.15)
    zero = torch.zeros_like(scale)
    garment = torch.cat([fabric * mask, mask], 1)
    garment = warp(garment, zero, scale, scale, zero, shift_x, shift_y)
    fabric, mask = garment[:, :1], garment[:, 1:]
    background = _background(sampler)
    shadow = F.avg_pool2d(_shift_shadow(mask, sampler), 3, 1, 1)
    darkness = reshape_per_image(sampler.uniform(0, 0.6) * sampler.bernoulli(0.6))
    return fabric + (1 - mask) * (background * (1 - darkness * shadow)).clamp(0, 1)


def _background(sampler: Sampler) -> Tensor:
    """Return a lit surface with texture, unevenness and up to two straight-edged objects."""
    light, _ = rotated_coordinates(sampler.uniform(0, 2 * math.pi), sampler.size)
    tone, gradient = sampler.uniform(0, 1), sampler.uniform(0, 0.25)
    background = reshape_per_image(tone) + reshape_per_image(gradient) * light
    texture = reshape_per_image(sampler.uniform(0, 0.2) * sampler.bernoulli(0.5))
    background = background + texture * sampler.texture()
    background = background + reshape_per_image(sampler.uniform(0, 0.12)) * sampler.smooth_noise(5)
    for _ in range(2):
        present = reshape_per_image(sampler.bernoulli(0.3))
        mask = present * _half_plane(sampler)
        background = background + mask * (reshape_per_image(sampler.uniform(0, 1)) - background)
    return background


def _half_plane(sampler: Sampler) -> Tensor:
    """Return a bool mask: the side of a random line that does not contain the center."""
    angle, distance = sampler.uniform(0, 2 * math.pi), sampler.uniform(0.3, 1.1)
    along, _ = rotated_coordinates(angle, sampler.size)
    return along > reshape_per_image(distance)


def _shift_shadow(mask: Tensor, sampler: Sampler) -> Tensor:
    """Shift a mask by a little, as a shadow falls."""
    shift_x, shift_y = sampler.uniform(-0.12, 0.12), sampler.uniform(-0.05, 0.15)
    zero, one = torch.zeros_like(shift_x), torch.ones_like(shift_x)
    return warp(mask, zero, one, one, zero, shift_x, shift_y)
