"""Random values for rendering images: scalars from a table of parameters, fields from a hash."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fashioncnn.augmentation.grids import choose, reshape_per_image, rotated_coordinates
from fashioncnn.augmentation.noise import normal_field

KEY_SALTS = {"photograph_params": 0x5CE7E000, "outlier_params": 0x91ECE000}
"""Arbitrary constants that give each renderer its own fields, from the one `noise_key`."""


@dataclass
class Sampler:
    """Random values for rendering a batch of images; each call returns new ones.

    The order of the calls decides which values each of them gets.

    Attributes:
        values: (b, SAMPLES_PER_IMAGE) float32 in [0, 1), one column per scalar.
        key: (b,) int64 in [0, 2³²), hashed into random fields.
        size: image side in pixels.
    """

    values: Tensor
    key: Tensor
    size: int
    scalars_used: int = field(default=0, init=False)
    fields_used: int = field(default=0, init=False)

    @classmethod
    def of_rows(
        cls, parameters: dict[str, Tensor], column: str, rows: Tensor, size: int
    ) -> Sampler:
        """Return the sampler of some images of a batch.

        Args:
            parameters: of the batch, see `fashioncnn.augmentation.parameters`; (b, n) uniform
                values by column, and ``noise_key``, (b,) int64.
            column: that the scalars are drawn from, a key of `KEY_SALTS`.
            rows: (r,) int64 or (b,) bool, the images.
            size: side of the images, in pixels.
        """
        key = parameters["noise_key"][rows] ^ KEY_SALTS[column]
        return cls(parameters[column][rows], key, size)

    def uniform(self, low: float, high: float) -> Tensor:
        """Return (b,) uniform values in [`low`, `high`)."""
        self.scalars_used += 1
        return low + (high - low) * self.values[:, self.scalars_used - 1]

    def bernoulli(self, p: float) -> Tensor:
        """Return (b,) values that are 1 with probability `p`, else 0."""
        return (self.uniform(0, 1) < p).to(torch.float32)

    def random_sign(self, p: float = 0.5) -> Tensor:
        """Return (b,) values that are -1 with probability `p`, else 1."""
        return 1 - 2 * self.bernoulli(p)

    def smooth_noise(self, cells: int) -> Tensor:
        """Return (b, 1, size, size): cells × cells normal values, upsampled bicubically."""
        self.fields_used += 1
        grid = normal_field(self.key, cells * cells, self.fields_used).view(-1, 1, cells, cells)
        weights = _bicubic_weights(cells, self.size, grid.device)
        return weights @ grid @ weights.T

    def pixel_noise(self) -> Tensor:
        """Return (b, 1, size, size) independent standard normal values."""
        self.fields_used += 1
        values = normal_field(self.key, self.size * self.size, self.fields_used)
        return values.view(-1, 1, self.size, self.size)

    def texture(self) -> Tensor:
        """Return (b, 1, size, size) stripes, checks or blobs, with a standard deviation near 1."""
        kind, angle = self.uniform(0, 4).floor(), self.uniform(0, math.pi)
        frequency = reshape_per_image(self.uniform(4, 25))
        phase = reshape_per_image(self.uniform(0, 2 * math.pi))
        x, y = rotated_coordinates(angle, self.size)
        stripes = (frequency * x + phase).sin().sign()
        checks = stripes * (frequency * y + phase).sin().sign()
        return choose((stripes, checks, self.smooth_noise(6), self.smooth_noise(14)), kind)


@cache
def _bicubic_weights(cells: int, size: int, device: torch.device) -> Tensor:
    """Return (size, cells): the weights of bicubic upsampling with aligned corners.

    As a matrix product, it is ten times as fast as `torch.nn.functional.interpolate` of a batch.
    """
    identity = torch.eye(cells, dtype=torch.float32).view(1, cells, cells, 1)
    columns = F.interpolate(identity, (size, 1), mode="bicubic", align_corners=True)
    return columns.view(cells, size).T.contiguous().to(device)
