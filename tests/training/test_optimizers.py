import math
import pickle
import platform
from copy import deepcopy

import pytest
import torch

from fashioncnn import kernels
from fashioncnn.models.layers import FlattenLinear
from fashioncnn.settings import AdamConfig, ConstantSchedule, DecaySchedule, MuonConfig, SGDConfig
from fashioncnn.training.optimizers import (
    Adam,
    build_optimizer,
    orthogonalize,
    scheduled_learning_rate,
)


def rates(schedule, steps=100):
    return [scheduled_learning_rate(schedule, 0.1, step, steps) for step in range(steps)]


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
            AdamConfig(name="adam", learning_rate=0.01, weight_decay=0.1),
            lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, foreach=False),
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
    ids=["adam", "adamw", "decay", "momentum", "plain"],
)
@pytest.mark.parametrize("chosen", ["torch", "native"])
def test_optimisers_step_as_torch_s_plain_ones(compiled, chosen, config, twin):
    if chosen == "native" and kernels.why_not_native():
        pytest.skip("no compiled kernels here")
    kernels.use(chosen)
    results = []
    for build in (lambda n: build_optimizer(config, n), lambda n: twin(n.parameters())):
        network = torch.nn.Conv2d(2, 4, 3, bias=False).to(memory_format=torch.channels_last)
        network.weight.data.copy_(torch.linspace(-1, 1, 72).reshape(4, 2, 3, 3))
        optimizer = build(network)
        for _ in range(5):
            optimizer.zero_grad()
            network.weight.square().sum().backward()
            optimizer.step()
        results.append(network.weight.detach())
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("threads", [1, 2])
def test_weights_that_only_decay_end_at_zero_not_at_subnormal_values(compiled, threads):
    if kernels.why_not_native() or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("no compiled kernels for x86 here")
    kernels.use("native")
    weights, mean, square = (torch.full((100_000,), 1e-39) for _ in range(3))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        kernels.adam_step(
            weights, torch.zeros_like(weights), mean, square,
            step=1, rate=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1, decoupled=False,
        )  # fmt: skip
        kept = torch.full_like(weights, 1e-39) * 0.5
    finally:
        torch.set_num_threads(before)
    for values in (weights, mean, square):
        assert not values.any(), f"{values.unique()} are slow to compute with"
    assert kept.all(), "what is computed elsewhere must stay as it was"


MUON = MuonConfig(
    name="muon", learning_rate=0.1, adam_learning_rate=0.01, weight_decay=0.1, momentum=0.9
)


def draw_network():
    torch.manual_seed(0)
    return torch.nn.ModuleDict(
        {
            "first": torch.nn.Conv2d(1, 8, 3, bias=False),
            "inner": torch.nn.Conv2d(4, 8, 3, bias=False),
            "middle": FlattenLinear(8, 2, 2, 16),
            "last": torch.nn.Linear(16, 10),
        }
    )


def parameters(network):
    return dict(network.named_parameters())


def test_orthogonalised_keeps_directions_and_evens_their_sizes():
    matrix = torch.randn(12, 40, generator=torch.Generator().manual_seed(0))
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    for given, exact in ((matrix, u @ vt), (matrix.T, (u @ vt).T)):
        sizes = torch.linalg.svdvals(orthogonalize(given))
        assert 0.5 < sizes.min() <= sizes.max() < 1.3, f"singular values {sizes}"
        cosine = (orthogonalize(given) * exact).sum() / (orthogonalize(given).norm() * exact.norm())
        assert cosine > 0.97


def test_muon_steps_inner_convolutions_by_orthogonal_matrices():
    network = draw_network()
    optimizer = build_optimizer(MUON, network)
    inner = network["inner"].weight
    before = inner.detach().clone()
    inner.grad = torch.randn(inner.shape, generator=torch.Generator().manual_seed(1))
    gradient = inner.grad.clone()
    optimizer.step()
    # The first momentum is 0.1 of the gradient, Nesterov's look ahead 0.19 of it: its direction.
    step = orthogonalize(gradient.flatten(1)).reshape(inner.shape)
    torch.testing.assert_close(inner.detach(), before * (1 - 0.1 * 0.1) - 0.1 * step)


def test_muon_leaves_the_rest_to_adamw():
    network = draw_network()
    ours, theirs = parameters(network), parameters(draw_network())
    optimizer = build_optimizer(MUON, network)
    rest = [name for name in theirs if name != "inner.weight"]
    adamw = torch.optim.AdamW([theirs[name] for name in rest], lr=0.01, weight_decay=0.1)
    for step in range(3):
        for group in optimizer.param_groups:  # as the loop does
            group["lr"] = 0.1 * group.get("scale", 1.0)
        for name in ours:
            gradient = torch.full_like(ours[name], 0.1 * (step + 1))
            ours[name].grad, theirs[name].grad = gradient, gradient.clone()
        optimizer.step()
        adamw.step()
    for name in rest:
        torch.testing.assert_close(ours[name], theirs[name], msg=f"{name} went another way")


def test_muon_survives_a_copy_and_a_pickle():
    for copy in (deepcopy, lambda o: pickle.loads(pickle.dumps(o))):
        optimizer = copy(build_optimizer(MUON, draw_network()))
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        optimizer.step()


def test_muon_begins_each_group_at_its_own_rate():
    groups = build_optimizer(MUON, draw_network()).param_groups
    assert [group["lr"] for group in groups] == [0.1, 0.01]


def test_muon_passes_by_what_has_no_gradient():
    network = draw_network()
    ours = parameters(network)
    before = {name: p.detach().clone() for name, p in ours.items()}
    build_optimizer(MUON, network).step()
    assert all(torch.equal(ours[name], before[name]) for name in ours)


@pytest.mark.parametrize("option", ["amsgrad", "maximize"])
def test_what_the_compiled_step_does_not_do_is_left_to_torch(compiled, option):
    results = []
    for kind in (Adam, torch.optim.Adam):
        if kind is Adam and not kernels.why_not_native():
            kernels.use("native")
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 8))
        optimizer = kind([weight], lr=0.1, fused=True, **{option: True})
        for _ in range(3):
            weight.grad = weight.detach() ** 2
            optimizer.step()
        results.append(weight.detach())
    torch.testing.assert_close(*results)
