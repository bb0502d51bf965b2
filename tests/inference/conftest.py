from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.inference.predictor import Predictor
from fashioncnn.settings import FashionCNNConfig

SIZE, CLASSES = 8, 3


class LinearBackend:
    """A NumPy network: logits are a linear function of the pixels, activation maps the pixels."""

    def __init__(self):
        generator = np.random.default_rng(0)
        self.weights = generator.normal(0, 1e-3, (SIZE * SIZE, CLASSES)).astype(np.float32)
        self.batches = []

    def logits(self, images):
        self.batches.append(len(images))
        return images.reshape(len(images), -1).astype(np.float32) @ self.weights

    def activation_maps(self, images, labels):
        return (images[:, ::2, ::2] * labels[:, None, None]).astype(np.float32)


@pytest.fixture
def backend():
    return LinearBackend()


@pytest.fixture
def make_predictor(backend):
    """Return a function that creates a predictor of 8×8 images with some values of its spec."""

    def make(views="fashion", **spec):
        values = {
            "architecture": FashionCNNConfig(),
            "labels": ("a", "b", "c"),
            "preprocessing": Preprocessing(SIZE, 0.0, 1.0, views),
            "dataset": "own",
            **spec,
        }
        return Predictor(backend, ModelSpec(**values))

    return make


@pytest.fixture(scope="session")
def images():
    """Return 20 random images, (20, 8, 8) uint8."""
    return np.random.default_rng(1).integers(0, 256, (20, SIZE, SIZE), np.uint8)


@pytest.fixture(scope="session")
def png():
    """Return a function that returns the content of a PNG file."""

    def encode(image):
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        return buffer.getvalue()

    return encode
