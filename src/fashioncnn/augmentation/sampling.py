"""What is drawn for a batch of images, taken one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fashioncnn.augmentation.noise import normal_field

SAMPLES_PER_IMAGE = 96
"""Values in [0, 1) that are drawn for each image; more than are used."""


@dataclass
class Sampler:
    """What was drawn for a batch, taken one after the other.

    Attributes:
        values: (b, SAMPLES_PER_IMAGE) float in [0, 1).
        key: (b,) int64, see `fashioncnn.augmentation.noise`.
        side: of the images, in pixels.
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
        between = _bicubic(cells, self.side).to(coarse.device)
        return between @ coarse @ between.T

    def grain(self) -> Tensor:
        """Return (b, 1, side, side): a normal value for each pixel."""
        self.fields += 1
        values = normal_field(self.key, self.side * self.side, self.fields)
        return values.view(-1, 1, self.side, self.side)

    def print(self) -> Tensor:
        """Return stripes, checks, blots or specks, of about deviation 1."""
        kind, angle = self.even(0, 4).floor(), self.even(0, math.pi)
        often, phase = (
            reshape_per_image(self.even(4, 25)),
            reshape_per_image(self.even(0, 2 * math.pi)),
        )
        places = torch.linspace(-1, 1, self.side, device=self.values.device)
        cosine, sine = reshape_per_image(angle.cos()), reshape_per_image(angle.sin())
        along = cosine * places + sine * places.view(-1, 1)
        across = cosine * places.view(-1, 1) - sine * places
        stripes = (often * along + phase).sin().sign()
        checks = stripes * (often * across + phase).sin().sign()
        kinds = (stripes, checks, self.field(6), self.field(14))
        shown = kinds[0]
        for number, other in enumerate(kinds[1:], 1):
            shown = torch.where(reshape_per_image(kind) == number, other, shown)
        return shown


def reshape_per_image(values: Tensor) -> Tensor:
    """Return (b,) as (b, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


@cache
def _bicubic(cells: int, side: int) -> Tensor:
    """Return (side, cells): the weights of cells for each place between them, corners aligned.

    As a product it is ten times as fast as `torch.nn.functional.interpolate` on every image.
    """
    each = torch.eye(cells).view(1, cells, cells, 1)
    spread = F.interpolate(each, (side, 1), mode="bicubic", align_corners=True)
    return spread.view(cells, side).T.contiguous()
