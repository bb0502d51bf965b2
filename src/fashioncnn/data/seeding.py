"""What is drawn for feeding images: pure functions of seed, epoch and step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Streams keep draws for different purposes apart, whatever the seed.
INITIAL_WEIGHTS, ORDER, DROPOUT, AUGMENTATION, TEACHER = range(5)


def epoch_order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """Return the order of `n` images in an epoch, (n,) int64, the same at every call."""
    return np.random.default_rng([ORDER, seed, epoch]).permutation(n)


def augmentation_generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """Return what an epoch's table of augmentations draws a column from."""
    return np.random.default_rng([AUGMENTATION, seed, epoch, stream])


def weights_seed(seed: int) -> int:
    """Return the seed of the initial weights, 32 bits."""
    return _mix(INITIAL_WEIGHTS, seed)


def dropout_seed(seed: int, step: int) -> int:
    """Return the seed of the random numbers drawn in a step, 32 bits."""
    return _mix(DROPOUT, seed, step)


def teacher_seed(seed: int, number: int) -> int:
    """Return the seed of a run's teacher of that number, 32 bits."""
    return _mix(TEACHER, seed, number)


def _mix(*words: int) -> int:
    return int(np.random.SeedSequence(words).generate_state(1)[0])
