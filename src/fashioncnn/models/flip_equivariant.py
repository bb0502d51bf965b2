"""Layers equivariant to horizontal flips.

The channels come in two halves. Flipping the input image horizontally flips every feature map and
swaps the halves. A convolution with this property has half the free weights: the filters of the
second half are those of the first, flipped, with the halves of their inputs swapped (Cohen and
Welling 2016, arXiv:1602.07576, for the group of horizontal reflection). The mean over both halves
and all positions is therefore the same for an image and its flip.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fashioncnn.kernels import BatchNormState, batch_norm_inference, conv2d, conv_pool_relu
from fashioncnn.models.layers import BatchNorm, Convolution, ConvPoolReLU


def expand_filters(weight: Tensor) -> Tensor:
    """Return all filters, (2·half, in, k, k), for the free ones of the first half.

    Args:
        weight: (half, in, k, k) float; `in` is 1 or 3 (images) or even (two halves of channels).
    """
    flipped = weight.flip(3)
    if weight.shape[1] % 2 == 0:
        flipped = torch.cat(flipped.chunk(2, dim=1)[::-1], dim=1)
    filters = torch.cat([weight, flipped])
    return filters.contiguous(memory_format=torch.channels_last)


class FlipEquivariantConvolution(Convolution):
    """`Convolution` of images or two-half features to two-half features."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels // 2)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, out, height, width) float for images (n, in, height, width) float."""
        weight = expand_filters(self.weight)
        return conv2d(self.kernels, images, weight, 1, self.bf16_convolutions)


class FlipEquivariantConvPoolReLU(ConvPoolReLU):
    """`ConvPoolReLU` of images or two-half features, of even width, to two-half features."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int) -> None:
        super().__init__(in_channels, out_channels // 2, kernel_size, padding)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, out, rows, columns) float for images (n, in, height, width) float."""
        weight, padding = expand_filters(self.weight), int(self.padding[0])
        bias = None if self.bias is None else self.bias.repeat(2)
        return conv_pool_relu(self.kernels, images, weight, bias, padding, self.bf16_convolutions)


class FlipEquivariantBatchNorm(BatchNorm):
    """`BatchNorm` that shares statistics, weight and bias between the two halves."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels // 2)

    def forward_pair(
        self, features: Tensor, residual: Tensor | None = None, relu: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `BatchNorm.forward_pair`; features (n, channels, height, width)."""
        if not self.training:
            tensors = self.weight, self.bias, self.running_mean, self.running_var
            state = BatchNormState(*(None if t is None else t.repeat(2) for t in tensors))
            output = batch_norm_inference(self.kernels, features, residual, state, self.eps, relu)
            return output, output
        side_by_side = None if residual is None else _halves_side_by_side(residual)
        first, second = super().forward_pair(_halves_side_by_side(features), side_by_side, relu)
        return _halves_stacked(first), _halves_stacked(second)


def _halves_side_by_side(features: Tensor) -> Tensor:
    """Return (n, channels / 2, height, 2·width) for (n, channels, height, width).

    Under channels_last this is a view of the same memory.
    """
    n, channels, height, width = features.shape
    return (
        features.permute(0, 2, 3, 1)
        .reshape(n, height, 2 * width, channels // 2)
        .permute(0, 3, 1, 2)
    )


def _halves_stacked(features: Tensor) -> Tensor:
    """Invert `_halves_side_by_side`."""
    n, half, height, double = features.shape
    return (
        features.permute(0, 2, 3, 1).reshape(n, height, double // 2, 2 * half).permute(0, 3, 1, 2)
    )
