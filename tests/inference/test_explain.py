import numpy as np
import pytest
import torch

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.inference.explain import GAP, SIDE, explain, grad_cam, side_by_side
from fashioncnn.models import MODELS, build_model
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.settings import BatchNormCNNConfig, FashionCNNConfig, ResidualCNNConfig

CONFIGS = {
    "fashion_cnn": FashionCNNConfig(channels=(4, 8), hidden=16),
    "batchnorm_cnn": BatchNormCNNConfig(name="batchnorm_cnn", channels=(4, 8), whitening=False),
    "residual_cnn": ResidualCNNConfig(name="residual_cnn", channels=(4, 8), blocks=(0, 2)),
}
PLACES = {"top left": (0, 0), "top right": (0, 14), "bottom left": (14, 0), "middle": (7, 7)}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def model_of(name, seed=0):
    torch.manual_seed(seed)
    network = build_model(CONFIGS[name], 28, 3).eval()
    preprocessing = Preprocessing(28, 0.0, 1.0, "fashion")
    return TrainedModel(network, CONFIGS[name], ("a", "b", "c"), preprocessing, "own")


def stripes(direction):
    """Return a patch, (14, 14) uint8, of stripes of 2 pixels that a 3×3 filter can tell."""
    wave = np.tile(np.array([255, 255, 0, 0], np.uint8), 4)[:14]
    return np.tile(wave, (14, 1)) if direction == "upright" else np.tile(wave, (14, 1)).T


def striped_images(n, seed):
    """Return images, (n, 28, 28) uint8, and labels.

    Stripes stand anywhere, dots elsewhere on every image; which way the stripes go is the label.
    """
    rng = np.random.default_rng(seed)
    images = np.zeros((n, 28, 28), np.uint8)
    labels = rng.integers(0, 2, n)
    for image, label in zip(images, labels, strict=True):
        image[rng.integers(0, 28, 12), rng.integers(0, 28, 12)] = 200
        row, column = rng.integers(0, 15, 2)
        kind = "upright" if label == 0 else "level"
        image[row : row + 14, column : column + 14] = stripes(kind)
    return images, labels


def taught(name):
    """Return a network that has learnt which way stripes go."""
    model = model_of(name)
    images, labels = striped_images(256, 0)
    inputs, targets = model.preprocessing(torch.from_numpy(images)[:, None]), torch.tensor(labels)
    optimizer = torch.optim.Adam(model.network.parameters(), lr=0.01)
    model.network.train()
    for _ in range(5):
        for part in torch.arange(256).split(32):
            loss = torch.nn.functional.cross_entropy(model.network(inputs[part]), targets[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.network.eval()
    return model


@pytest.mark.parametrize("name", MODELS)
def test_the_map_is_highest_where_what_decides_is(name):
    model = taught(name)
    images, labels = striped_images(40, 1)
    images[:] = 0
    inside = []
    for image, label, (row, column) in zip(images, labels, list(PLACES.values()) * 10, strict=True):
        kind = "upright" if label == 0 else "level"
        image[row : row + 14, column : column + 14] = stripes(kind)
    with torch.no_grad():
        logits = model.network(model.preprocessing(torch.from_numpy(images)[:, None]))
    np.testing.assert_array_equal(logits.argmax(1).numpy(), labels)  # else nothing is told here
    maps = grad_cam(model, images, labels)
    for heat, (row, column) in zip(maps, list(PLACES.values()) * 10, strict=True):
        highest = np.unravel_index(heat.argmax(), heat.shape)
        at = (np.array(highest) + 0.5) * 28 / np.array(heat.shape)
        inside.append((np.abs(at - (row + 7, column + 7)) <= 9).all())
    assert np.mean(inside) >= 0.9


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_mean_gradients(name):
    """Against the paper's equations, by finite differences in double precision."""
    model = model_of(name)
    network = model.network.double()
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28)).astype(np.uint8)
    codes = np.array([2, 0])
    with torch.no_grad():
        inputs = model.preprocessing(torch.from_numpy(images)[:, None]).double()
        features = network.features(inputs)
        expected = []
        for one, code in zip(features, codes, strict=True):
            weights = []
            for channel in range(len(one)):
                nudged = one[None].repeat(2, 1, 1, 1)
                nudged[0, channel] += 1e-6
                nudged[1, channel] -= 1e-6
                above, below = network.head(nudged)[:, code]
                weights.append(float(above - below) / 2e-6 / one[0].numel())
            combined = (torch.tensor(weights)[:, None, None] * one).sum(0)
            expected.append(combined.clamp(min=0).numpy())
    network.float()
    np.testing.assert_allclose(grad_cam(model, images, codes), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_features_and_head_are_the_network(name):
    network = model_of(name).network
    inputs = torch.rand(3, 1, 28, 28)
    features = network.features(inputs)
    assert features.shape[1] == 8
    torch.testing.assert_close(network.head(features), network(inputs))


def test_nothing_of_the_network_is_changed():
    model = model_of("residual_cnn")
    before = {n: t.clone() for n, t in model.network.state_dict().items()}
    explain(model, np.zeros((1, 28, 28), np.uint8), 1, "b")
    assert all(torch.equal(t, before[n]) for n, t in model.network.state_dict().items())
    assert all(p.grad is None for p in model.network.parameters())
    assert not model.network.training


@pytest.mark.parametrize("views", [1, 3])
def test_every_view_has_its_map_beside_it(views):
    images = np.random.default_rng(0).integers(0, 256, (views, 28, 28)).astype(np.uint8)
    sheet = explain(model_of("fashion_cnn"), images, 0, "a 99.0%")
    assert sheet.width == 2 * views * (SIDE + GAP) + GAP
    shown = np.asarray(sheet)[GAP : GAP + SIDE : 8, GAP : GAP + SIDE : 8]
    np.testing.assert_array_equal(shown, images[0][..., None].repeat(3, 2))


def test_views_stand_side_by_side_pixel_by_pixel():
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(side_by_side(images)), np.hstack(images))
