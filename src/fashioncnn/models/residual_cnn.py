"""ResidualCNN: deeper, from small to wide."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from fashioncnn.errors import ConfigError
from fashioncnn.models.flip_equivariant import (
    FlipEquivariantBatchNorm,
    FlipEquivariantConvolution,
    FlipEquivariantConvPoolReLU,
)
from fashioncnn.models.layers import (
    BatchNorm,
    Convolution,
    ConvolutionalNetwork,
    ConvPoolReLU,
    Dropout,
)
from fashioncnn.settings import ResidualCNNConfig


@dataclass(frozen=True)
class Layers:
    """The layers that blocks are built of."""

    convolution: type[Convolution]
    conv_pool_relu: type[ConvPoolReLU]
    batch_norm: type[BatchNorm]


LAYERS = {
    False: Layers(Convolution, ConvPoolReLU, BatchNorm),
    True: Layers(FlipEquivariantConvolution, FlipEquivariantConvPoolReLU, FlipEquivariantBatchNorm),
}
"""By ``flip_equivariant``."""


class Block(nn.Module, ABC):
    """What the network is built of; its values go two ways, into a convolution and past it."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, out, rows, columns) float for (n, in, height, width) float."""
        return self.forward_pair(features, features)[0]

    @abstractmethod
    def forward_pair(self, features: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same two times, for `features` two times (`BatchNorm.forward_pair`)."""


class ResidualBlock(Block):
    """Two convolutions, each batch-normalised, added to what came in (He et al., arXiv:1512.03385).

    It begins by doing nothing: the second norm's weights are 0.
    """

    def __init__(self, channels: int, layers: Layers) -> None:
        super().__init__()
        self.first = layers.convolution(channels, channels)
        self.first_norm = layers.batch_norm(channels)
        self.second = layers.convolution(channels, channels)
        self.second_norm = layers.batch_norm(channels)
        nn.init.zeros_(self.second_norm.weight)

    def forward_pair(self, features: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
        """See `Block.forward_pair`; of the shape of `features`."""
        inner = self.first_norm(self.first(features), relu=True)
        return self.second_norm.forward_pair(self.second(inner), shortcut, relu=True)


class DownsamplingBlock(Block):
    """A convolution pooled to half the side, rectified and normalised; a second one added to it.

    Pooling before anything is normalised or added is a quarter of that work, and no shortcut has to
    be brought to another size.
    """

    def __init__(self, in_channels: int, out_channels: int, layers: Layers) -> None:
        super().__init__()
        self.first = layers.conv_pool_relu(in_channels, out_channels, 3, padding=1)
        self.first_norm = layers.batch_norm(out_channels)
        self.second = layers.convolution(out_channels, out_channels)
        self.second_norm = layers.batch_norm(out_channels)
        nn.init.zeros_(self.second_norm.weight)

    def forward_pair(self, features: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        """See `Block.forward_pair`; nothing goes past the first convolution, which halves the sides."""
        halved, shortcut = self.first_norm.forward_pair(self.first(features))
        return self.second_norm.forward_pair(self.second(halved), shortcut, relu=True)


def _check_flip_equivariant(config: ResidualCNNConfig, image_size: int) -> None:
    """Refuse what no image and its mirror image could be alike for, or their channels halves."""
    if any(channels % 2 for channels in config.channels):
        raise ConfigError(
            f"model.channels = {config.channels}: flip_equivariant needs even numbers"
        )
    halvings = len(config.channels) - 1
    if image_size % 2**halvings:
        raise ConfigError(
            f"model.flip_equivariant = true: {halvings} halvings leave a column over of {image_size}×"
            f"{image_size} images; a side that is a multiple of {2**halvings} does not"
        )


class ResidualCNN(ConvolutionalNetwork):
    """A convolution, stages of blocks, the mean over the image, a linear layer.

    The first stage is at the image's own size; every later one begins with a `DownsamplingBlock`.
    With ``flip_equivariant`` it answers an image and its mirror image alike, and half of its
    channels have their weights from the other half (`fashioncnn.models.flip_equivariant`).

    With its defaults on 28×28 images: 16 channels at 28×28, where there is the first convolution
    alone, 64 at 14×14 and 96 at 7×7, two blocks each; 426,522 parameters.
    """

    def __init__(self, config: ResidualCNNConfig, image_size: int, classes: int) -> None:
        super().__init__()
        stages = len(config.channels)
        self.side = image_size >> (stages - 1)
        if self.side < 1:
            raise ConfigError(
                f"model: {stages} stages leave nothing of {image_size}×{image_size} images"
            )
        if len(config.blocks) != stages:
            raise ConfigError(
                f"model.blocks = {config.blocks}: {stages} stages need {stages} numbers"
            )
        if 0 in config.blocks[1:]:
            raise ConfigError(
                f"model.blocks = {config.blocks}: every stage but the first needs a block"
            )
        self.views = 2 if config.flip_equivariant else 1
        if self.views > 1:
            _check_flip_equivariant(config, image_size)
        layers, channels = LAYERS[config.flip_equivariant], config.channels[0]
        self.stem = layers.convolution(1, channels)
        self.stem_norm = layers.batch_norm(channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels, layers) for _ in range(config.blocks[0])
        )
        for out_channels, blocks in zip(config.channels[1:], config.blocks[1:], strict=True):
            self.blocks.append(DownsamplingBlock(channels, out_channels, layers))
            self.blocks.extend(ResidualBlock(out_channels, layers) for _ in range(blocks - 1))
            channels = out_channels
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(channels // self.views, classes)

    def features(self, images: Tensor) -> Tensor:
        """See `ConvolutionalNetwork.features`; of the last block, rectified."""
        features, shortcut = self.stem_norm.forward_pair(self.stem(images), relu=True)
        for block in self.blocks:
            features, shortcut = cast("Block", block).forward_pair(features, shortcut)
        return features

    def head(self, features: Tensor) -> Tensor:
        """See `ConvolutionalNetwork.head`."""
        # In this order the gradient of the mean lies in memory as the features do.
        n, _, rows, columns = features.shape
        by_view = features.permute(0, 2, 3, 1).reshape(n, rows, columns, self.views, -1)
        means = by_view.mean((1, 2, 3))
        logits: Tensor = self.output(self.dropout(means))
        return logits
