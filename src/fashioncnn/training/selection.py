"""Selection of precision and CPU kernels by measurement, before a training starts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn

from fashioncnn.devices import autocast, isolated_torch_state
from fashioncnn.models import build_model, place_network, set_kernels
from fashioncnn.settings import KernelsName, ModelConfig

IMAGES, ROUNDS = 32, 5
"""Images of a measured batch at most, and measurements of each candidate after one that does not
count."""
MARGIN = 1.05
"""How many times as fast as the first candidate another one must be to be selected."""

Candidate = tuple[str, KernelsName]
"""Precision, ``fp32`` or ``bf16``, and kernels."""


@lru_cache
def fastest_candidate(
    candidates: tuple[Candidate, ...],
    model: ModelConfig,
    classes: int,
    in_channels: int,
    image_size: int,
    batch_size: int,
    threads: int,  # noqa: ARG001 - another number is measured again
) -> Candidate:
    """Return the candidate that computes a network's gradients on the CPU in the shortest time.

    Measured once per process, network and number of threads; see `measure_candidates`.

    Args:
        candidates: at least one; the first one is returned unless another is faster by `MARGIN`.
        model: the network, not a custom one.
        classes: number of logits.
        in_channels: of the input images.
        image_size: side of the input images, in pixels.
        batch_size: of the training; the measured batch has at most `IMAGES`.
        threads: the present number.

    Raises:
        KernelError: compiled kernels cannot be used on this machine.
    """

    def build() -> nn.Module:
        return build_model(model, image_size, classes, in_channels)

    return measure_candidates(candidates, build, (in_channels, image_size, image_size), batch_size)


def measure_candidates(
    candidates: tuple[Candidate, ...],
    build: Callable[[], nn.Module],
    shape: tuple[int, int, int],
    batch_size: int,
) -> Candidate:
    """Return the candidate that computes a network's gradients on the CPU in the shortest time.

    All compute those of one batch in turns, with the present number of threads; the medians of the
    ratios to the first candidate decide. It takes about as long as two training steps of each.
    Random number generators are left unchanged.

    Args:
        candidates: see `fastest_candidate`.
        build: returns a new network.
        shape: of an image, (channels, rows, columns).
        batch_size: of the training; the measured batch has at most `IMAGES`.

    Raises:
        KernelError: compiled kernels cannot be used on this machine.
    """
    if len(candidates) == 1:
        return candidates[0]
    with isolated_torch_state():
        torch.manual_seed(0)
        network = build()
        place_network(network, torch.device("cpu"))
        n = max(2, min(batch_size, IMAGES))  # batch norm needs more than one value per channel
        images = torch.rand(n, *shape)
        rounds = [
            [_seconds(network, candidate, images) for candidate in candidates]
            for _ in range(1 + ROUNDS)
        ]
    ratios = [statistics.median(s[0] / s[i] for s in rounds[1:]) for i in range(len(candidates))]
    best = max(ratios)
    return candidates[ratios.index(best)] if best > MARGIN else candidates[0]


def _seconds(network: nn.Module, candidate: Candidate, images: torch.Tensor) -> float:
    """Return how long a forward and a backward pass take."""
    precision, kernels = candidate
    set_kernels(network, kernels)
    labels = torch.zeros(len(images), dtype=torch.int64)
    started = time.perf_counter()
    with autocast(images.device, precision):
        logits = network(images)
    F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - started
