"""Fashion-MNIST's images made to look like garments cut out of photographs.

What `fashioncnn.images.segmentation` cuts out of a photograph differs from the data set's images in form
(laid out, sleeves spread, stretched, turned, crumpled), in tone (any cloth in any light, prints and
stripes), in number (shoes lie there in pairs), and in its outline, where background was left or
garment lost. A share is not cut out at all but lies whole before a background of its own, for
photographs are looked at whole as well.

All of that is drawn anew for each image, from tables and keys as in `fashioncnn.augmentation.pipeline`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fashioncnn.augmentation.sampling import Sampler, reshape_per_image

VISIBLE = 0.06
"""Lightness above which a pixel belongs to the garment; the data set's background is black."""
DARKEST = 0.1
"""Of what was cut out, so that black cloth is not background."""


BEFORE_BACKGROUND = 0.35
"""Share of the images that are shown whole, before a background."""


@dataclass(frozen=True)
class ClassTraits:
    """What is known of garments by their classes; each (n,) bool.

    Attributes:
        paired: may lie there as a pair.
        sleeved: may have sleeves, and may lie there with them spread.
        broad: are worn in folds, so that they are broader where they lie.
    """

    paired: Tensor
    sleeved: Tensor
    broad: Tensor

    @classmethod
    def none(cls, like: Tensor) -> ClassTraits:
        """Return that nothing is known of as many garments as `like` has values."""
        no = torch.zeros_like(like, dtype=torch.bool)
        return cls(no, no, no)

    def of(self, indices: Tensor) -> ClassTraits:
        """Return those of some garments."""
        return ClassTraits(self.paired[indices], self.sleeved[indices], self.broad[indices])


def render_photographs(images: Tensor, sampler: Sampler, traits: ClassTraits) -> Tensor:
    """Return the images as if each were a photograph, or had been cut out of one.

    Args:
        images: (b, 1, side, side) float in [0, 255], light on black.
        draws: for them.
        traits: of them.

    Returns:
        (b, 1, side, side) float in [0, 255].
    """
    images = _spread_sleeves(images / 255, traits.sleeved, sampler)
    images = _lay_out(images, traits.broad, sampler)
    images = _pair_up(images, traits.paired, sampler)
    mask = _closed((images > VISIBLE).to(torch.float32))
    cloth = _colour(images, mask, sampler)
    cut = _enlarge(_cut_out(cloth, mask, sampler), sampler)
    whole = _before_background(cloth, mask, sampler)
    seen = torch.where(reshape_per_image(sampler.chance(BEFORE_BACKGROUND)) > 0, whole, cut)
    seen = seen + reshape_per_image(sampler.even(0, 0.04)) * sampler.grain()
    return 255 * seen.clamp_(0, 1)


def _spread_sleeves(images: Tensor, sleeved: Tensor, sampler: Sampler) -> Tensor:
    """Turn what lies outside of the trunk about the shoulders, as sleeves are laid out.

    In the data set they hang down beside it.
    """
    spread = sampler.chance(0.6) * sleeved
    side = images.shape[-1]
    places = torch.linspace(-1, 1, side, device=images.device)
    trunk = reshape_per_image(sampler.even(0.36, 0.52))
    shoulder = sampler.even(-0.8, -0.5)
    angle = sampler.even(10, 75)
    uneven = sampler.even(0.7, 1.3)
    room = torch.full_like(angle, 0.72)  # for sleeves at each side
    straight = torch.zeros_like(angle)
    laid = images * (places.abs() <= trunk)
    laid = _warp(laid, straight, room, room, straight, straight, straight)
    for sign, degrees in ((-1, angle), (1, -angle * uneven)):
        sleeve = images * (sign * places > trunk)
        x = sign * trunk.flatten()
        turned = torch.deg2rad(degrees)
        # Where the shoulder stays: what a turn about the middle moves is moved back.
        right = room * (x - (turned.cos() * x - turned.sin() * shoulder))
        below = room * (shoulder - (turned.sin() * x + turned.cos() * shoulder))
        sleeve = _warp(sleeve, degrees, room, room, straight, right, below)
        laid = torch.maximum(laid, sleeve)
    return torch.where(reshape_per_image(spread) > 0, laid, images)


def _lay_out(images: Tensor, broad: Tensor, sampler: Sampler) -> Tensor:
    """Turn, stretch, slant, flare and crumple; lift what is outside, as sleeves are laid out."""
    any_way = sampler.chance(0.06)
    degrees = sampler.even(-20, 20) * (1 - any_way) + sampler.even(-180, 180) * any_way
    size, broader = sampler.even(0.75, 1.02), broad * sampler.even(0, 0.4)
    stretch = (sampler.even(-0.4, 0.4) + broader).exp()
    across = size * stretch.clamp(max=1.15) * sampler.sign()
    down = size / stretch.clamp(min=0.87)
    slant, right, below = (
        sampler.even(-0.2, 0.2),
        sampler.even(-0.05, 0.05),
        sampler.even(-0.05, 0.05),
    )
    side = sampler.side
    places = torch.linspace(-1, 1, side, device=images.device)
    flare = reshape_per_image(sampler.even(-0.45, 0.45)) * places.view(-1, 1) * places
    outside = (
        (places.abs() - reshape_per_image(sampler.even(0.3, 0.6)))
        .clamp(min=0)
        .expand(-1, -1, side, -1)
    )
    lifted = outside * reshape_per_image(sampler.even(0, 1.5) * sampler.chance(0.5))
    large, small = reshape_per_image(sampler.even(0, 0.1)), reshape_per_image(sampler.even(0, 0.04))
    x, y = (large * sampler.field(3) + small * sampler.field(6) for _ in range(2))
    bent = torch.cat([x + flare, y + lifted], 1).permute(0, 2, 3, 1)
    return _warp(images, degrees, across, down, slant, right, below, bent)


def _pair_up(images: Tensor, paired: Tensor, sampler: Sampler) -> Tensor:
    """Put most of what may be a pair beside its mirror image, or behind itself."""
    pairs = sampler.chance(0.75) * paired
    beside = sampler.chance(0.6)
    mirrored = sampler.chance(0.75)
    size, squeeze = sampler.even(0.6, 0.95), sampler.even(0.65, 1.1)
    apart = sampler.even(0.25, 0.6)
    right = apart * beside + sampler.even(-0.15, 0.15)
    below = apart * (1 - beside) + sampler.even(-0.1, 0.1)
    upright = (90 + sampler.even(-30, 30)) * sampler.sign()
    turn = upright * beside + sampler.even(-25, 25) * (1 - beside)
    faces = mirrored * beside
    other_turn = turn * (1 - 2 * faces) + sampler.even(-12, 12)
    other_side = torch.where(mirrored > 0, 1 - 2 * faces, sampler.sign())
    straight = torch.zeros_like(size)
    one, other = (
        _warp(images, angle, size * facing, size * squeeze, straight, sign * right, sign * below)
        for angle, facing, sign in (
            (turn, torch.ones_like(size), -1),
            (other_turn, other_side, 1),
        )
    )
    both = torch.where(other > VISIBLE, other, one)
    return torch.where(reshape_per_image(pairs) > 0, both, images)


def _colour(images: Tensor, mask: Tensor, sampler: Sampler) -> Tensor:
    """Give the garment any tone, contrast (of either sign), print and shadow."""
    area = mask.sum((1, 2, 3), keepdim=True).clamp(min=1)
    mean = (images * mask).sum((1, 2, 3), keepdim=True) / area
    cloth = (images - mean) * reshape_per_image(sampler.even(-1.2, 1.2)) + reshape_per_image(
        sampler.even(0.25, 0.95)
    )
    printed = reshape_per_image(sampler.even(0, 0.25) * sampler.chance(0.35))
    cloth = cloth + printed * sampler.print()
    cloth = cloth + reshape_per_image(sampler.even(0, 0.15)) * sampler.field(4)
    return cloth.clamp(DARKEST, 1)


def _cut_out(cloth: Tensor, mask: Tensor, sampler: Sampler) -> Tensor:
    """Cut the garment out as badly as it happens: some background left, some garment lost."""
    soft = 0.6 * mask + 0.4 * mask * F.avg_pool2d(mask, 3, 1, 1)
    around = F.max_pool2d(mask, 7, 1, 3) * (1 - mask)
    left = (
        (sampler.field(7) > reshape_per_image(sampler.even(0.3, 1.6)))
        * around
        * reshape_per_image(sampler.chance(0.25))
    )
    lost = (sampler.field(7) > reshape_per_image(sampler.even(1.8, 4.0))).to(torch.float32)
    ground = (reshape_per_image(sampler.even(0.1, 1)) + 0.12 * sampler.field(9)).clamp(DARKEST, 1)
    kept = torch.maximum(soft * (1 - lost), left)
    return kept * (mask * cloth + (1 - mask) * ground)


def _before_background(cloth: Tensor, mask: Tensor, sampler: Sampler) -> Tensor:
    """Lay the garment, at any size and place, on a ground with its pattern, things and shadows."""
    straight = torch.zeros_like(sampler.values[:, 0])
    size, right, below = (
        sampler.even(0.65, 1.1),
        sampler.even(-0.15, 0.15),
        sampler.even(-0.15, 0.15),
    )
    garment = torch.cat([cloth * mask, mask], 1)
    garment = _warp(garment, straight, size, size, straight, right, below)
    cloth, mask = garment[:, :1], garment[:, 1:]
    places = torch.linspace(-1, 1, sampler.side, device=mask.device)
    angle = sampler.even(0, 2 * math.pi)
    light = reshape_per_image(angle.cos()) * places + reshape_per_image(angle.sin()) * places.view(
        -1, 1
    )
    ground = (
        reshape_per_image(sampler.even(0, 1)) + reshape_per_image(sampler.even(0, 0.25)) * light
    )
    ground = (
        ground + reshape_per_image(sampler.even(0, 0.2) * sampler.chance(0.5)) * sampler.print()
    )
    ground = ground + reshape_per_image(sampler.even(0, 0.12)) * sampler.field(5)
    for _ in range(2):  # furniture, edges of what it lies on
        thing = reshape_per_image(sampler.chance(0.3)) * (_half_plane(sampler, places) > 0)
        ground = ground + thing * (reshape_per_image(sampler.even(0, 1)) - ground)
    fallen = F.avg_pool2d(_moved(mask, sampler), 3, 1, 1)
    ground = ground * (1 - reshape_per_image(sampler.even(0, 0.6) * sampler.chance(0.6)) * fallen)
    return cloth + (1 - mask) * ground.clamp(0, 1)


def _half_plane(sampler: Sampler, places: Tensor) -> Tensor:
    """Return what is positive beyond a line that passes the middle at some distance."""
    angle, distance = sampler.even(0, 2 * math.pi), sampler.even(0.3, 1.1)
    along = reshape_per_image(angle.cos()) * places + reshape_per_image(angle.sin()) * places.view(
        -1, 1
    )
    beyond: Tensor = along - reshape_per_image(distance)
    return beyond


def _moved(mask: Tensor, sampler: Sampler) -> Tensor:
    """Move a mask a little, as a shadow falls."""
    straight, one = torch.zeros_like(sampler.values[:, 0]), torch.ones_like(sampler.values[:, 0])
    right, below = sampler.even(-0.12, 0.12), sampler.even(-0.05, 0.15)
    return _warp(mask, straight, one, one, straight, right, below)


def _enlarge(seen: Tensor, sampler: Sampler) -> Tensor:
    """Bring what is to be seen to the full size, as a cut-out is."""
    visible = (seen > VISIBLE).to(torch.float32)
    places = torch.arange(sampler.side, device=seen.device, dtype=torch.float32)
    scale = sampler.even(0.95, 1.25) / sampler.side
    theta = torch.zeros(len(seen), 2, 3, device=seen.device)
    spans = []
    for axis, dim in ((0, 2), (1, 3)):  # x, y
        line = visible.amax((1, dim)) > 0
        first = torch.where(line, places, sampler.side).amin(1)
        last = torch.where(line, places + 1, 0).amax(1)
        empty = last <= first
        first, last = first.masked_fill(empty, 0), last.masked_fill(empty, sampler.side)
        theta[:, axis, 2] = (first + last) / sampler.side - 1
        spans.append(last - first)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.maximum(*spans) * scale
    grid = F.affine_grid(theta, list(seen.shape), align_corners=False)
    return F.grid_sample(seen, grid, align_corners=False)


def _warp(
    images: Tensor,
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
        images: (b, 1, side, side).
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
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    grid = grid if bent is None else grid + bent
    return F.grid_sample(images, grid, align_corners=False)


def _closed(mask: Tensor) -> Tensor:
    """Fill gaps of a pixel's width."""
    return -F.max_pool2d(-F.max_pool2d(mask, 3, 1, 1), 3, 1, 1)
