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
from fashioncnn.settings import ResidualCNNConfig

CONFIG = ResidualCNNConfig(name="residual_cnn")


def draw_network(**settings):
    torch.manual_seed(0)
    network = build_model(CONFIG.model_copy(update=settings), 28, 10)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # instead of 1 and 0
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, -0.5, 0.5)
    return network


def test_parameters_and_multiply_adds_are_as_documented():
    network = build_model(CONFIG, 28, 10)
    assert count_parameters(network) == 426_522
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(2, 1, 28, 28))
    # PyTorch counts multiplications and additions separately; two images.
    assert counter.get_total_flops() / 4 == count_multiply_adds(CONFIG, 28, 10)
    assert count_multiply_adds(CONFIG, 28, 10) == pytest.approx(52.0e6, rel=0.01)
    assert count_multiply_adds(CONFIG, 28, 3) == count_multiply_adds(CONFIG, 28, 10) - 7 * 96


def test_forward_equals_a_direct_implementation():
    network = draw_network(channels=(16, 32), blocks=(1, 2)).double().train()
    images = torch.randn(4, 1, 28, 28, dtype=torch.float64)

    def normalize(values, layer):
        mean = values.mean((0, 2, 3), keepdim=True)
        variance = values.var((0, 2, 3), unbiased=False, keepdim=True)
        weight, bias = (p.view(1, -1, 1, 1) for p in (layer.weight, layer.bias))
        return (values - mean) / (variance + 1e-5).sqrt() * weight + bias

    def conv(values, layer):
        return F.conv2d(values, layer.weight, layer.bias, padding=1)

    def residual(values, block):
        inner = F.relu(normalize(conv(values, block.first), block.first_norm))
        return F.relu(values + normalize(conv(inner, block.second), block.second_norm))

    def downsampling(values, block):
        halved = normalize(F.relu(F.max_pool2d(conv(values, block.first), 2)), block.first_norm)
        return F.relu(halved + normalize(conv(halved, block.second), block.second_norm))

    x = F.relu(normalize(conv(images, network.stem), network.stem_norm))
    for block, apply in zip(network.blocks, (residual, downsampling, residual), strict=True):
        x = apply(x, block)
    torch.testing.assert_close(network(images), network.output(x.mean((2, 3))))


def test_new_block_returns_its_input():
    torch.manual_seed(0)
    block = build_model(CONFIG, 28, 10).blocks[1].eval()
    features = torch.rand(2, 64, 14, 14)
    torch.testing.assert_close(block(features), features)


def test_compiled_kernels_give_the_same_gradients(compiled):
    """Rounding may move the maximum of a pooling window in some draws, but not in all."""
    if unavailable_reason():
        pytest.skip("no compiled kernels on this machine")
    differences = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        images, gradients = torch.rand(4, 1, 28, 28, generator=generator), []
        for name in ("native", "torch"):
            network = draw_network(channels=(16, 32), blocks=(1, 1))
            place_network(network, torch.device("cpu"))
            set_kernels(network, name)
            network(images).square().sum().backward()
            gradients.append([p.grad for p in network.parameters()])
        pairs = zip(*gradients, strict=True)
        differences.append([float((a - b).norm() / b.norm()) for a, b in pairs])
    names = [name for name, _ in network.named_parameters()]
    for name, *errors in zip(names, *differences, strict=True):
        assert min(errors) < 1e-3, f"{name}: relative difference {min(errors):.1e}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"channels": (1, 2, 3, 4, 5, 6), "blocks": (0, 1, 1, 1, 1, 1)},
            "28×28 images are too small for 6 stages",
        ),
        ({"channels": (16, 16)}, r"blocks = \(0, 2, 2\): should be 2 numbers"),
        ({"blocks": (1, 0, 1)}, "every stage but the first needs at least one block"),
    ],
)
def test_inconsistent_stages_are_rejected(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_model(ResidualCNNConfig(name="residual_cnn", **settings), 28, 10)
