from dataclasses import replace

import numpy as np
import pytest

from fashioncnn.data.dataset import Dataset
from fashioncnn.errors import InterruptedRun
from fashioncnn.training.run import train_model


@pytest.fixture(scope="session")
def mini(small) -> Dataset:
    """Return sketches with 100 training images and 40 test images."""
    train, test = small.train.subset(np.arange(100)), small.test.subset(np.arange(40))
    return replace(small, train=train, test=test)


@pytest.fixture
def train(mini, tiny_settings):
    """Return a function that trains on `mini` with some settings."""

    def run(*assignments, dataset=mini, folder=None, **flags):
        settings = tiny_settings(*assignments, dataset=dataset, **flags)
        return train_model(settings, dataset, run=folder)

    return run


@pytest.fixture
def stop_after():
    """Return a function that creates a request to stop after a number of steps."""

    def make(steps):
        remaining = iter([None] * (steps - 1))
        return lambda: next(remaining, InterruptedRun("stopped"))

    return make
