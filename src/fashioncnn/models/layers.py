"""Layers shared by the networks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fashioncnn.errors import ConfigError
from fashioncnn.kernels import (
    BatchNormState,
    Kernels,
    batch_norm_inference,
    batch_norm_pair,
    conv2d,
    conv_pool_relu,
)
from fashioncnn.kernels.batch_norm import add_residual_relu_

RANDOM_BITS, INT64_MIN = 16, -(2**63)


class ConvolutionalNetwork(nn.Module, ABC):
    """A network in two stages, so that the features can be explained (class activation maps)."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return the last convolution's features, (n, channels, rows, columns) float.

        Args:
            images: (n, channels, size, size) float.
        """

    @abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """Return the logits, (n, classes) float, for the output of `features`."""

    def activation_weight(self) -> Tensor | None:
        """Return the weight of each channel's mean in the logits, (classes, channels).

        None unless the logits are a linear function of the mean of the features over all positions.
        """
        return None

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (n, classes) float, for images (n, channels, size, size) float."""
        return self.head(self.features(images))


class KernelLayer(nn.Module):
    """A layer that can run on compiled CPU kernels; see `fashioncnn.models.set_kernels`."""

    kernels: Kernels | None = None
    """Shared by copies of the layer; not part of its state dict."""
    bf16_convolutions: bool = True
    """Whether the compiled convolutions are used in bfloat16, too, and not PyTorch's."""


class ConvPoolReLU(nn.Conv2d, KernelLayer):
    """Convolution, 2×2 max pooling and ReLU; the parameters are the convolution's."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, out, rows, columns) float for images (n, in, height, width) float."""
        padding = int(self.padding[0])
        return conv_pool_relu(
            self.kernels, images, self.weight, self.bias, padding, self.bf16_convolutions
        )


class Convolution(nn.Conv2d, KernelLayer):
    """3×3 convolution that keeps the image's size, without bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, out, height, width) float for images (n, in, height, width) float."""
        return conv2d(self.kernels, images, self.weight, 1, self.bf16_convolutions)


class BatchNorm(nn.BatchNorm2d, KernelLayer):
    """Batch normalization, optionally with residual addition and ReLU in the same pass."""

    def forward(
        self, features: Tensor, residual: Tensor | None = None, relu: bool = False
    ) -> Tensor:
        """Return float of the shape of `features`, (n, channels, height, width).

        Args:
            features: float.
            residual: float of the same shape, added to the normalized features.
            relu: whether to apply ReLU last.
        """
        return self.forward_pair(features, residual, relu)[0]

    def forward_pair(
        self, features: Tensor, residual: Tensor | None = None, relu: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the output of `forward` twice, for an output that feeds two branches.

        Pass one to each branch, such as a convolution and a shortcut. The backward pass then
        receives both gradients and sums them on the way, where PyTorch would add them in a pass of
        its own (`fashioncnn.kernels.batch_norm_pair`). The two share their memory: modify neither
        in place.

        Args:
            features: (b, channels, height, width) float.
            residual: float of the same shape, added to the normalized features.
            relu: whether to apply ReLU last.
        """
        self._check_input_dim(features)
        state = BatchNormState(self.weight, self.bias, self.running_mean, self.running_var)
        if not self.training:
            output = batch_norm_inference(self.kernels, features, residual, state, self.eps, relu)
            return output, output
        if self.momentum is None:  # cumulative statistics, as torch.optim.swa_utils.update_bn asks
            output = add_residual_relu_(super().forward(features), residual, relu)
            return output, output
        if self.num_batches_tracked is not None:  # without running statistics
            self.num_batches_tracked.add_(1)
        return batch_norm_pair(
            self.kernels, features, residual, state, self.momentum, self.eps, relu
        )


class Dropout(nn.Dropout):
    """Dropout that draws 16 random bits per value on the CPU, three times faster than PyTorch.

    The fraction of dropped values is therefore a multiple of 1/65536, below 1; kept values are
    scaled by exactly 1 / (1 - fraction).
    """

    def forward(self, values: Tensor) -> Tensor:
        """Return `values`, in training with a random fraction set to 0 and the others scaled up."""
        if (
            not self.training
            or self.p in (0, 1)
            or values.device.type != "cpu"
            or torch.compiler.is_compiling()
        ):
            return super().forward(values)
        levels = 2**RANDOM_BITS
        n, dropped = values.numel(), min(round(self.p * levels), levels - 1)
        bits = torch.empty(-(-n // 4), dtype=torch.int64, device="cpu").random_(INT64_MIN, None)
        kept = bits.view(torch.int16)[:n].view(values.shape) >= dropped - levels // 2
        scaled: Tensor = values * kept.to(values.dtype).mul_(levels / (levels - dropped))
        return scaled


class FlattenLinear(nn.Module):
    """`torch.nn.Linear` after `torch.flatten`, for feature maps of a fixed size.

    The weight is a tensor (out, channels, rows, columns), so that channels_last
    (`fashioncnn.models.place_network`) gives it the memory order of the features, and nothing is
    copied. In the state dict it is a `torch.nn.Linear`'s: (out, channels · rows · columns).
    """

    def __init__(self, channels: int, rows: int, columns: int, outputs: int) -> None:
        super().__init__()
        linear = nn.Linear(channels * rows * columns, outputs)
        self.shape = outputs, channels, rows, columns
        self.weight = nn.Parameter(linear.weight.detach().reshape(self.shape))
        self.bias = linear.bias
        self.register_state_dict_post_hook(_flatten_weight)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_unflatten_weight)  # type: ignore[no-untyped-call]

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, out) float for features (n, channels, rows, columns) float."""
        weight: Tensor = self.weight
        if weight.is_contiguous(memory_format=torch.channels_last):
            features, weight = features.permute(0, 2, 3, 1), weight.permute(0, 2, 3, 1)
        return F.linear(features.flatten(1), weight.flatten(1), self.bias)


def _flatten_weight(_layer: nn.Module, state: dict[str, Tensor], prefix: str, _: object) -> None:
    state[prefix + "weight"] = state[prefix + "weight"].flatten(1)


def _unflatten_weight(layer: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    weight = state.get(prefix + "weight")
    if weight is None or not isinstance(layer, FlattenLinear):
        return
    outputs, *sides = layer.shape
    if weight.shape == (outputs, math.prod(sides)):  # load_state_dict reports other shapes
        state[prefix + "weight"] = weight.reshape(layer.shape)


def pooled_side(side: int, kernel_size: int, padding: int, layers: int, image_size: int) -> int:
    """Return the side of the output of `ConvPoolReLU` for an input of `side` × `side` pixels.

    Raises:
        ConfigError: the output of one of the network's `layers` is empty for images of
            `image_size`.
    """
    pooled = (side + 2 * padding - kernel_size + 1) // 2
    if pooled < 1:
        raise ConfigError(
            f"model: {image_size}×{image_size} images are too small for {layers} convolutions of "
            f"{kernel_size}×{kernel_size}; use larger images or fewer model.channels"
        )
    return pooled
