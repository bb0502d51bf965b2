"""Settings of the networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fashioncnn.settings.section import Section


class FashionCNNConfig(Section):
    """FashionCNN as published: two convolutional and two linear layers."""

    name: Literal["fashion_cnn"] = "fashion_cnn"
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...],
        Field(strict=False, min_length=1, max_length=16),
    ] = (32, 64)
    """Output channels of each convolution; each is followed by ReLU and 2×2 max pooling."""
    kernel_size: int = Field(3, ge=1, le=11)
    """Kernel size of the convolutions, in pixels."""
    padding: int = Field(1, ge=0, le=5)
    """Zero padding of the convolutions, in pixels per side."""
    hidden: int = Field(256, ge=1, le=65536)
    """Units of the first linear layer."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout probability between the two linear layers."""


class BatchNormCNNConfig(Section):
    """Blocks of convolution, max pooling, ReLU and batch norm, then one linear layer."""

    name: Literal["batchnorm_cnn"]
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...],
        Field(strict=False, min_length=1, max_length=16),
    ] = (32, 64, 128)
    """Output channels of each 3×3 convolution."""
    whitening: bool = False
    """Initialize the first convolution so that it whitens 3×3 patches of the training images."""


class ResidualCNNConfig(Section):
    """Stages of residual blocks; each stage has half the resolution of the previous one."""

    name: Literal["residual_cnn"]
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...],
        Field(strict=False, min_length=1, max_length=16),
    ] = (16, 64, 96)
    """Channels of each stage; the first stage has the resolution of the image."""
    blocks: Annotated[
        tuple[Annotated[int, Field(ge=0, le=100)], ...], Field(strict=False, max_length=16)
    ] = (0, 2, 2)
    """Blocks of each stage, of two 3×3 convolutions each; the first stage may have none."""
    flip_equivariant: bool = False
    """Share weights between filters and their horizontal flips: an image and its horizontal flip
    get the same logits, with half the parameters (arXiv:1602.07576)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout probability before the linear layer."""


NetworkKind = Literal["class", "function", "instance"]


class CustomConfig(Section):
    """A network of your own, given with ``--network`` or ``Classifier(network=…)``.

    These values are recorded; code is never imported because they are in a file.
    """

    name: Literal["custom"]
    network: str = Field(min_length=3, max_length=420, pattern=r"^[\w.]+:[\w.<>]+(\([ -~]*)?$")
    """Where its code is: ``package.module:Class``."""
    kind: NetworkKind = "class"
    """What was given: a class or function, which was called, or a module, which was copied."""
    source_sha256: str = Field("", pattern="^([0-9a-f]{64})?$")
    """SHA-256 of the file with its code; empty if it is in no file, as in a notebook."""


ModelConfig = Annotated[
    FashionCNNConfig | BatchNormCNNConfig | ResidualCNNConfig | CustomConfig,
    Field(discriminator="name"),
]
