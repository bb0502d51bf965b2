"""Layers that networks are built of."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fashioncnn.errors import ConfigError
from fashioncnn.kernels import batch_norm_pair, conv_pool_relu, convolve, fixed_norm
from fashioncnn.kernels.norm import add_and_relu

BITS, INT64_MIN = 2**16, -(2**63)


class ConvolutionalNetwork(nn.Module, ABC):
    """A network in two parts, so that what its last convolution found can be looked at."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return what the last convolution makes, (n, channels, rows, columns) float.

        Args:
            images: (n, 1, size, size) float.
        """

    @abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """Return logits, (n, classes) float, for what `features` returns."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (n, classes) float, for images (n, 1, size, size) float."""
        return self.head(self.features(images))


class ConvPoolReLU(nn.Conv2d):
    """A convolution, 2×2 max pooling and ReLU; its weights are those of the convolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, out, rows, columns) float for images (n, in, height, width) float."""
        return conv_pool_relu(images, self.weight, self.bias, int(self.padding[0]))


class Convolution(nn.Conv2d):
    """A 3×3 convolution that keeps the image's size, without a bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, out, height, width) float for images (n, in, height, width) float."""
        return convolve(images, self.weight, 1)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation, with the addition and the ReLU that often follow it in the same pass."""

    def forward(
        self,
        features: Tensor,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        """Return float of the shape of `features`, (n, channels, height, width).

        Args:
            features: float.
            residual: of the same shape, added once they are normalised.
            relu: whether the sum is rectified.
        """
        return self.forward_pair(features, residual, relu)[0]

    def forward_pair(
        self, features: Tensor, residual: Tensor | None = None, relu: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the same two times, for two ways it goes: their gradients meet at no cost here.

        Neither may be changed in place.
        """
        if not self.training:
            self._check_input_dim(features)
            of_channels = self.weight, self.bias, self.running_mean, self.running_var
            normed = fixed_norm(features, residual, *of_channels, self.eps, relu)
            return normed, normed
        if self.momentum is None or self.num_batches_tracked is None:
            normed = add_and_relu(super().forward(features), residual, relu)
            return normed, normed
        self._check_input_dim(features)
        self.num_batches_tracked.add_(1)
        return batch_norm_pair(
            features,
            residual,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            self.momentum,
            self.eps,
            relu,
        )


class Dropout(nn.Dropout):
    """Dropout that draws 16 random bits a value on the CPU, in a third of PyTorch's time.

    The share dropped is so a multiple of 1/65536, under 1; what is kept is scaled by exactly that.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Return `values`, in training with a share of them 0 and the others scaled up."""
        if not self.training or self.p in (0, 1) or values.device.type != "cpu":
            return super().forward(values)
        n, dropped = values.numel(), min(round(self.p * BITS), BITS - 1)
        bits = torch.empty(-(-n // 4), dtype=torch.int64, device="cpu").random_(INT64_MIN, None)
        kept = bits.view(torch.int16)[:n].view(values.shape) >= dropped - BITS // 2
        return values * kept.to(values.dtype).mul_(BITS / (BITS - dropped))


class FlattenLinear(nn.Module):
    """A linear layer on whole images: what `torch.nn.Linear` is after `torch.flatten`.

    In memory its weight is (out, channels, rows, columns), so that in the layout ``channels_last``
    (`fashioncnn.models.place_network`) it lies in the order of the images, and nothing has to be
    rearranged. Among a network's saved weights it is a `torch.nn.Linear`'s: (out, channels · rows ·
    columns), in that order.
    """

    def __init__(self, channels: int, rows: int, columns: int, outputs: int) -> None:
        super().__init__()
        flat = nn.Linear(channels * rows * columns, outputs)
        self.shape = outputs, channels, rows, columns
        self.weight = nn.Parameter(flat.weight.detach().reshape(self.shape))
        self.bias = flat.bias
        self.register_state_dict_post_hook(_flatten_weight)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_unflatten_weight)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, out) float for images (n, channels, rows, columns) float."""
        weight: Tensor = self.weight
        if weight.is_contiguous(memory_format=torch.channels_last):
            images, weight = images.permute(0, 2, 3, 1), weight.permute(0, 2, 3, 1)
        return F.linear(images.flatten(1), weight.flatten(1), self.bias)


def _flatten_weight(_layer: nn.Module, state: dict[str, Tensor], prefix: str, _: object) -> None:
    state[prefix + "weight"] = state[prefix + "weight"].flatten(1)


def _unflatten_weight(layer: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    weight = state.get(prefix + "weight")
    if weight is None or not isinstance(layer, FlattenLinear):
        return
    outputs, *sides = layer.shape
    if weight.shape == (outputs, math.prod(sides)):  # PyTorch tells of what does not fit
        state[prefix + "weight"] = weight.reshape(layer.shape)


def pooled_side(side: int, kernel_size: int, padding: int, layers: int, image_size: int) -> int:
    """Return the side of what `ConvPoolReLU` makes of a square of `side` pixels.

    Raises:
        ConfigError: nothing is left of images of `image_size` after so many `layers`.
    """
    pooled = (side + 2 * padding - kernel_size + 1) // 2
    if pooled < 1:
        raise ConfigError(
            f"model: {layers} convolutions of {kernel_size}×{kernel_size} leave nothing of "
            f"{image_size}×{image_size} images"
        )
    return pooled
