"""Layers that treat an image and its mirror image alike.

Of their channels the second half is to the mirror image what the first half is to the image: a
image mirrored gives the same two halves, changed places and mirrored. A convolution that keeps
this has half the free weights of others; the second half of its filters are the first, mirrored,
with the halves they read changed places (Cohen and Welling 2016, arXiv:1602.07576, for the group of
an image's reflection in its upright axis). What is averaged over both halves and all places in the
end is the same for an image and its mirror image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fashioncnn.kernels import conv_pool_relu, convolve, fixed_norm
from fashioncnn.models.layers import BatchNorm, Convolution, ConvPoolReLU


def expand_filters(weight: Tensor) -> Tensor:
    """Return (2·half, in, k, k) filters for the (half, in, k, k) that are free.

    Their inputs are halves of each other's mirror image, or an image alone.
    """
    mirrored = weight.flip(3)
    if weight.shape[1] > 1:
        mirrored = torch.cat(mirrored.chunk(2, dim=1)[::-1], dim=1)
    whole = torch.cat([weight, mirrored])
    return whole.contiguous(memory_format=torch.channels_last)


class FlipEquivariantConvolution(Convolution):
    """`Convolution` from and to halves that mirror each other, or from an image."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels // 2)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, out, height, width) float for images (n, in, height, width) float."""
        return convolve(images, expand_filters(self.weight), 1)


class FlipEquivariantConvPoolReLU(ConvPoolReLU):
    """`ConvPoolReLU` likewise, for images of an even width."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int) -> None:
        super().__init__(in_channels, out_channels // 2, kernel_size, padding)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, out, rows, columns) float for images (n, in, height, width) float."""
        bias = None if self.bias is None else self.bias.repeat(2)
        return conv_pool_relu(images, expand_filters(self.weight), bias, int(self.padding[0]))


class FlipEquivariantBatchNorm(BatchNorm):
    """`BatchNorm` whose statistics and weights both halves have in common."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels // 2)

    def forward_pair(
        self, features: Tensor, residual: Tensor | None = None, relu: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `BatchNorm.forward_pair`; features (n, channels, height, width)."""
        if not self.training:
            of_halves = self.weight, self.bias, self.running_mean, self.running_var
            w, b, mean, variance = (None if t is None else t.repeat(2) for t in of_halves)
            normed = fixed_norm(features, residual, w, b, mean, variance, self.eps, relu)
            return normed, normed
        beside = None if residual is None else _side_by_side(residual)
        first, second = super().forward_pair(_side_by_side(features), beside, relu)
        return _one_on_another(first), _one_on_another(second)


def _side_by_side(features: Tensor) -> Tensor:
    """Return (n, channels / 2, height, 2·width) of (n, channels, height, width).

    In the layout ``channels_last`` it is the same memory.
    """
    n, channels, height, width = features.shape
    return (
        features.permute(0, 2, 3, 1)
        .reshape(n, height, 2 * width, channels // 2)
        .permute(0, 3, 1, 2)
    )


def _one_on_another(features: Tensor) -> Tensor:
    """Return what `_side_by_side` was given."""
    n, half, height, double = features.shape
    return (
        features.permute(0, 2, 3, 1).reshape(n, height, double // 2, 2 * half).permute(0, 3, 1, 2)
    )
