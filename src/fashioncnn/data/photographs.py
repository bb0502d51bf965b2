"""Fashion-MNIST's pictures made to look like garments cut out of photographs.

What `fashioncnn.data.garment` cuts out of a photograph differs from the data set's pictures in form
(laid out, stretched, turned, crumpled), in tone (any cloth in any light, prints and stripes), in
number (shoes lie there in pairs), and in its outline, where background was left or garment lost.
All of that is drawn anew for each picture, from tables and keys as in `fashioncnn.data.augment`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fashioncnn.data.noise import normal_field

DRAWS = 48
"""Values in [0, 1) that are drawn for each picture; more than are used."""
VISIBLE = 0.06
"""Lightness above which a pixel belongs to the garment; the data set's background is black."""
DARKEST = 0.1
"""Of what was cut out, so that black cloth is not background."""


@dataclass
class _Draws:
    """What was drawn for a batch, taken one after the other.

    Attributes:
        values: (b, DRAWS) float in [0, 1).
        key: (b,) int64, see `fashioncnn.data.noise`.
        side: of the pictures, in pixels.
    """

    values: Tensor
    key: Tensor
    side: int
    taken: int = 0
    fields: int = 0

    def even(self, low: float, high: float) -> Tensor:
        """Return (b,), anything from `low` to `high`."""
        self.taken += 1
        return low + (high - low) * self.values[:, self.taken - 1]

    def chance(self, share: float) -> Tensor:
        """Return (b,), 1 with the probability `share` and else 0."""
        return (self.even(0, 1) < share).to(torch.float32)

    def sign(self, negative: float = 0.5) -> Tensor:
        """Return (b,), -1 with the probability `negative` and else 1."""
        return 1 - 2 * self.chance(negative)

    def field(self, cells: int) -> Tensor:
        """Return (b, 1, side, side): normal values at `cells` × `cells` places, smooth between."""
        self.fields += 1
        coarse = normal_field(self.key, cells * cells, self.fields).view(-1, 1, cells, cells)
        size = (self.side, self.side)
        return F.interpolate(coarse, size, mode="bicubic", align_corners=True)


def like_photographs(images: Tensor, values: Tensor, key: Tensor, paired: Tensor) -> Tensor:
    """Return the pictures as if each had been cut out of a photograph.

    Args:
        images: (b, 1, side, side) float in [0, 255], light on black.
        values: (b, DRAWS) float in [0, 1), drawn for them.
        key: (b,) int64 in [0, 2³²), likewise.
        paired: (b,) bool: what may lie there as a pair.

    Returns:
        (b, 1, side, side) float in [0, 255].
    """
    draws = _Draws(values, key, images.shape[-1])
    pictures = _lay_out(images / 255, draws)
    pictures = _pair_up(pictures, paired, draws)
    mask = _closed((pictures > VISIBLE).to(torch.float32))
    cloth = _colour(pictures, mask, draws)
    seen = _cut_out(cloth, mask, draws)
    seen = _enlarge(seen, draws)
    grain = normal_field(key, seen[0].numel(), draws.fields + 1).view(seen.shape)
    seen = seen + _wide(draws.even(0, 0.04)) * grain
    return 255 * seen.clamp_(0, 1)


def _lay_out(pictures: Tensor, draws: _Draws) -> Tensor:
    """Turn, stretch, slant, flare and crumple."""
    any_way = draws.chance(0.1)
    degrees = draws.even(-25, 25) * (1 - any_way) + draws.even(-180, 180) * any_way
    size, stretch = draws.even(0.75, 1.02), draws.even(-0.4, 0.4).exp()
    across = size * stretch.clamp(max=1.15) * draws.sign()
    down = size / stretch.clamp(min=0.87)
    slant, right, below = draws.even(-0.2, 0.2), draws.even(-0.05, 0.05), draws.even(-0.05, 0.05)
    side = draws.side
    places = torch.linspace(-1, 1, side, device=pictures.device)
    flare = _wide(draws.even(-0.35, 0.35)) * places.view(-1, 1) * places
    large, small = _wide(draws.even(0, 0.12)), _wide(draws.even(0, 0.05))
    x, y = (large * draws.field(3) + small * draws.field(6) for _ in range(2))
    bent = torch.cat([x + flare, y], 1).permute(0, 2, 3, 1)
    return _warp(pictures, degrees, across, down, slant, right, below, bent)


def _pair_up(pictures: Tensor, paired: Tensor, draws: _Draws) -> Tensor:
    """Put most of what may be a pair beside its mirror image, or behind itself."""
    pairs = draws.chance(0.75) * paired
    beside = draws.chance(0.6)
    mirrored = draws.chance(0.75)
    size, squeeze = draws.even(0.6, 0.95), draws.even(0.65, 1.1)
    apart = draws.even(0.25, 0.6)
    right = apart * beside + draws.even(-0.15, 0.15)
    below = apart * (1 - beside) + draws.even(-0.1, 0.1)
    upright = (90 + draws.even(-30, 30)) * draws.sign()
    turn = upright * beside + draws.even(-25, 25) * (1 - beside)
    faces = mirrored * beside
    other_turn = turn * (1 - 2 * faces) + draws.even(-12, 12)
    other_side = torch.where(mirrored > 0, 1 - 2 * faces, draws.sign())
    straight = torch.zeros_like(size)
    one, other = (
        _warp(pictures, angle, size * facing, size * squeeze, straight, sign * right, sign * below)
        for angle, facing, sign in (
            (turn, torch.ones_like(size), -1),
            (other_turn, other_side, 1),
        )
    )
    both = torch.where(other > VISIBLE, other, one)
    return torch.where(_wide(pairs) > 0, both, pictures)


def _colour(pictures: Tensor, mask: Tensor, draws: _Draws) -> Tensor:
    """Give the garment any tone, contrast (of either sign), print and shadow."""
    area = mask.sum((1, 2, 3), keepdim=True).clamp(min=1)
    mean = (pictures * mask).sum((1, 2, 3), keepdim=True) / area
    cloth = (pictures - mean) * _wide(draws.even(-1.2, 1.2)) + _wide(draws.even(0.25, 0.95))
    printed = _wide(draws.even(0, 0.25) * draws.chance(0.35))
    cloth = cloth + printed * _print(draws, pictures.device)
    cloth = cloth + _wide(draws.even(0, 0.15)) * draws.field(4)
    return cloth.clamp(DARKEST, 1)


def _print(draws: _Draws, device: torch.device) -> Tensor:
    """Return stripes, checks, blots or specks, of about deviation 1."""
    kind, angle = draws.even(0, 4).floor(), draws.even(0, math.pi)
    often, phase = _wide(draws.even(4, 25)), _wide(draws.even(0, 2 * math.pi))
    places = torch.linspace(-1, 1, draws.side, device=device)
    cosine, sine = _wide(angle.cos()), _wide(angle.sin())
    along = cosine * places + sine * places.view(-1, 1)
    across = cosine * places.view(-1, 1) - sine * places
    stripes = (often * along + phase).sin().sign()
    checks = stripes * (often * across + phase).sin().sign()
    kinds = (stripes, checks, draws.field(6), draws.field(14))
    shown = kinds[0]
    for number, other in enumerate(kinds[1:], 1):
        shown = torch.where(_wide(kind) == number, other, shown)
    return shown


def _cut_out(cloth: Tensor, mask: Tensor, draws: _Draws) -> Tensor:
    """Cut the garment out as badly as it happens: some background left, some garment lost."""
    soft = 0.6 * mask + 0.4 * mask * F.avg_pool2d(mask, 3, 1, 1)
    around = F.max_pool2d(mask, 7, 1, 3) * (1 - mask)
    left = (draws.field(7) > _wide(draws.even(0.3, 1.6))) * around * _wide(draws.chance(0.25))
    lost = (draws.field(7) > _wide(draws.even(1.8, 4.0))).to(torch.float32)
    ground = (_wide(draws.even(0.1, 1)) + 0.12 * draws.field(9)).clamp(DARKEST, 1)
    whole = _wide(draws.chance(0.03))  # nothing could be told apart
    kept = torch.maximum(torch.maximum(soft * (1 - lost), left), whole)
    return kept * (mask * cloth + (1 - mask) * ground)


def _enlarge(seen: Tensor, draws: _Draws) -> Tensor:
    """Bring what is to be seen to the full size, as a cut-out is."""
    visible = (seen > VISIBLE).to(torch.float32)
    places = torch.arange(draws.side, device=seen.device, dtype=torch.float32)
    scale = draws.even(0.95, 1.12) / draws.side
    theta = torch.zeros(len(seen), 2, 3, device=seen.device)
    spans = []
    for axis, dim in ((0, 2), (1, 3)):  # x, y
        line = visible.amax((1, dim)) > 0
        first = torch.where(line, places, draws.side).amin(1)
        last = torch.where(line, places + 1, 0).amax(1)
        empty = last <= first
        first, last = first.masked_fill(empty, 0), last.masked_fill(empty, draws.side)
        theta[:, axis, 2] = (first + last) / draws.side - 1
        spans.append(last - first)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.maximum(*spans) * scale
    grid = F.affine_grid(theta, list(seen.shape), align_corners=False)
    return F.grid_sample(seen, grid, align_corners=False)


def _warp(
    pictures: Tensor,
    degrees: Tensor,
    across: Tensor,
    down: Tensor,
    slant: Tensor,
    right: Tensor,
    below: Tensor,
    bent: Tensor | None = None,
) -> Tensor:
    """Scale and slant, then turn, then move; all (b,). What comes in is black.

    Args:
        pictures: (b, 1, side, side).
        degrees: clockwise.
        across: factor of the width; negative mirrors.
        down: factor of the height.
        slant: shift right of a line that lies one half-side lower.
        right: shift in half-sides.
        below: likewise.
        bent: (b, side, side, 2), added to where each value is taken from, in half-sides.
    """
    angle = torch.deg2rad(degrees)
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
    form = torch.stack([across, slant, torch.zeros_like(down), down], 1).view(-1, 2, 2)
    back = torch.linalg.inv(turn @ form)
    shift = back @ torch.stack([right, below], 1).unsqueeze(2)
    theta = torch.cat([back, -shift], 2)
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    grid = grid if bent is None else grid + bent
    return F.grid_sample(pictures, grid, align_corners=False)


def _closed(mask: Tensor) -> Tensor:
    """Fill gaps of a pixel's width."""
    return -F.max_pool2d(-F.max_pool2d(mask, 3, 1, 1), 3, 1, 1)


def _wide(values: Tensor) -> Tensor:
    """Return (b,) as (b, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)
