"""ResidualCNN: deeper, from small to wide."""

from __future__ import annotations

from torch import Tensor, nn

from fashioncnn.errors import ConfigError
from fashioncnn.models.layers import (
    BatchNorm,
    Convolution,
    ConvolutionalNetwork,
    ConvPoolReLU,
    Dropout,
)
from fashioncnn.settings import ResidualCNNConfig


class ResidualBlock(nn.Module):
    """Two convolutions, each batch-normalised, added to what came in (He et al., arXiv:1512.03385).

    It begins by doing nothing: the second norm's weights are 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Convolution(channels, channels)
        self.first_norm = BatchNorm(channels)
        self.second = Convolution(channels, channels)
        self.second_norm = BatchNorm(channels)
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return float of the shape of `features`, (n, channels, height, width)."""
        inner = self.first_norm(self.first(features), relu=True)
        changed: Tensor = self.second_norm(self.second(inner), features, relu=True)
        return changed


class HalvingBlock(nn.Module):
    """A convolution pooled to half the side, rectified and normalised; a second one added to it.

    Pooling before anything is normalised or added is a quarter of that work, and no shortcut has to
    be brought to another size.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = ConvPoolReLU(in_channels, out_channels, 3, padding=1)
        self.first_norm = BatchNorm(out_channels)
        self.second = Convolution(out_channels, out_channels)
        self.second_norm = BatchNorm(out_channels)
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, out, height // 2, width // 2) float for (n, in, height, width) float."""
        halved = self.first_norm(self.first(features))
        changed: Tensor = self.second_norm(self.second(halved), halved, relu=True)
        return changed


class ResidualCNN(ConvolutionalNetwork):
    """A convolution, stages of blocks, the mean over the picture, a linear layer.

    The first stage is at the picture's own size; every later one begins with a `HalvingBlock`.
    With its defaults on 28×28 pictures: 16 channels at 28×28, where there is the first convolution
    alone, 64 at 14×14 and 96 at 7×7, two blocks each; 426,522 parameters.
    """

    def __init__(self, config: ResidualCNNConfig, image_size: int, classes: int) -> None:
        super().__init__()
        stages = len(config.channels)
        self.side = image_size >> (stages - 1)
        if self.side < 1:
            raise ConfigError(
                f"model: {stages} stages leave nothing of {image_size}×{image_size} pictures"
            )
        if len(config.blocks) != stages:
            raise ConfigError(
                f"model.blocks = {config.blocks}: {stages} stages need {stages} numbers"
            )
        if 0 in config.blocks[1:]:
            raise ConfigError(
                f"model.blocks = {config.blocks}: every stage but the first needs a block"
            )
        channels = config.channels[0]
        self.stem = Convolution(1, channels)
        self.stem_norm = BatchNorm(channels)
        self.blocks = nn.ModuleList(ResidualBlock(channels) for _ in range(config.blocks[0]))
        for out_channels, blocks in zip(config.channels[1:], config.blocks[1:], strict=True):
            self.blocks.append(HalvingBlock(channels, out_channels))
            self.blocks.extend(ResidualBlock(out_channels) for _ in range(blocks - 1))
            channels = out_channels
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(channels, classes)

    def features(self, images: Tensor) -> Tensor:
        """See `ConvolutionalNetwork.features`; of the last block, rectified."""
        features: Tensor = self.stem_norm(self.stem(images), relu=True)
        for block in self.blocks:
            features = block(features)
        return features

    def head(self, features: Tensor) -> Tensor:
        """See `ConvolutionalNetwork.head`."""
        logits: Tensor = self.output(self.dropout(features.mean((2, 3))))
        return logits
