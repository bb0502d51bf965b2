"""BatchNormCNN: few multiplications, learnt in few epochs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fashioncnn.config import BatchNormCNNConfig
from fashioncnn.models.layers import ConvPoolReLU, pooled_side


class BatchNormCNN(nn.Module):
    """3×3 convolutions, each with 2×2 max pooling, ReLU and batch normalisation; a linear layer.

    Normalising after pooling is a quarter of the work, and leaves convolution, pooling and ReLU
    in one piece (`fashioncnn.kernels`). With its defaults on 28×28 pictures: Conv 1→32, 32→64,
    64→128, Linear 1152→10, 104,650 parameters.
    """

    def __init__(self, config: BatchNormCNNConfig, image_size: int, classes: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels, side = 1, image_size
        for out_channels in config.channels:
            self.convolutions.append(ConvPoolReLU(channels, out_channels, 3, padding=1))
            self.norms.append(nn.BatchNorm2d(out_channels))
            channels = out_channels
            side = pooled_side(side, 3, 1, len(config.channels), image_size)
        self.output = nn.Linear(channels * side * side, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (n, classes) float, for images (n, 1, size, size) float."""
        features = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features = norm(convolution(features))
        logits: Tensor = self.output(torch.flatten(features, 1))
        return logits
