"""Images of nothing that a class stands for, to learn not to be sure of.

A network that has seen some is less sure of others too (Hendrycks, Mazeika and Dietterich 2019,
"Deep anomaly detection with outlier exposure", arXiv:1812.04606). Some are drawn: patches of noise,
stripes and checks, lines, the same from edge to edge, nothing at all. Others are parts of garments
that are garments of another kind by themselves: the upper half of trousers are shorts, the lower
half of a dress is a skirt, and any garment's corner, enlarged, is cloth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fashioncnn.augmentation.sampling import Sampler, reshape_per_image

WHOLE, UPPER, LOWER = 0, 1, 2
"""Of which part of a class's garments another kind is made; whole is none."""


def outliers(images: Tensor, sampler: Sampler, parts: Tensor) -> Tensor:
    """Return as many images of none of the classes.

    Args:
        images: (b, 1, side, side) float in [0, 255], light on black.
        draws: for them.
        parts: (b,) int64: `UPPER`, `LOWER` or `WHOLE`, by their classes.

    Returns:
        (b, 1, side, side) float in [0, 255].
    """
    drawn = _drawn(sampler)
    cut = _part(images, sampler, parts)
    cloth = _enlarged_corner(images, sampler)
    rather_cut = (parts != WHOLE) & (sampler.chance(0.7) > 0)
    rather_cloth = sampler.chance(0.3) > 0
    others = torch.where(reshape_per_image(rather_cloth), cloth, drawn)
    return torch.where(reshape_per_image(rather_cut), cut, others)


def _part(images: Tensor, sampler: Sampler, parts: Tensor) -> Tensor:
    """Cut off the legs of trousers, the upper part of dresses."""
    side = images.shape[-1]
    height = (torch.arange(side, device=images.device) + 0.5).view(1, 1, -1, 1) / side
    slanted = reshape_per_image(sampler.even(-0.08, 0.08)) * torch.linspace(
        -1, 1, side, device=images.device
    )
    height = height + slanted
    upper = height < reshape_per_image(sampler.even(0.3, 0.55))
    lower = height > reshape_per_image(sampler.even(0.4, 0.6))
    return images * torch.where(reshape_per_image(parts) == UPPER, upper, lower)


def _enlarged_corner(images: Tensor, sampler: Sampler) -> Tensor:
    """Return a small part of the image's middle, enlarged to the whole."""
    size = sampler.even(0.15, 0.35)
    x, y = sampler.even(-0.3, 0.3), sampler.even(-0.4, 0.4)
    nothing = torch.zeros_like(size)
    theta = torch.stack([size, nothing, x, nothing, size, y], 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _drawn(sampler: Sampler) -> Tensor:
    """Return a patch of any form, or everything or nothing, of noise, prints or one tone."""
    filled = (
        reshape_per_image(sampler.even(0.2, 1))
        + reshape_per_image(sampler.even(0, 0.5)) * sampler.print()
    )
    rough = torch.where(
        reshape_per_image(sampler.chance(0.5)) > 0, sampler.field(3), sampler.field(6)
    )
    blot = rough > reshape_per_image(sampler.even(-0.8, 0.8))
    lines = rough.abs() < reshape_per_image(sampler.even(0.05, 0.3))
    everything = torch.ones_like(blot)
    forms = (blot, lines, _box(sampler), _ellipse(sampler), everything, ~everything)
    kind = reshape_per_image(sampler.even(0, len(forms)).floor())
    form = sum(shape * (kind == number) for number, shape in enumerate(forms))
    return 255 * filled.clamp(0, 1) * form


def _box(sampler: Sampler) -> Tensor:
    x, y = _axes(sampler)
    inside: Tensor = torch.maximum(x.abs(), y.abs()) < 1
    return inside


def _ellipse(sampler: Sampler) -> Tensor:
    x, y = _axes(sampler)
    inside: Tensor = x.square() + y.square() < 1
    return inside


def _axes(sampler: Sampler) -> tuple[Tensor, Tensor]:
    """Return places in units of a turned rectangle's half-sides."""
    angle = sampler.even(-0.6, 0.6)
    places = torch.linspace(-1, 1, sampler.side, device=angle.device)
    cosine, sine = reshape_per_image(angle.cos()), reshape_per_image(angle.sin())
    x = cosine * places + sine * places.view(-1, 1)
    y = cosine * places.view(-1, 1) - sine * places
    return x / reshape_per_image(sampler.even(0.25, 1)), y / reshape_per_image(
        sampler.even(0.25, 1)
    )
