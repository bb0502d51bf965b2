"""The networks, their placement on a device and the kernels they compute with."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from fashioncnn.devices import default_modes
from fashioncnn.errors import UsageError
from fashioncnn.kernels import Kernels, load_kernels
from fashioncnn.models.batchnorm_cnn import BatchNormCNN
from fashioncnn.models.fashion_cnn import FashionCNN
from fashioncnn.models.hooks import forward_hooks
from fashioncnn.models.layers import ConvolutionalNetwork, FlattenLinear, KernelLayer
from fashioncnn.models.residual_cnn import ResidualCNN
from fashioncnn.settings import CustomConfig, KernelsName, ModelConfig

MODELS: dict[str, Callable[..., nn.Module]] = {
    "fashion_cnn": FashionCNN,
    "batchnorm_cnn": BatchNormCNN,
    "residual_cnn": ResidualCNN,
}
"""Networks by the name of the setting ``model.name``. Your own network is not added here, where
it would be recorded under the name of another one: see `fashioncnn.models.custom`."""
_ORIGINAL = dict(MODELS)


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
        UsageError: it is a custom network, or was exchanged in `MODELS`.
    """
    if isinstance(config, CustomConfig):
        raise UsageError(f"the code of the custom network {config.network} is needed")
    if MODELS[config.name] is not _ORIGINAL[config.name]:
        raise UsageError(
            f"MODELS['{config.name}'] was replaced, and would be recorded as {config.name}; give "
            "your own network as Classifier(network=…)"
        )
    return MODELS[config.name](config, image_size, classes, in_channels)


def place_network(network: nn.Module, device: torch.device) -> None:
    """Move a network to `device`, in channels_last layout, in which convolutions are fastest.

    The layout changes the order of sums: a network gives the same bytes only in the same layout.
    Custom networks keep theirs, since their code may call `torch.Tensor.view`, which fails in
    channels_last.
    """
    network.to(device)
    if not isinstance(network, ConvolutionalNetwork):
        return
    if device.type != "mps":  # which does not support the layout in every operation
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def set_kernels(network: nn.Module, name: str) -> None:
    """Select the CPU kernels that a network computes with.

    Args:
        network: its `KernelLayer` layers are changed. A new network uses "torch".
        name: "native" for the compiled kernels, "torch" for PyTorch's, "mixed" for the compiled
            ones with PyTorch's convolutions in bfloat16.

    Raises:
        KernelError: the compiled kernels cannot be used on this machine.
        ValueError: another name.
    """
    if name not in ("native", "mixed", "torch"):
        raise ValueError(f"kernels = {name!r}: should be 'native', 'mixed' or 'torch'")
    kernels = None if name == "torch" else load_kernels()
    for layer in network.modules():
        if isinstance(layer, KernelLayer):
            layer.kernels, layer.bf16_convolutions = kernels, name != "mixed"


def compiled_kernels(network: nn.Module) -> Kernels | None:
    """Return the compiled kernels that a network computes with; None for PyTorch's."""
    layers = (layer for layer in network.modules() if isinstance(layer, KernelLayer))
    return next((layer.kernels for layer in layers), None)


def kernels_of(network: nn.Module) -> KernelsName:
    """Return the name of the CPU kernels that a network computes with, as for `set_kernels`."""
    if compiled_kernels(network) is None:
        return "torch"
    layers = (layer for layer in network.modules() if isinstance(layer, KernelLayer))
    return "native" if all(layer.bf16_convolutions for layer in layers) else "mixed"


@lru_cache
def count_multiply_adds(
    config: ModelConfig, image_size: int, classes: int, in_channels: int = 1
) -> int:
    """Return the multiply-add operations of convolutions and linear layers for one image.

    Normalization, pooling and biases, a few percent, are not counted, as is customary.
    """
    # On the meta device, operations import sympy and torch._dynamo, which takes seconds.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), default_modes(), torch.no_grad():
        network = build_model(config, image_size, classes, in_channels).eval()
        return _count_multiply_adds(network, torch.zeros(1, in_channels, image_size, image_size))


def measure_multiply_adds(network: nn.Module, image_size: int, in_channels: int = 1) -> int | None:
    """Return the multiply-adds of convolutions and linear layers of any network for one image.

    None if weights of another kind of layer would not be counted, such as of recurrent layers.
    """
    counted = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear | FlattenLinear
    for layer in network.modules():
        weights = [p for p in layer.parameters(recurse=False) if p.dim() > 1]
        if weights and not isinstance(layer, counted):
            return None
    device, training = next(network.parameters()).device, network.training
    with default_modes(), torch.no_grad():
        image = torch.zeros(1, in_channels, image_size, image_size, device=device)
        count = _count_multiply_adds(network.eval(), image)
    network.train(training)
    return count


def _count_multiply_adds(network: nn.Module, image: Tensor) -> int:
    """Return the multiply-adds of a network for one image, (1, c, size, size) float."""
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            weights_per_output = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
            counts.append(_positions(layer, inputs[0]) * weights_per_output * output.shape[1])
        elif isinstance(layer, nn.Linear):
            counts.append(inputs[0].numel() * layer.out_features)
        elif isinstance(layer, FlattenLinear):
            counts.append(layer.weight.numel())

    with forward_hooks(network.modules(), count):
        network(image)
    return sum(counts)


def _positions(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, features: Tensor) -> int:
    """Return at how many positions a convolution is computed; its output may be pooled."""
    if layer.padding == "same":
        return math.prod(features.shape[2:])
    positions = 1
    for axis, side in enumerate(features.shape[2:]):
        padding = 0 if layer.padding == "valid" else int(layer.padding[axis])
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        positions *= (side + 2 * padding - reach) // layer.stride[axis] + 1
    return positions


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
