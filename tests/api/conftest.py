"""Fixtures: parameters of a quick training, and a classifier that was fitted on names."""

import numpy as np
import pytest

from fashioncnn import Classifier
from fashioncnn.data.dataset import FASHION_MNIST_CLASSES

QUICK = {
    "model__channels": [4, 8],
    "model__hidden": 16,
    "epochs": 1,
    "batch_size": 32,
    "device": "cpu",
    "kernels": "torch",
}


@pytest.fixture
def quick():
    """Return parameters of a training that takes a fraction of a second on 100 images."""
    return dict(QUICK)


@pytest.fixture(scope="session")
def images(sketches):
    """Return 100 images of the ten classes, (100, 28, 28) uint8."""
    return sketches.train.images[:100]


@pytest.fixture(scope="session")
def names(sketches):
    """Return the names of their classes."""
    return np.array([FASHION_MNIST_CLASSES[label] for label in sketches.train.labels[:100]])


@pytest.fixture(scope="session")
def fitted(images, names):
    """Return a classifier that was fitted on names; tests must not change it."""
    return Classifier(**QUICK).fit(images, names)
