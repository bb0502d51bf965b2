"""Class activation maps against the equations of Grad-CAM, and on images with a known location."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.models import MODELS, build_model, measure_multiply_adds
from fashioncnn.models.backend import TorchBackend, normalize, to_tensor
from fashioncnn.models.grad_cam import grad_cam
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.settings import BatchNormCNNConfig, FashionCNNConfig, ResidualCNNConfig

CONFIGS = {
    "fashion_cnn": FashionCNNConfig(channels=(4, 8), hidden=16),
    "batchnorm_cnn": BatchNormCNNConfig(name="batchnorm_cnn", channels=(4, 8), whitening=False),
    "residual_cnn": ResidualCNNConfig(name="residual_cnn", channels=(4, 8), blocks=(0, 2)),
}
POSITIONS = ((0, 0), (0, 14), (14, 0), (7, 7))
"""Top left corners of a square of half the side."""


def make_model(name, seed=0):
    torch.manual_seed(seed)
    network = build_model(CONFIGS[name], 28, 3).eval()
    spec = ModelSpec(
        architecture=CONFIGS[name],
        labels=("a", "b", "c"),
        preprocessing=Preprocessing(28, 0.0, 1.0, "fashion"),
        dataset="own",
    )
    return TrainedModel(network, spec)


def inputs_of(model, images):
    return normalize(to_tensor(images, torch.device("cpu")), model.spec.preprocessing)


def stripes(label):
    """Return (14, 14) uint8 stripes of 2 pixels: vertical for label 0, horizontal for 1."""
    wave = np.tile(np.array([255, 255, 0, 0], np.uint8), 4)[:14]
    vertical = np.tile(wave, (14, 1))
    return vertical if label == 0 else vertical.T


def striped_images(n, seed):
    """Return images with stripes at a random position and random dots, and their labels."""
    generator = np.random.default_rng(seed)
    images = np.zeros((n, 28, 28), np.uint8)
    labels = generator.integers(0, 2, n)
    for image, label in zip(images, labels, strict=True):
        image[generator.integers(0, 28, 12), generator.integers(0, 28, 12)] = 200
        row, column = generator.integers(0, 15, 2)
        image[row : row + 14, column : column + 14] = stripes(label)
    return images, labels


def train_on_stripes(name):
    model = make_model(name)
    images, labels = striped_images(256, 0)
    inputs, targets = inputs_of(model, images), torch.tensor(labels)
    optimizer = torch.optim.Adam(model.network.parameters(), lr=0.01)
    model.network.train()
    for _ in range(5):
        for rows in torch.arange(256).split(32):
            loss = torch.nn.functional.cross_entropy(model.network(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.network.eval()
    return model


@pytest.mark.parametrize("name", MODELS)
def test_map_is_highest_at_the_stripes_that_determine_the_class(name):
    model = train_on_stripes(name)
    labels = np.arange(40) % 2
    images = np.zeros((40, 28, 28), np.uint8)
    positions = [POSITIONS[i // 2 % 4] for i in range(40)]
    for image, label, (row, column) in zip(images, labels, positions, strict=True):
        image[row : row + 14, column : column + 14] = stripes(label)
    backend = TorchBackend(model)
    np.testing.assert_array_equal(backend.logits(images).argmax(1), labels)
    inside = []
    for heat, (row, column) in zip(backend.activation_maps(images, labels), positions, strict=True):
        highest = np.unravel_index(heat.argmax(), heat.shape)
        center = (np.array(highest) + 0.5) * 28 / np.array(heat.shape)
        inside.append((np.abs(center - (row + 7, column + 7)) <= 9).all())
    assert np.mean(inside) >= 0.9


@pytest.mark.parametrize("name", MODELS)
def test_channels_are_weighted_by_their_mean_gradient(name):
    """Gradients by finite differences in float64."""
    model = make_model(name)
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28)).astype(np.uint8)
    labels = np.array([2, 0])
    maps = TorchBackend(model).activation_maps(images, labels)
    network, expected = model.network.double(), []
    with torch.no_grad():
        features = network.features(inputs_of(model, images).double())
        for of_image, label in zip(features, labels, strict=True):
            weights = []
            for channel in range(len(of_image)):
                pair = of_image[None].repeat(2, 1, 1, 1)
                pair[0, channel] += 1e-6
                pair[1, channel] -= 1e-6
                above, below = network.head(pair)[:, label]
                weights.append(float(above - below) / 2e-6 / of_image[0].numel())
            combined = (torch.tensor(weights)[:, None, None] * of_image).sum(0)
            expected.append(combined.clamp(min=0).numpy())
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_network_is_its_features_and_its_head(name):
    network = make_model(name).network
    inputs = torch.rand(3, 1, 28, 28)
    features = network.features(inputs)
    assert features.shape[1] == 8
    torch.testing.assert_close(network.head(features), network(inputs))


def test_network_is_not_changed():
    model = make_model("residual_cnn")
    before = {name: t.clone() for name, t in model.network.state_dict().items()}
    TorchBackend(model).activation_maps(np.zeros((1, 28, 28), np.uint8), np.array([1]))
    assert all(torch.equal(t, before[name]) for name, t in model.network.state_dict().items())
    assert all(p.grad is None for p in model.network.parameters())
    assert not model.network.training


class TwoConvolutions(nn.Sequential):
    """A network that is not a `ConvolutionalNetwork`, so that Grad-CAM needs hooks."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 3)
        )


def test_other_threads_may_predict_with_the_network_meanwhile():
    """Between the last convolution and the logits, where their features would replace ours."""
    torch.manual_seed(0)
    network, inputs = TwoConvolutions().eval(), torch.rand(2, 1, 8, 8)
    labels = np.array([0, 2])
    expected = grad_cam(network, inputs, labels)
    predicted = []

    def predict():
        with torch.inference_mode():
            predicted.append(network(inputs[:1]))

    def interrupt(_layer, _inputs):
        if not predicted and threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=predict)
            thread.start()
            thread.join()

    with network[3].register_forward_pre_hook(interrupt):
        actual = grad_cam(network, inputs, labels)
    assert len(predicted) == 1
    np.testing.assert_array_equal(actual, expected)


def test_multiply_adds_of_other_threads_are_not_counted():
    network, inputs = TwoConvolutions(), torch.rand(1, 1, 8, 8)
    expected = 36 * 9 * 4 + 16 * 9 * 4 * 4 + 64 * 3
    assert measure_multiply_adds(network, 8) == expected

    def interrupt(_layer, _inputs):
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=network, args=(inputs,))
            thread.start()
            thread.join()

    with network[3].register_forward_pre_hook(interrupt):
        assert measure_multiply_adds(network, 8) == expected


def test_hooks_are_removed_after_a_failure():
    network = TwoConvolutions()
    with pytest.raises(RuntimeError):
        measure_multiply_adds(network, 9)
    assert not any(layer._forward_hooks for layer in network.modules())
