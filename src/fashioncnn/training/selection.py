"""Selection of the CPU kernels by measurement, before a training starts."""

from __future__ import annotations

import statistics
import time
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fashioncnn.devices import autocast, isolated_torch_state
from fashioncnn.models import build_model, compiled_kernels, place_network, set_kernels
from fashioncnn.settings import KernelsName, ModelConfig

IMAGES, ROUNDS = 32, 5
"""Images of a measured batch at most, and measurements of each candidate after one that does not
count."""
MARGIN = 1.05
"""How many times as fast as native ones mixed kernels must be to be selected."""


@lru_cache
def fastest_kernels(
    model: ModelConfig, classes: int, in_channels: int, image_size: int, batch_size: int
) -> KernelsName:
    """Return the faster CPU kernels for training a network in bf16: ``native`` or ``mixed``.

    Both compute the gradients of one batch in turns, with the present number of threads; the median
    of the ratios decides. Measured once per process and network. The state of torch's random number
    generators is left unchanged.

    Args:
        model: the network, not a custom one.
        classes: number of logits.
        in_channels: of the input images.
        image_size: side of the input images, in pixels.
        batch_size: of the training; the measured batch has at most `IMAGES`.

    Raises:
        KernelError: there are no compiled kernels.
    """
    with isolated_torch_state():
        torch.manual_seed(0)
        network = build_model(model, image_size, classes, in_channels)
        place_network(network, torch.device("cpu"))
        images = torch.rand(min(batch_size, IMAGES), in_channels, image_size, image_size)
        set_kernels(network, "native")
        kernels = compiled_kernels(network)
        if kernels is None or not kernels.bf16_convolutions:
            return "native"  # which are the same as mixed ones
        ratios = [
            _seconds(network, "native", images) / _seconds(network, "mixed", images)
            for _ in range(1 + ROUNDS)
        ]
    return "mixed" if statistics.median(ratios[1:]) > MARGIN else "native"


def _seconds(network: nn.Module, kernels: str, images: Tensor) -> float:
    """Return how long a forward and backward pass in bf16 takes."""
    set_kernels(network, kernels)
    labels = torch.zeros(len(images), dtype=torch.int64)
    started = time.perf_counter()
    with autocast(images.device, "bf16"):
        logits = network(images)
    F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - started
