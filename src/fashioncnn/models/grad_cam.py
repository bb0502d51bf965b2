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

from fashioncnn.models.layers import ConvolutionalNetwork


def grad_cam(network: nn.Module, inputs: Tensor, labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return activation maps, (n, rows, columns) float32, at least 0.

    The features of the last convolution, weighted by the mean gradient of the class's logit over
    each channel; negative values become 0.

    Args:
        network: a `ConvolutionalNetwork` in evaluation mode.
        inputs: (n, 1, size, size) float, normalized.
        labels: (n,) the class to explain for each image.
    """
    network = cast("ConvolutionalNetwork", network)
    with torch.no_grad():
        features = network.features(inputs)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = features.detach().clone().requires_grad_()
        logits = network.head(leaf)
        selected = logits.gather(1, torch.from_numpy(labels).to(logits.device)[:, None])
        (gradients,) = torch.autograd.grad(selected.sum(), leaf)
    weights = gradients.mean((2, 3), keepdim=True)
    maps = (weights * features).sum(1).clamp(min=0)
    return cast("NDArray[np.float32]", maps.float().cpu().numpy())
