"""Grad-CAM: class activation maps from gradients.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", arXiv:1610.02391, equations 1 and 2.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fashioncnn.errors import UsageError
from fashioncnn.models.hooks import forward_hooks
from fashioncnn.models.layers import ConvolutionalNetwork


def grad_cam(network: nn.Module, inputs: Tensor, labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return activation maps, (n, rows, columns) float32, at least 0.

    The features of the last convolution, weighted by the mean gradient of the class's logit over
    each channel; negative values become 0.

    Args:
        network: in evaluation mode; if it is not a `ConvolutionalNetwork`, the features are the
            output of the last `torch.nn.Conv2d` that it calls.
        inputs: (n, 1, size, size) float, normalized.
        labels: (n,) the class to explain for each image.

    Raises:
        UsageError: the network has no convolution.
    """
    with torch.inference_mode(False), torch.enable_grad():
        features, logits = _features_and_logits(network, inputs)
        selected = logits.gather(1, torch.from_numpy(labels).to(logits.device)[:, None])
        (gradients,) = torch.autograd.grad(selected.sum(), features, materialize_grads=True)
    features = features.detach()
    weights = gradients.mean((2, 3), keepdim=True)
    maps = (weights * features).sum(1).clamp(min=0)
    return cast("NDArray[np.float32]", maps.float().cpu().numpy())


def _features_and_logits(network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output of the last convolution and the logits, which depend on it."""
    if isinstance(network, ConvolutionalNetwork):
        with torch.no_grad():
            features = network.features(inputs)
        features = features.clone().requires_grad_()
        return features, network.head(features)
    outputs: list[Tensor] = []

    def keep(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()  # which the network may change in place

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    with forward_hooks(layers, keep):
        # Frozen weights need an input with a gradient; the network may change it in place.
        logits: Tensor = network(inputs.clone().requires_grad_().clone())
    if not outputs:
        raise UsageError("the network has no torch.nn.Conv2d, whose output Grad-CAM explains")
    return outputs[-1], logits
