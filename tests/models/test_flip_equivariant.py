import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from fashioncnn.errors import ConfigError
from fashioncnn.kernels import unavailable_reason
from fashioncnn.models import (
    build_model,
    count_multiply_adds,
    count_parameters,
    place_network,
    set_kernels,
)
from fashioncnn.models.flip_equivariant import FlipEquivariantBatchNorm, expand_filters
from fashioncnn.settings import ResidualCNNConfig

SETTINGS = {"name": "residual_cnn", "channels": (32, 64), "blocks": (1, 2)}
CONFIG = ResidualCNNConfig(**SETTINGS, flip_equivariant=True)


def draw_network(dtype=torch.float32, kernels="torch"):
    torch.manual_seed(0)
    network = build_model(CONFIG, 28, 10).to(dtype)
    for parameter in network.parameters():  # instead of 1 and 0
        torch.nn.init.normal_(parameter, 0.1, 0.2)
    place_network(network, torch.device("cpu"))
    set_kernels(network, kernels)
    return network


def flip_features(features):
    """Return the features of the flipped image: the halves swapped and flipped."""
    first, second = features.flip(3).chunk(2, dim=1)
    return torch.cat([second, first], dim=1)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("kernels", ["torch", "native"])
def test_features_are_equivariant_and_logits_invariant_to_flips(compiled, kernels, training):
    if kernels == "native" and unavailable_reason():
        pytest.skip("no compiled kernels on this machine")
    network, images = draw_network(kernels=kernels), torch.randn(8, 1, 28, 28)
    network.train()(images)  # moves the running statistics
    network.train(training)
    with torch.no_grad():
        features, flipped_features = network.features(images), network.features(images.flip(3))
        logits, flipped_logits = network(images), network(images.flip(3))
    torch.testing.assert_close(flipped_features, flip_features(features), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(flipped_logits, logits, rtol=1e-3, atol=1e-3)
    assert logits.std(0).min() > 1e-3, "all images have the same logits"


def test_plain_network_is_not_invariant_to_flips():
    torch.manual_seed(0)
    network = build_model(ResidualCNNConfig(**SETTINGS), 28, 10)
    images = torch.randn(2, 1, 28, 28)
    assert not torch.allclose(network(images), network(images.flip(3)), atol=1e-3)


def test_expanded_filters_of_halves_are_equivariant():
    weight = torch.randn(3, 4, 3, 3)
    images = torch.randn(2, 4, 9, 8)
    out = F.conv2d(images, expand_filters(weight), padding=1)
    torch.testing.assert_close(out[:, :3], F.conv2d(images, weight, padding=1))
    torch.testing.assert_close(
        F.conv2d(flip_features(images), expand_filters(weight), padding=1), flip_features(out)
    )


def test_expanded_filters_of_an_image_are_flipped():
    weight = torch.arange(18.0).view(2, 1, 3, 3)
    filters = expand_filters(weight)
    assert filters.shape == (4, 1, 3, 3)
    torch.testing.assert_close(filters[2:], weight.flip(3))


def test_batch_norm_shares_statistics_between_the_halves():
    features, residual = torch.randn(2, 5, 6, 4, 8).add(1)
    norm = FlipEquivariantBatchNorm(6)
    torch.nn.init.uniform_(norm.weight)
    torch.nn.init.uniform_(norm.bias)
    halves = features.unflatten(1, (2, 3))
    mean = halves.mean((0, 1, 3, 4))
    variance = halves.var((0, 1, 3, 4), unbiased=False)
    shaped = [t.repeat(2).view(1, 6, 1, 1) for t in (mean, variance, norm.weight, norm.bias)]
    mean, variance, weight, bias = shaped
    expected = F.relu((features - mean) / (variance + norm.eps).sqrt() * weight + bias + residual)
    torch.testing.assert_close(norm(features, residual, relu=True), expected)
    torch.testing.assert_close(norm.running_mean, 0.1 * mean[0, :3, 0, 0])
    assert norm.running_var.shape == (3,)


def test_gradient_equals_finite_differences():
    network = draw_network(torch.float64).train()
    images = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    weight = network.blocks[1].first.weight

    def loss():
        return network(images).square().sum()

    loss().backward()
    step, at = 1e-6, (1, 2, 0, 2)
    with torch.no_grad():
        weight[at] += step
        above = loss()
        weight[at] -= 2 * step
        below = loss()
    assert float(weight.grad[at]) == pytest.approx(float(above - below) / (2 * step), rel=1e-4)


def test_network_has_half_the_weights_and_all_multiply_adds():
    other = ResidualCNNConfig(**SETTINGS)
    free, total = (count_parameters(build_model(c, 28, 10)) for c in (CONFIG, other))
    assert 0.5 < free / total < 0.51
    # Only the linear layer has half as many inputs.
    assert count_multiply_adds(CONFIG, 28, 10) == count_multiply_adds(other, 28, 10) - 32 * 10
    with FlopCounterMode(display=False) as counter:
        build_model(CONFIG, 28, 10)(torch.rand(1, 1, 28, 28))
    assert counter.get_total_flops() / 2 == count_multiply_adds(CONFIG, 28, 10)


def test_odd_numbers_of_channels_are_rejected():
    config = CONFIG.model_copy(update={"channels": (16, 33)})
    with pytest.raises(ConfigError, match=r"channels = \(16, 33\): .*flip_equivariant needs even"):
        build_model(config, 28, 10)


def test_sides_that_do_not_halve_evenly_are_rejected():
    build_model(CONFIG, 30, 10)
    three = CONFIG.model_copy(update={"channels": (16, 32, 32), "blocks": (1, 1, 1)})
    with pytest.raises(ConfigError, match=r"3 stages need .* a multiple of 4, not 30"):
        build_model(three, 30, 10)
