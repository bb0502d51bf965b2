from dataclasses import replace

import numpy as np
import pytest

from fashioncnn.data.dataset import Dataset
from fashioncnn.errors import InterruptedRun


@pytest.fixture(scope="session")
def mini(small) -> Dataset:
    """Return sketches with 100 training images and 40 test images."""
    train, test = small.train.subset(np.arange(100)), small.test.subset(np.arange(40))
    return replace(small, train=train, test=test)


@pytest.fixture
def stop_after():
    """Return a function that creates a request to stop after a number of steps."""

    def make(steps):
        remaining = iter([None] * (steps - 1))
        return lambda: next(remaining, InterruptedRun("stopped"))

    return make
