import math

import pytest
import torch

from fashioncnn.config import AdamConfig, ConstantSchedule, DecaySchedule, SGDConfig
from fashioncnn.training.optim import build_optimizer, learning_rate_at


def rates(schedule, steps=100):
    return [learning_rate_at(schedule, 0.1, step, steps) for step in range(steps)]


def test_constant_is_constant():
    assert set(rates(ConstantSchedule())) == {0.1}


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_decay_rises_over_the_warmup_and_falls_towards_zero(name):
    values = rates(DecaySchedule(name=name, warmup=0.2))
    assert values[0] == pytest.approx(0.1 / 21)
    assert max(values) == values[20] == pytest.approx(0.1)
    assert values[:21] == sorted(values[:21])
    assert values[20:] == sorted(values[20:], reverse=True)
    assert 0 < values[-1] < 0.002


def test_cosine_against_its_formula():
    values = rates(DecaySchedule(name="cosine"))
    assert values[25] == pytest.approx(0.05 * (1 + math.cos(math.pi * 0.25)))


@pytest.mark.parametrize(
    ("config", "twin"),
    [
        (
            AdamConfig(name="adam", learning_rate=0.01),
            lambda p: torch.optim.Adam(p, lr=0.01, foreach=False),
        ),
        (
            AdamConfig(name="adamw", learning_rate=0.01, weight_decay=0.1, betas=(0.8, 0.9)),
            lambda p: torch.optim.AdamW(
                p, lr=0.01, weight_decay=0.1, betas=(0.8, 0.9), foreach=False
            ),
        ),
        (
            SGDConfig(name="sgd", learning_rate=0.01, momentum=0.9),
            lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, foreach=False),
        ),
        (
            SGDConfig(name="sgd", learning_rate=0.01, momentum=0.0),
            lambda p: torch.optim.SGD(p, lr=0.01, foreach=False),
        ),
    ],
    ids=["adam", "adamw", "momentum", "plain"],
)
def test_optimisers_step_as_torch_s_plain_ones(config, twin):
    results = []
    for build in (lambda p: build_optimizer(config, p), twin):
        parameter = torch.nn.Parameter(torch.linspace(-1, 1, 64).reshape(4, 16))
        optimizer = build([parameter])
        for _ in range(5):
            optimizer.zero_grad()
            parameter.square().sum().backward()
            optimizer.step()
        results.append(parameter.detach())
    torch.testing.assert_close(*results)
