"""Optimisers, and learning rates as pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from fashioncnn.config import AdamConfig, ConstantSchedule, DecaySchedule, SGDConfig


def build_optimizer(
    config: AdamConfig | SGDConfig, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the optimiser that `config` describes, in its fused form."""
    if isinstance(config, SGDConfig):
        return torch.optim.SGD(
            parameters,
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
            fused=True,
        )
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(
        parameters,
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )


def learning_rate_at(
    schedule: ConstantSchedule | DecaySchedule, peak: float, step: int, steps: int
) -> float:
    """Return the learning rate of a step.

    Args:
        schedule: the shape.
        peak: the optimiser's learning rate, the highest there is.
        step: 0 to `steps` - 1.
        steps: of the whole training.
    """
    if isinstance(schedule, ConstantSchedule):
        return peak
    warmup = schedule.warmup * steps
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    progress = (step - warmup) / (steps - warmup)
    if schedule.name == "linear":
        return peak * (1 - progress)
    return peak * (1 + math.cos(math.pi * progress)) / 2
