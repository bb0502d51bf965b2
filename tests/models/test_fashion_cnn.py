import pytest
import torch
import torch.nn.functional as F

from fashioncnn.errors import ConfigError
from fashioncnn.models import build_model, count_parameters
from fashioncnn.settings import FashionCNNConfig


def test_number_of_parameters_is_as_documented():
    assert count_parameters(build_model(FashionCNNConfig(hidden=128), 28, 10)) == 421_642
    assert count_parameters(build_model(FashionCNNConfig(), 28, 10)) == 824_458


def pool_after_relu(images, layer):
    features = F.conv2d(images, layer.weight, layer.bias, padding=layer.padding)
    return F.max_pool2d(F.relu(features), 2)


def test_forward_equals_the_described_layers():
    torch.manual_seed(0)
    model = build_model(FashionCNNConfig(), 28, 10).double().eval()
    images = torch.randn(4, 1, 28, 28, dtype=torch.float64)
    first, second = model.convolutions
    features = pool_after_relu(pool_after_relu(images, first), second)
    expected = model.output(F.relu(model.hidden(features.flatten(1))))
    torch.testing.assert_close(model(images), expected, rtol=0, atol=0)


def test_gradients_equal_those_of_pooling_after_relu():
    torch.manual_seed(0)
    model = build_model(FashionCNNConfig(dropout=0.0), 28, 10).double()
    images = torch.randn(2, 1, 28, 28, dtype=torch.float64)
    model(images).square().sum().backward()
    ours = model.convolutions[0].weight.grad.clone()
    model.zero_grad()
    first, second = model.convolutions
    features = pool_after_relu(pool_after_relu(images, first), second)
    model.output(F.relu(model.hidden(features.flatten(1)))).square().sum().backward()
    torch.testing.assert_close(ours, model.convolutions[0].weight.grad)


def test_dropout_acts_only_in_training():
    model = build_model(FashionCNNConfig(), 28, 10)
    images = torch.rand(1, 1, 28, 28)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize(
    ("kernel_size", "padding", "features"),
    [(3, 1, 3136), (3, 0, 1600), (5, 2, 3136), (7, 0, 576 // 9)],
)
def test_linear_layer_fits_kernel_size_and_padding(kernel_size, padding, features):
    config = FashionCNNConfig(kernel_size=kernel_size, padding=padding)
    model = build_model(config, 28, 10)
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    if kernel_size < 7:
        assert model.hidden.weight[0].numel() == features


def test_images_too_small_for_the_depth_are_rejected():
    with pytest.raises(ConfigError, match="8×8 images are too small for 4 convolutions"):
        build_model(FashionCNNConfig(channels=(4, 4, 4, 4)), 8, 10)
