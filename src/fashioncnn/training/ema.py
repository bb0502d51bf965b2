"""Exponential moving average (EMA) of the weights of a network."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class EMA:
    """Keeps a copy of a network whose weights and buffers follow as a moving average.

    The first update copies. Afterwards the decay rises with the number of updates n as
    min(decay, (1 + n) / (10 + n)), so that the initial weights are forgotten soon (TensorFlow's
    ExponentialMovingAverage).

    Attributes:
        network: the copy.
        decay: in (0, 1).
        updates: so far.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the present weights of `network`."""
        averages, values = _tensors(self.network), _tensors(network)
        floats = [i for i, tensor in enumerate(averages) if tensor.is_floating_point()]
        others = [i for i in range(len(averages)) if i not in set(floats)]
        if self.updates == 0:
            floats, others = [], list(range(len(averages)))
        if others:
            torch._foreach_copy_([averages[i] for i in others], [values[i] for i in others])
        if floats:
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
            torch._foreach_lerp_(
                [averages[i] for i in floats], [values[i] for i in floats], 1 - decay
            )
        self.updates += 1


def _tensors(network: nn.Module) -> list[Tensor]:
    return [t.detach() for t in (*network.parameters(), *network.buffers())]
