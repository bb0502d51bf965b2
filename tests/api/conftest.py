"""Fixtures: a classifier that was fitted on names."""

import numpy as np
import pytest

from fashioncnn import Classifier
from fashioncnn.data.dataset import FASHION_MNIST_CLASSES


@pytest.fixture(scope="session")
def images(sketches):
    """Return 100 images of the ten classes, (100, 28, 28) uint8."""
    return sketches.train.images[:100]


@pytest.fixture(scope="session")
def names(sketches):
    """Return the names of their classes."""
    return np.array([FASHION_MNIST_CLASSES[label] for label in sketches.train.labels[:100]])


@pytest.fixture(scope="session")
def fitted(images, names, quick_parameters):
    """Return a classifier that was fitted on names; tests must not change it."""
    return Classifier(**quick_parameters).fit(images, names)
