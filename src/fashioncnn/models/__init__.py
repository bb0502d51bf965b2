"""The networks, their placement on a device and the kernels they compute with."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from fashioncnn.kernels import Kernels, load_kernels
from fashioncnn.models.batchnorm_cnn import BatchNormCNN
from fashioncnn.models.fashion_cnn import FashionCNN
from fashioncnn.models.layers import FlattenLinear, KernelLayer
from fashioncnn.models.residual_cnn import ResidualCNN
from fashioncnn.settings import ModelConfig

MODELS: dict[str, Callable[..., nn.Module]] = {
    "fashion_cnn": FashionCNN,
    "batchnorm_cnn": BatchNormCNN,
    "residual_cnn": ResidualCNN,
}
"""Networks by the name of the setting ``model.name``."""


def build_model(
    config: ModelConfig, image_size: int, classes: int, in_channels: int = 1
) -> nn.Module:
    """Return a network with random weights drawn from torch's global generator.

    Args:
        config: the section ``[model]`` of the settings.
        image_size: side of the input images, in pixels.
        classes: number of logits.
        in_channels: of the input images, 1 or 3.

    Raises:
        ConfigError: the images are too small for the network, or its stages are inconsistent.
    """
    return MODELS[config.name](config, image_size, classes, in_channels)


def place_network(network: nn.Module, device: torch.device) -> None:
    """Move a network to `device`, in channels_last layout, in which convolutions are fastest.

    The layout changes the order of sums: a network gives the same bytes only in the same layout.
    """
    network.to(device)
    if device.type != "mps":  # which does not support the layout in every operation
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def set_kernels(network: nn.Module, name: str) -> None:
    """Select the CPU kernels that a network computes with.

    Args:
        network: its `KernelLayer` layers are changed. A new network uses "torch".
        name: "native" for the compiled kernels, "torch" for PyTorch's.

    Raises:
        KernelError: the compiled kernels cannot be used on this machine.
        ValueError: another name.
    """
    if name not in ("native", "torch"):
        raise ValueError(f"kernels = {name!r}: should be 'native' or 'torch'")
    kernels = load_kernels() if name == "native" else None
    for layer in network.modules():
        if isinstance(layer, KernelLayer):
            layer.kernels = kernels


def compiled_kernels(network: nn.Module) -> Kernels | None:
    """Return the compiled kernels that a network computes with; None for PyTorch's."""
    layers = (layer for layer in network.modules() if isinstance(layer, KernelLayer))
    return next((layer.kernels for layer in layers), None)


def kernels_of(network: nn.Module) -> Literal["native", "torch"]:
    """Return the name of the CPU kernels that a network computes with."""
    return "torch" if compiled_kernels(network) is None else "native"


@lru_cache
def count_multiply_adds(
    config: ModelConfig, image_size: int, classes: int, in_channels: int = 1
) -> int:
    """Return the multiply-add operations of convolutions and linear layers for one image.

    Normalization, pooling and biases, a few percent, are not counted, as is customary.
    """
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):  # square, stride 1; the layer's output may be pooled
            shrinkage = layer.kernel_size[0] - 1 - 2 * int(layer.padding[0])
            positions = math.prod(side - shrinkage for side in inputs[0].shape[2:])
            weights_per_output = layer.in_channels * math.prod(layer.kernel_size)
            counts.append(positions * weights_per_output * output.shape[1])
        else:
            counts.append(next(layer.parameters()).numel())

    with torch.device("meta"):
        network = build_model(config, image_size, classes, in_channels).eval()
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | FlattenLinear):
                layer.register_forward_hook(count)
        network(torch.empty(1, in_channels, image_size, image_size))
    return sum(counts)


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
