import pytest
import torch
import torch.nn.functional as F

from fashioncnn.errors import ConfigError
from fashioncnn.models import build_model, count_parameters
from fashioncnn.settings import BatchNormCNNConfig

CONFIG = BatchNormCNNConfig(name="batchnorm_cnn")


def test_number_of_parameters_is_as_documented():
    assert count_parameters(build_model(CONFIG, 28, 10)) == 104_650


def test_forward_equals_normalization_after_pooling():
    torch.manual_seed(0)
    model = build_model(CONFIG, 28, 10).double().train()
    images = torch.randn(4, 1, 28, 28, dtype=torch.float64)
    features = images
    for layer in model.convolutions:
        features = F.conv2d(features, layer.weight, layer.bias, padding=1)
        features = F.max_pool2d(F.relu(features), 2)
        mean = features.mean((0, 2, 3), keepdim=True)
        variance = features.var((0, 2, 3), unbiased=False, keepdim=True)
        features = (features - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(model(images), model.output(features.flatten(1)))


def test_images_too_small_for_the_depth_are_rejected():
    with pytest.raises(ConfigError, match="7×7 images are too small for 3 convolutions"):
        build_model(CONFIG, 7, 10)


def test_whitened_outputs_are_uncorrelated_with_unit_variance():
    torch.manual_seed(0)
    model = build_model(CONFIG, 28, 10)
    images = torch.randn(50, 1, 28, 28)
    images += 3 * F.avg_pool2d(images, 3, stride=1, padding=1)  # correlated neighbors, as in images
    model.whiten(images)
    first = model.convolutions[0]
    outputs = F.conv2d(images, first.weight, padding=1)[:, :9].transpose(0, 1).flatten(1)
    torch.testing.assert_close(
        outputs @ outputs.T / outputs.shape[1], torch.eye(9), atol=0.1, rtol=0
    )
    assert torch.equal(first.weight[9:18], -first.weight[:9])


def test_whitening_with_constant_images_is_finite():
    model = build_model(CONFIG, 28, 10)
    model.whiten(torch.zeros(3, 1, 28, 28))
    assert model.convolutions[0].weight.isfinite().all()
