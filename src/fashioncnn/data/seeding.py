"""Data order and random seeds as pure functions of seed, epoch and step."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# One stream per purpose: seeds of different purposes never coincide.
INITIAL_WEIGHTS, ORDER, DROPOUT, AUGMENTATION, TEACHER, LABEL_NOISE, VIEW = range(7)


def epoch_order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """Return the order of `n` images in an epoch, a permutation (n,) int64."""
    return np.random.default_rng([ORDER, seed, epoch]).permutation(n)


@lru_cache(maxsize=2)
def view_draws(seed: int, epoch: int, n: int) -> NDArray[np.float64]:
    """Return what selects the view of each of `n` images in an epoch, (n,) uniform in [0, 1)."""
    return np.random.default_rng([VIEW, seed, epoch]).random(n)


def augmentation_generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """Return the generator for one column of an epoch's augmentation parameters."""
    return np.random.default_rng([AUGMENTATION, seed, epoch, stream])


def weights_seed(seed: int) -> int:
    """Return the seed of the initial weights, 32 bits."""
    return _mix(INITIAL_WEIGHTS, seed)


def dropout_seed(seed: int, step: int, rank: int = 0) -> int:
    """Return the seed of the random numbers in a training step, such as dropout, 32 bits.

    Of several processes that train one network, each has its own; `rank` 0 that of a single one.
    """
    return _mix(DROPOUT, seed, step, *([rank] if rank else []))


def teacher_seed(seed: int, number: int) -> int:
    """Return the seed of the teacher with that number in a run with distillation, 32 bits."""
    return _mix(TEACHER, seed, number)


def label_noise_values(
    seed: int, indices: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two uniform random numbers in [0, 1) for each image, (n,) float64.

    Args:
        seed: of the noise.
        indices: (n,) of the images; the numbers of an image depend on its index only.
    """
    n = int(indices.max(initial=-1)) + 1
    first, second = (np.random.default_rng([LABEL_NOISE, seed, k]).random(n) for k in range(2))
    return first[indices], second[indices]


def _mix(*words: int) -> int:
    return int(np.random.SeedSequence(words).generate_state(1)[0])
