"""FashionCNN: the network of the published description that this project reproduces."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fashioncnn.models.layers import (
    ConvolutionalNetwork,
    ConvPoolReLU,
    Dropout,
    FlattenLinear,
    pooled_side,
)
from fashioncnn.settings import FashionCNNConfig


class FashionCNN(ConvolutionalNetwork):
    """Convolutions with ReLU and 2×2 max pooling, then two linear layers with dropout between.

    With its defaults on 28×28 images: Conv 1→32, Conv 32→64, Linear 3136→256, Linear 256→10,
    824,458 parameters. The description does not state kernel size, padding and hidden width; these
    reproduce its figures most closely (docs/RESULTS.md, benchmarks/fit_baseline.py).
    """

    def __init__(
        self, config: FashionCNNConfig, image_size: int, classes: int, in_channels: int = 1
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        channels, side = in_channels, image_size
        for out_channels in config.channels:
            self.convolutions.append(
                ConvPoolReLU(channels, out_channels, config.kernel_size, config.padding)
            )
            channels = out_channels
            side = pooled_side(
                side, config.kernel_size, config.padding, len(config.channels), image_size
            )
        self.hidden = FlattenLinear(channels, side, side, config.hidden)
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, classes)

    def features(self, images: Tensor) -> Tensor:
        """See `ConvolutionalNetwork.features`; after pooling and ReLU."""
        features = images
        for convolution in self.convolutions:
            features = convolution(features)
        return features

    def head(self, features: Tensor) -> Tensor:
        """See `ConvolutionalNetwork.head`."""
        hidden = F.relu(self.hidden(features))
        logits: Tensor = self.output(self.dropout(hidden))
        return logits
