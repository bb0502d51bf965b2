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

    The tensors of the network must stay the same objects, as they do in training.

    Attributes:
        network: the copy.
        decay: in (0, 1).
        updates: so far.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self.decay = decay
        self.updates = 0
        # Traversing the modules would take longer than a step of a small network on a GPU.
        pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))
        self._floats = _Pairs([pair for pair in pairs if pair[0].is_floating_point()])
        self._counters = _Pairs([pair for pair in pairs if not pair[0].is_floating_point()])

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights of the network."""
        if self.updates == 0:
            self._floats.copy()
        else:
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
            self._floats.interpolate(1 - decay)
        self._counters.copy()
        self.updates += 1


class _Pairs:
    """Tensors of the average and of the network."""

    def __init__(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        self.averages = [average for average, _ in pairs]
        self.values = [value for _, value in pairs]

    def copy(self) -> None:
        if self.averages:
            torch._foreach_copy_(self.averages, self.values)

    def interpolate(self, weight: float) -> None:
        if self.averages:
            torch._foreach_lerp_(self.averages, self.values, weight)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [t.detach() for t in (*network.parameters(), *network.buffers())]
