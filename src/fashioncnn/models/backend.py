"""The PyTorch backend of `fashioncnn.inference.predictor.Predictor`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.devices import autocast
from fashioncnn.inference.predictor import Predictor
from fashioncnn.models.grad_cam import grad_cam
from fashioncnn.models.trained_model import TrainedModel

BATCH_SIZE = 500
"""Images per forward pass."""


class TorchBackend:
    """Computes with a PyTorch network on its device.

    Attributes:
        model: the network and its specification.
        precision: ``fp32`` or ``bf16``.
    """

    def __init__(self, model: TrainedModel, precision: str = "fp32") -> None:
        self.model = model
        self.precision = precision

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `fashioncnn.inference.backend.Backend.logits`."""
        if not len(images):
            return np.empty((0, len(self.model.spec.labels)), np.float32)
        tensor = to_tensor(images, self.model.device)
        preprocessing = self.model.spec.preprocessing
        return compute_logits(self.model.network, preprocessing, tensor, self.precision)

    def activation_maps(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See `fashioncnn.inference.backend.Backend.activation_maps`; these are Grad-CAM's."""
        inputs = normalize(to_tensor(images, self.model.device), self.model.spec.preprocessing)
        with autocast(inputs.device, "fp32"):
            return grad_cam(self.model.network, inputs, labels)


def torch_predictor(model: TrainedModel, precision: str = "fp32") -> Predictor:
    """Return a predictor that computes with PyTorch."""
    return Predictor(TorchBackend(model, precision), model.spec)


def compute_logits(
    network: nn.Module, preprocessing: Preprocessing, images: Tensor, precision: str = "fp32"
) -> NDArray[np.float32]:
    """Return logits, (n, classes) float32.

    Args:
        network: put into evaluation mode for the computation.
        preprocessing: of the network.
        images: (n, channels, size, size) uint8 on the network's device, n > 0.
        precision: ``fp32`` or ``bf16``.
    """
    with _evaluation_mode(network), torch.inference_mode(), autocast(images.device, precision):
        batches = [
            network(normalize(batch, preprocessing)).float()
            for batch in torch.split(images, BATCH_SIZE)
        ]
        logits: NDArray[np.float32] = torch.cat(batches).cpu().numpy()
    return logits


@contextlib.contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode in the block; one that is in it may have more threads."""
    training = [module for module in network.modules() if module.training]
    if training:
        network.eval()
    try:
        yield
    finally:
        for module in training:  # frozen layers stay in evaluation mode
            module.training = True


def normalize(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the input of a network, float32, for images in [0, 255].

    Args:
        images: (n, channels, size, size) uint8 or float; not changed.
        preprocessing: of the network.
    """
    mean, std = preprocessing.mean, preprocessing.std
    values = images.to(torch.float32, copy=True)
    return values.mul_(1 / (255 * std)).sub_(mean / std)


def to_tensor(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return images as (n, channels, size, size) uint8 on `device`.

    On the CPU a writable, contiguous array is not copied.

    Args:
        images: (n, size, size) or (n, size, size, 3) uint8.
        device: of the result.
    """
    usable = images.flags.writeable and images.flags.c_contiguous
    tensor = torch.from_numpy(images if usable else images.copy("C")).to(device)
    return tensor.unsqueeze(1) if images.ndim == 3 else tensor.permute(0, 3, 1, 2)
