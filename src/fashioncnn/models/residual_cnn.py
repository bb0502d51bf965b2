"""ResidualCNN: deeper, and still small."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fashioncnn.errors import ConfigError
from fashioncnn.models.layers import Convolution, Dropout
from fashioncnn.settings import ResidualCNNConfig


class ResidualBlock(nn.Module):
    """Two convolutions, each batch-normalised, added to what came in (He et al., arXiv:1512.03385).

    Where channels change, the picture is averaged to half its side first, and what came in passes
    a 1×1 convolution (He et al., arXiv:1812.01187, ResNet-D).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.halves = in_channels != out_channels
        self.first = Convolution(in_channels, out_channels)
        self.first_norm = nn.BatchNorm2d(out_channels)
        self.second = Convolution(out_channels, out_channels)
        self.second_norm = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(self.second_norm.weight)  # a block begins by doing nothing
        if self.halves:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, out, height, width) float, half the side where channels change."""
        if self.halves:
            features = F.avg_pool2d(features, 2)
        inner = F.relu(self.first_norm(self.first(features)), inplace=True)
        change: Tensor = self.second_norm(self.second(inner))
        kept = self.shortcut_norm(self.shortcut(features)) if self.halves else features
        return F.relu(change.add_(kept), inplace=True)


class ResidualCNN(nn.Module):
    """A convolution, stages of residual blocks, the mean over the picture, a linear layer.

    With its defaults on 28×28 pictures: stages of 16, 32 and 64 channels at 28×28, 14×14 and 7×7,
    three blocks each; 272,186 parameters.
    """

    def __init__(self, config: ResidualCNNConfig, image_size: int, classes: int) -> None:
        super().__init__()
        stages = len(config.channels)
        self.side = image_size >> (stages - 1)
        if self.side < 1:
            raise ConfigError(
                f"model: {stages} stages leave nothing of {image_size}×{image_size} pictures"
            )
        if any(a == b for a, b in zip(config.channels, config.channels[1:], strict=False)):
            raise ConfigError(f"model.channels = {config.channels}: each stage needs its own width")
        channels = config.channels[0]
        self.stem = Convolution(1, channels)
        self.stem_norm = nn.BatchNorm2d(channels)
        self.blocks = nn.ModuleList()
        for out_channels in config.channels:
            for _ in range(config.blocks):
                self.blocks.append(ResidualBlock(channels, out_channels))
                channels = out_channels
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (n, classes) float, for images (n, 1, size, size) float."""
        features = F.relu(self.stem_norm(self.stem(images)), inplace=True)
        for block in self.blocks:
            features = block(features)
        logits: Tensor = self.output(self.dropout(features.mean((2, 3))))
        return logits
