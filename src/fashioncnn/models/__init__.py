"""The networks, and the folder a trained one is kept in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from fashioncnn.models.batchnorm_cnn import BatchNormCNN
from fashioncnn.models.fashion_cnn import FashionCNN
from fashioncnn.models.residual_cnn import ResidualCNN
from fashioncnn.settings import ModelConfig

MODELS: dict[str, Callable[..., nn.Module]] = {
    "fashion_cnn": FashionCNN,
    "batchnorm_cnn": BatchNormCNN,
    "residual_cnn": ResidualCNN,
}
"""Networks by the name that settings give them."""


def build_model(config: ModelConfig, image_size: int, classes: int) -> nn.Module:
    """Return a network with fresh weights, drawn from torch's global generator."""
    return MODELS[config.name](config, image_size, classes)


def place_network(network: nn.Module, device: torch.device) -> None:
    """Move a network to `device`, in the memory layout that its convolutions run fastest in.

    The layout changes no value, but it does change the order of sums, so that the same network
    gives the same bytes only in the same layout.
    """
    network.to(device)
    if device.type != "mps":  # where it is not supported throughout
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
