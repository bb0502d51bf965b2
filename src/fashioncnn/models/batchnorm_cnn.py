"""BatchNormCNN: a small network that trains in few epochs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fashioncnn.models.layers import (
    BatchNorm,
    ConvolutionalNetwork,
    ConvPoolReLU,
    FlattenLinear,
    pooled_side,
)
from fashioncnn.settings import BatchNormCNNConfig

MIN_PATCH_STD = 1e-3
"""Patches of a lower standard deviation, such as plain background, are not used for whitening."""
WHITENING_EPS = 5e-4
"""Added to eigenvalues, so that directions of almost no variance are not amplified."""


class BatchNormCNN(ConvolutionalNetwork):
    """3×3 convolutions, each with 2×2 max pooling, ReLU and batch normalization; a linear layer.

    Normalizing after pooling is a quarter of the work, and lets convolution, pooling and ReLU run
    as one operation (`fashioncnn.kernels`). With its defaults on 28×28 images: Conv 1→32, 32→64,
    64→128, Linear 1152→10, 104,650 parameters.

    Attributes:
        side: of the last feature maps, in pixels.
    """

    def __init__(
        self, config: BatchNormCNNConfig, image_size: int, classes: int, in_channels: int = 1
    ) -> None:
        super().__init__()
        self.whitening = config.whitening
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels, side = in_channels, image_size
        for out_channels in config.channels:
            self.convolutions.append(ConvPoolReLU(channels, out_channels, 3, padding=1))
            self.norms.append(BatchNorm(out_channels))
            channels = out_channels
            side = pooled_side(side, 3, 1, len(config.channels), image_size)
        self.side = side
        self.output = FlattenLinear(channels, side, side, classes)

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Initialize the first convolution to whiten the 3×3 patches of `images`.

        Its first filters become the eigenvectors of the patches' second moments, each divided by
        the square root of its eigenvalue, followed by their negatives, because ReLU keeps only one
        sign (Page 2019, "How to train your ResNet 8", where these filters are frozen; here they are
        trained). A layer with fewer filters takes the first of them.

        Args:
            images: (n, channels, size, size) float, preprocessed.
        """
        patches = F.unfold(images, 3, padding=1).transpose(1, 2).flatten(0, 1)
        patches = patches[patches.std(1) > MIN_PATCH_STD]
        values, vectors = torch.linalg.eigh(patches.T @ patches / max(len(patches), 1))
        filters = (vectors / (values + WHITENING_EPS).sqrt()).T.flip(0)
        filters = torch.cat([filters, -filters]).reshape(-1, images.shape[1], 3, 3)
        weight, bias = self.convolutions[0].parameters()
        n = min(len(filters), len(weight))
        weight[:n] = filters[:n]
        bias.zero_()

    def features(self, images: Tensor) -> Tensor:
        """See `ConvolutionalNetwork.features`; after pooling and ReLU, before normalization."""
        features: Tensor = self.convolutions[0](images)
        for convolution, norm in zip(self.convolutions[1:], self.norms, strict=False):
            features = convolution(norm(features))
        return features

    def head(self, features: Tensor) -> Tensor:
        """See `ConvolutionalNetwork.head`."""
        logits: Tensor = self.output(self.norms[-1](features))
        return logits
