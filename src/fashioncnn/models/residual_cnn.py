"""ResidualCNN: a deeper network with residual blocks, optionally flip-equivariant."""

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
class LayerTypes:
    """The layer classes that blocks are built from."""

    convolution: type[Convolution]
    conv_pool_relu: type[ConvPoolReLU]
    batch_norm: type[BatchNorm]


PLAIN = LayerTypes(Convolution, ConvPoolReLU, BatchNorm)
FLIP_EQUIVARIANT = LayerTypes(
    FlipEquivariantConvolution, FlipEquivariantConvPoolReLU, FlipEquivariantBatchNorm
)


class Block(nn.Module, ABC):
    """A residual block: its output feeds the next block's convolution and its shortcut."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, out, rows, columns) float for (n, in, height, width) float."""
        return self.forward_pair(features, features)[0]

    @abstractmethod
    def forward_pair(self, features: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output twice, for the two branches of the next block.

        Args:
            features: (n, in, height, width) float, input of the convolutions.
            shortcut: the same values, input of the shortcut; see `BatchNorm.forward_pair`.
        """


class ResidualBlock(Block):
    """Two batch-normalized convolutions added to their input (He et al., arXiv:1512.03385).

    The weight of the second normalization starts at 0, so that a new block returns its input.
    """

    def __init__(self, channels: int, layers: LayerTypes) -> None:
        super().__init__()
        self.first = layers.convolution(channels, channels)
        self.first_norm = layers.batch_norm(channels)
        self.second = layers.convolution(channels, channels)
        self.second_norm = layers.batch_norm(channels)
        nn.init.zeros_(self.second_norm.weight)

    def forward_pair(self, features: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
        """See `Block.forward_pair`; the output has the shape of `features`."""
        inner = self.first_norm(self.first(features), relu=True)
        return self.second_norm.forward_pair(self.second(inner), shortcut, relu=True)


class DownsamplingBlock(Block):
    """A pooled convolution that halves the sides, and a second convolution added to its output.

    Pooling before normalization and addition leaves a quarter of that work, and the shortcut needs
    no projection to another size.
    """

    def __init__(self, in_channels: int, out_channels: int, layers: LayerTypes) -> None:
        super().__init__()
        self.first = layers.conv_pool_relu(in_channels, out_channels, 3, padding=1)
        self.first_norm = layers.batch_norm(out_channels)
        self.second = layers.convolution(out_channels, out_channels)
        self.second_norm = layers.batch_norm(out_channels)
        nn.init.zeros_(self.second_norm.weight)

    def forward_pair(self, features: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        """See `Block.forward_pair`; the shortcut starts after the first convolution."""
        halved, shortcut = self.first_norm.forward_pair(self.first(features))
        return self.second_norm.forward_pair(self.second(halved), shortcut, relu=True)


class ResidualCNN(ConvolutionalNetwork):
    """A convolution, stages of residual blocks, global average pooling, a linear layer.

    The first stage works at the image's size; each later one starts with a `DownsamplingBlock`.
    With ``flip_equivariant``, an image and its horizontal flip have the same logits, and half of
    the channels share the weights of the other half (`fashioncnn.models.flip_equivariant`).

    With its defaults on 28×28 images: 16 channels at 28×28 (the first convolution only), 64 at
    14×14 and 96 at 7×7 with two blocks each; 426,522 parameters.

    Attributes:
        side: of the last feature maps, in pixels.
    """

    def __init__(
        self, config: ResidualCNNConfig, image_size: int, classes: int, in_channels: int = 1
    ) -> None:
        super().__init__()
        _check_stages(config, image_size)
        if config.flip_equivariant:
            _check_flip_equivariant(config, image_size)
        self.side = image_size >> (len(config.channels) - 1)
        self.halves = 2 if config.flip_equivariant else 1
        layers = FLIP_EQUIVARIANT if config.flip_equivariant else PLAIN
        channels = config.channels[0]
        self.stem = layers.convolution(in_channels, channels)
        self.stem_norm = layers.batch_norm(channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels, layers) for _ in range(config.blocks[0])
        )
        for out_channels, blocks in zip(config.channels[1:], config.blocks[1:], strict=True):
            self.blocks.append(DownsamplingBlock(channels, out_channels, layers))
            self.blocks.extend(ResidualBlock(out_channels, layers) for _ in range(blocks - 1))
            channels = out_channels
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(channels // self.halves, classes)

    def features(self, images: Tensor) -> Tensor:
        """See `ConvolutionalNetwork.features`; of the last block, after ReLU."""
        features, shortcut = self.stem_norm.forward_pair(self.stem(images), relu=True)
        for block in self.blocks:
            features, shortcut = cast("Block", block).forward_pair(features, shortcut)
        return features

    def head(self, features: Tensor) -> Tensor:
        """See `ConvolutionalNetwork.head`."""
        # NHWC order gives the gradient of the mean the memory layout of the features.
        n, _, rows, columns = features.shape
        by_half = features.permute(0, 2, 3, 1).reshape(n, rows, columns, self.halves, -1)
        means = by_half.mean((1, 2, 3))
        logits: Tensor = self.output(self.dropout(means))
        return logits

    def activation_weight(self) -> Tensor:
        """See `ConvolutionalNetwork.activation_weight`; the halves share their weights."""
        return self.output.weight.repeat(1, self.halves) / self.halves


def _check_stages(config: ResidualCNNConfig, image_size: int) -> None:
    stages = len(config.channels)
    if image_size >> (stages - 1) < 1:
        raise ConfigError(
            f"model.channels = {config.channels}: {image_size}×{image_size} images are too small "
            f"for {stages} stages; use larger images or fewer stages"
        )
    if len(config.blocks) != stages:
        raise ConfigError(
            f"model.blocks = {config.blocks}: should be {stages} numbers, one for each of "
            "model.channels"
        )
    if 0 in config.blocks[1:]:
        raise ConfigError(
            f"model.blocks = {config.blocks}: every stage but the first needs at least one block"
        )


def _check_flip_equivariant(config: ResidualCNNConfig, image_size: int) -> None:
    if any(channels % 2 for channels in config.channels):
        raise ConfigError(
            f"model.channels = {config.channels}: model.flip_equivariant needs even numbers"
        )
    multiple = 2 ** (len(config.channels) - 1)
    if image_size % multiple:
        raise ConfigError(
            f"model.flip_equivariant = true: {len(config.channels)} stages need images whose side "
            f"is a multiple of {multiple}, not {image_size}"
        )
