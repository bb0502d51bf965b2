import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from fashioncnn import kernels
from fashioncnn.errors import ConfigError
from fashioncnn.models import build_model, count_multiply_adds, count_parameters, place_network
from fashioncnn.models.flip_equivariant import FlipEquivariantBatchNorm, expand_filters
from fashioncnn.settings import ResidualCNNConfig

SETTINGS = {"name": "residual_cnn", "channels": (32, 64), "blocks": (1, 2)}
CONFIG = ResidualCNNConfig(**SETTINGS, flip_equivariant=True)


def draw_network(dtype=torch.float32):
    torch.manual_seed(0)
    network = build_model(CONFIG, 28, 10).to(dtype)
    for parameter in network.parameters():  # so that nothing is left at 0 or 1
        torch.nn.init.normal_(parameter, 0.1, 0.2)
    place_network(network, torch.device("cpu"))
    return network


def mirrored(features):
    """What features are for the mirror image: their halves change places and are mirrored."""
    first, second = features.flip(3).chunk(2, dim=1)
    return torch.cat([second, first], dim=1)


@pytest.fixture(params=["torch", "native"])
def by(request, compiled):
    if request.param == "native" and kernels.why_not_native():
        pytest.skip("no compiled kernels here")
    kernels.use(request.param)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_image_and_its_mirror_image_are_answered_alike(by, training):
    network, images = draw_network(torch.float32), torch.randn(8, 1, 28, 28)
    network.train()(images)  # moves the running statistics
    network.train(training)
    with torch.no_grad():
        features, of_mirror = network.features(images), network.features(images.flip(3))
        answers, answers_to_mirror = network(images), network(images.flip(3))
    torch.testing.assert_close(of_mirror, mirrored(features), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(answers_to_mirror, answers, rtol=1e-3, atol=1e-3)
    assert answers.std(0).min() > 1e-3, "the images are not told apart"


def test_a_network_without_the_symmetry_answers_otherwise():
    torch.manual_seed(0)
    network = build_model(ResidualCNNConfig(**SETTINGS), 28, 10)
    images = torch.randn(2, 1, 28, 28)
    assert not torch.allclose(network(images), network(images.flip(3)), atol=1e-3)


def test_filters_of_halves_by_the_definition():
    weight = torch.randn(3, 4, 3, 3)
    images = torch.randn(2, 4, 9, 8)
    out = F.conv2d(images, expand_filters(weight), padding=1)
    torch.testing.assert_close(out[:, :3], F.conv2d(images, weight, padding=1))
    torch.testing.assert_close(
        F.conv2d(mirrored(images), expand_filters(weight), padding=1), mirrored(out)
    )


def test_filters_of_a_image_alone_are_mirrored():
    weight = torch.arange(18.0).view(2, 1, 3, 3)
    whole = expand_filters(weight)
    assert whole.shape == (4, 1, 3, 3)
    torch.testing.assert_close(whole[2:], weight.flip(3))


def test_both_halves_are_normalised_by_statistics_of_both():
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


def test_gradients_by_finite_differences():
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


def test_half_the_weights_and_all_of_the_arithmetic():
    other = ResidualCNNConfig(**SETTINGS)
    free, all_of_them = (count_parameters(build_model(c, 28, 10)) for c in (CONFIG, other))
    assert 0.5 < free / all_of_them < 0.51
    # The last layer alone sees half as much.
    assert count_multiply_adds(CONFIG, 28, 10) == count_multiply_adds(other, 28, 10) - 32 * 10
    with FlopCounterMode(display=False) as counter:
        build_model(CONFIG, 28, 10)(torch.rand(1, 1, 28, 28))
    assert counter.get_total_flops() / 2 == count_multiply_adds(CONFIG, 28, 10)


def test_odd_numbers_of_channels_are_refused():
    config = CONFIG.model_copy(update={"channels": (16, 33)})
    with pytest.raises(ConfigError, match=r"channels = \(16, 33\): flip_equivariant needs even"):
        build_model(config, 28, 10)


def test_sides_that_do_not_halve_evenly_are_refused():
    build_model(CONFIG, 30, 10)
    three = CONFIG.model_copy(update={"channels": (16, 32, 32), "blocks": (1, 1, 1)})
    with pytest.raises(ConfigError, match="2 halvings leave a column over of 30×30"):
        build_model(three, 30, 10)
