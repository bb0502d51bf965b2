"""Pictures of nothing that a class stands for, to learn not to be sure of.

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

from fashioncnn.data.draws import Draws, wide

WHOLE, UPPER, LOWER = 0, 1, 2
"""Of which part of a class's garments another kind is made; whole is none."""


def outliers(images: Tensor, draws: Draws, parts: Tensor) -> Tensor:
    """Return as many pictures of none of the classes.

    Args:
        images: (b, 1, side, side) float in [0, 255], light on black.
        draws: for them.
        parts: (b,) int64: `UPPER`, `LOWER` or `WHOLE`, by their classes.

    Returns:
        (b, 1, side, side) float in [0, 255].
    """
    drawn = _drawn(draws)
    cut = _part(images, draws, parts)
    cloth = _enlarged_corner(images, draws)
    rather_cut = (parts != WHOLE) & (draws.chance(0.7) > 0)
    rather_cloth = draws.chance(0.3) > 0
    others = torch.where(wide(rather_cloth), cloth, drawn)
    return torch.where(wide(rather_cut), cut, others)


def _part(images: Tensor, draws: Draws, parts: Tensor) -> Tensor:
    """Cut off the legs of trousers, the upper part of dresses."""
    side = images.shape[-1]
    height = (torch.arange(side, device=images.device) + 0.5).view(1, 1, -1, 1) / side
    slanted = wide(draws.even(-0.08, 0.08)) * torch.linspace(-1, 1, side, device=images.device)
    height = height + slanted
    upper = height < wide(draws.even(0.3, 0.55))
    lower = height > wide(draws.even(0.4, 0.6))
    return images * torch.where(wide(parts) == UPPER, upper, lower)


def _enlarged_corner(images: Tensor, draws: Draws) -> Tensor:
    """Return a small part of the picture's middle, enlarged to the whole."""
    size = draws.even(0.15, 0.35)
    x, y = draws.even(-0.3, 0.3), draws.even(-0.4, 0.4)
    nothing = torch.zeros_like(size)
    theta = torch.stack([size, nothing, x, nothing, size, y], 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _drawn(draws: Draws) -> Tensor:
    """Return a patch of any form, or everything or nothing, of noise, prints or one tone."""
    filled = wide(draws.even(0.2, 1)) + wide(draws.even(0, 0.5)) * draws.print()
    rough = torch.where(wide(draws.chance(0.5)) > 0, draws.field(3), draws.field(6))
    blot = rough > wide(draws.even(-0.8, 0.8))
    lines = rough.abs() < wide(draws.even(0.05, 0.3))
    everything = torch.ones_like(blot)
    forms = (blot, lines, _box(draws), _ellipse(draws), everything, ~everything)
    kind = wide(draws.even(0, len(forms)).floor())
    form = sum(shape * (kind == number) for number, shape in enumerate(forms))
    return 255 * filled.clamp(0, 1) * form


def _box(draws: Draws) -> Tensor:
    x, y = _axes(draws)
    inside: Tensor = torch.maximum(x.abs(), y.abs()) < 1
    return inside


def _ellipse(draws: Draws) -> Tensor:
    x, y = _axes(draws)
    inside: Tensor = x.square() + y.square() < 1
    return inside


def _axes(draws: Draws) -> tuple[Tensor, Tensor]:
    """Return places in units of a turned rectangle's half-sides."""
    angle = draws.even(-0.6, 0.6)
    places = torch.linspace(-1, 1, draws.side, device=angle.device)
    cosine, sine = wide(angle.cos()), wide(angle.sin())
    x = cosine * places + sine * places.view(-1, 1)
    y = cosine * places.view(-1, 1) - sine * places
    return x / wide(draws.even(0.25, 1)), y / wide(draws.even(0.25, 1))
