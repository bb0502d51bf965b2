"""The networks, and the folder a trained one is kept in."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from fashioncnn.models.batchnorm_cnn import BatchNormCNN
from fashioncnn.models.fashion_cnn import FashionCNN
from fashioncnn.models.layers import FlattenLinear
from fashioncnn.models.residual_cnn import ResidualCNN
from fashioncnn.settings import ModelConfig

MODELS: dict[str, Callable[..., nn.Module]] = {
    "fashion_cnn": FashionCNN,
    "batchnorm_cnn": BatchNormCNN,
    "residual_cnn": ResidualCNN,
}
"""Networks by the name that settings give them."""


def build_model(config: ModelConfig, image_size: int, classes: int) -> nn.Module:
    """Return a network with fresh weights, drawn from torch's global generator.

    Args:
        config: what it is built of.
        image_size: side of its images, in pixels.
        classes: how many logits it gives.

    Raises:
        ConfigError: nothing would be left of such images, or the stages do not fit each other.
    """
    return MODELS[config.name](config, image_size, classes)


def place_network(network: nn.Module, device: torch.device) -> None:
    """Move a network to `device`, in the memory layout that its convolutions run fastest in.

    The layout changes no value, but it does change the order of sums, so that the same network
    gives the same bytes only in the same layout.
    """
    network.to(device)
    if device.type != "mps":  # where it is not supported throughout
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@lru_cache
def count_multiply_adds(config: ModelConfig, image_size: int, classes: int) -> int:
    """Return the multiplications of convolutions and linear layers for one image.

    Each goes with an addition. Norms, pooling and biases, a few percent, are left out, as is usual.
    """
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):  # square, not strided; its own output may be pooled
            shrinks = 2 * int(layer.padding[0]) + 1 - layer.kernel_size[0]
            places = math.prod(side + shrinks for side in inputs[0].shape[2:])
            taps = layer.in_channels * math.prod(layer.kernel_size)
            counts.append(places * taps * output.shape[1])
        else:
            counts.append(next(layer.parameters()).numel())

    with torch.device("meta"):
        network = build_model(config, image_size, classes).eval()
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | FlattenLinear):
                layer.register_forward_hook(count)
        network(torch.empty(1, 1, image_size, image_size))
    return sum(counts)


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def set_kernels(network: nn.Module, name: str) -> None:
    """Temporary."""
    from fashioncnn import kernels

    kernels.use(name)
