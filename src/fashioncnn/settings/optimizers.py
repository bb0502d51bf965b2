"""Settings of optimizers and learning rate schedules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fashioncnn.settings.section import Section


class AdamConfig(Section):
    """Adam (arXiv:1412.6980), or AdamW with decoupled weight decay (arXiv:1711.05101)."""

    name: Literal["adam", "adamw"]
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    backbone_lr_factor: float = Field(1.0, ge=0, le=1000)
    """The learning rate of every layer but the last is multiplied by this."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay: an L2 penalty for ``adam``, decoupled for ``adamw``."""
    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
        Field(strict=False),
    ] = (0.9, 0.999)
    """Decay rates of the running averages of the gradient and its square."""


class SGDConfig(Section):
    """Stochastic gradient descent, with Nesterov momentum unless momentum is 0."""

    name: Literal["sgd"]
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    backbone_lr_factor: float = Field(1.0, ge=0, le=1000)
    """The learning rate of every layer but the last is multiplied by this."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Nesterov momentum."""


class MuonConfig(Section):
    """Muon for the weights of convolutions with several input channels, AdamW for all others."""

    name: Literal["muon"]
    learning_rate: float = Field(gt=0)
    """Peak learning rate of Muon; the spectral norm of an update is this times
    sqrt(max(1, rows / columns))."""
    adam_learning_rate: float = Field(gt=0)
    """Peak learning rate of AdamW; follows the same schedule."""
    backbone_lr_factor: float = Field(1.0, ge=0, le=1000)
    """The learning rate of every layer but the last is multiplied by this."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Nesterov momentum of Muon."""


OptimizerConfig = Annotated[AdamConfig | SGDConfig | MuonConfig, Field(discriminator="name")]


class ConstantSchedule(Section):
    """A constant learning rate."""

    name: Literal["constant"] = "constant"


class DecaySchedule(Section):
    """Linear warmup, then linear or cosine decay to 0 after the last step."""

    name: Literal["linear", "cosine"]
    warmup: float = Field(0.0, ge=0, lt=1)
    """Fraction of all steps over which the learning rate rises from 0."""
