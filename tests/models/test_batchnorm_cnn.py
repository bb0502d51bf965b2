import pytest
import torch
import torch.nn.functional as F

from fashioncnn.config import BatchNormCNNConfig
from fashioncnn.errors import ConfigError
from fashioncnn.models import build_model, count_parameters

CONFIG = BatchNormCNNConfig(name="batchnorm_cnn")


def test_parameters_are_as_documented():
    assert count_parameters(build_model(CONFIG, 28, 10)) == 104_650


def test_forward_normalises_what_was_pooled():
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


def test_pictures_too_small_for_the_depth_are_refused():
    with pytest.raises(ConfigError, match=r"3 convolutions .* leave nothing of 7×7"):
        build_model(CONFIG, 7, 10)
