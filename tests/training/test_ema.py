"""The moving average of weights against PyTorch's."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from fashioncnn.training.ema import EMA


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))


def train_step(network):
    """Change weights, running statistics and the number of batches."""
    network.train()
    network(torch.randn(2, 1, 5, 5))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))


@pytest.mark.parametrize("decay", [0.2, 0.9, 0.999])
def test_average_equals_that_of_pytorch_with_the_same_decay(decay):
    network = make_network()
    ema = EMA(network, decay)

    def rising_decay(average, value, updates):
        if not average.is_floating_point():
            return value  # a count is copied, not averaged
        n = int(updates)  # of previous updates, as in EMA
        return torch.lerp(average, value, 1 - min(decay, (1 + n) / (10 + n)))

    reference = AveragedModel(network, avg_fn=rising_decay, use_buffers=True)
    reference.update_parameters(network)  # the first update copies
    ema.update()
    for _ in range(12):
        train_step(network)
        ema.update()
        reference.update_parameters(network)
    assert ema.updates == 13
    for name, expected in reference.module.state_dict().items():
        value = ema.network.state_dict()[name]
        torch.testing.assert_close(value, expected, msg=name)
        is_count = name.endswith("num_batches_tracked")
        assert torch.equal(value, network.state_dict()[name]) == is_count, name


def test_first_update_copies_the_weights():
    network = make_network()
    ema = EMA(network, 0.999)
    train_step(network)
    ema.update()
    for name, value in ema.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_average_is_a_copy():
    network = make_network()
    ema = EMA(network, 0.9)
    before = [parameter.clone() for parameter in ema.network.parameters()]
    train_step(network)
    for value, expected in zip(ema.network.parameters(), before, strict=True):
        assert torch.equal(value, expected)
