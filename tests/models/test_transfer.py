"""Weights of a trained network in one with other classes, and frozen layers."""

import pytest
import torch

from fashioncnn.errors import UsageError
from fashioncnn.models import build_model
from fashioncnn.models.transfer import (
    freeze_features,
    last_layer,
    set_training_mode,
    transfer_weights,
)
from fashioncnn.settings import BatchNormCNNConfig, FashionCNNConfig, ResidualCNNConfig

CONFIGS = {
    "fashion_cnn": FashionCNNConfig(channels=(4, 8), hidden=16),
    "batchnorm_cnn": BatchNormCNNConfig(name="batchnorm_cnn", channels=(4, 8)),
    "residual_cnn": ResidualCNNConfig(name="residual_cnn", channels=(4, 8), blocks=(0, 1)),
}
OLD, NEW = ("coat", "bag", "shoe"), ("bag", "hat", "coat", "scarf")


def networks(name, size=28, channels=1):
    torch.manual_seed(0)
    return build_model(CONFIGS[name], 28, len(OLD)), build_model(
        CONFIGS[name], size, len(NEW), channels
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_of_kept_classes_are_the_same_and_others_are_0(name):
    old, new = (network.eval() for network in networks(name))
    transfer_weights(new, old.state_dict(), NEW, OLD)
    images = torch.rand(2, 1, 28, 28)
    expected = old(images)[:, [1, 0, 0, 0]] * torch.tensor([1, 0, 1, 0])
    torch.testing.assert_close(new(images), expected)


def test_same_classes_in_another_order_keep_their_weights():
    old, new = (build_model(CONFIGS["fashion_cnn"], 28, 3).eval() for _ in range(2))
    transfer_weights(new, old.state_dict(), OLD[::-1], OLD)
    images = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(new(images), old(images).flip(1))


def test_weights_of_a_residual_network_fit_images_of_other_sizes():
    old, new = networks("residual_cnn", size=40)
    transfer_weights(new, old.state_dict(), NEW, OLD)
    assert new.stem.weight.equal(old.stem.weight)


@pytest.mark.parametrize(
    ("name", "size", "channels", "layer"),
    [
        ("fashion_cnn", 40, 1, "hidden.weight"),
        ("batchnorm_cnn", 40, 1, "output.weight"),
        ("residual_cnn", 28, 3, "stem.weight"),
    ],
)
def test_weights_that_do_not_fit_are_rejected(name, size, channels, layer):
    old, new = networks(name, size, channels)
    with pytest.raises(UsageError, match=rf"do not fit the network: {layer} has shape \["):
        transfer_weights(new, old.state_dict(), NEW, OLD)


def test_weights_of_another_network_are_rejected():
    old, new = networks("fashion_cnn")[0], networks("residual_cnn")[1]
    with pytest.raises(UsageError, match="do not fit the network"):
        transfer_weights(new, old.state_dict(), NEW, OLD)


@pytest.mark.parametrize("name", CONFIGS)
def test_frozen_features_keep_their_weights_and_statistics(name):
    network = networks(name)[0]
    freeze_features(network)
    set_training_mode(network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(4, 1, 28, 28)).square().sum().backward()
    optimizer.step()
    changed = {k for k, value in network.state_dict().items() if not value.equal(before[k])}
    assert changed == {"output.weight", "output.bias"}
    assert last_layer(network)[0] == "output"
