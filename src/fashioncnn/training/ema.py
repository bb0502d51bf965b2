"""The mean of the weights along the way, which is often better than the last of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def create_ema(network: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of a network's weights and buffers.

    A step keeps `decay` of the mean so far; in the beginning less, (1 + n) / (10 + n) after n
    steps, so that the first weights are soon forgotten (TensorFlow's ExponentialMovingAverage).

    Args:
        network: copied.
        decay: in (0, 1).
    """

    def blend(mean: list[Tensor], now: list[Tensor], _: Tensor) -> None:
        if not mean[0].is_floating_point():  # counts of batches
            torch._foreach_copy_(mean, now)
            return
        n = int(averaged.n_averaged)  # on the host, where no device is waited for
        torch._foreach_lerp_(mean, now, 1 - min(decay, (1 + n) / (10 + n)))

    averaged = AveragedModel(network, multi_avg_fn=blend, use_buffers=True)  # type: ignore[arg-type]
    return averaged
