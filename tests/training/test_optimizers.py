import copy
import math
import pickle

import pytest
import torch

from fashioncnn.kernels import unavailable_reason
from fashioncnn.models import set_kernels
from fashioncnn.models.layers import Convolution, FlattenLinear
from fashioncnn.settings import AdamConfig, ConstantSchedule, DecaySchedule, MuonConfig, SGDConfig
from fashioncnn.training import optimizers
from fashioncnn.training.optimizers import (
    FEW_THREADS,
    Adam,
    build_optimizer,
    orthogonalize,
    scheduled_learning_rate,
)


@pytest.fixture(params=["torch", "native"])
def kernels(request, compiled):
    if request.param == "native" and unavailable_reason():
        pytest.skip("no compiled kernels on this machine")
    return request.param


def rates(schedule, steps=100):
    return [scheduled_learning_rate(schedule, 0.1, step, steps) for step in range(steps)]


def test_constant_schedule_is_the_peak():
    assert set(rates(ConstantSchedule())) == {0.1}


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_schedule_rises_during_warmup_and_decays_towards_zero(name):
    values = rates(DecaySchedule(name=name, warmup=0.2))
    assert values[0] == pytest.approx(0.1 / 21)
    assert max(values) == values[20] == pytest.approx(0.1)
    assert values[:21] == sorted(values[:21])
    assert values[20:] == sorted(values[20:], reverse=True)
    assert 0 < values[-1] < 0.002


def test_cosine_schedule_equals_its_formula():
    values = rates(DecaySchedule(name="cosine"))
    assert values[25] == pytest.approx(0.05 * (1 + math.cos(math.pi * 0.25)))


OPTIMIZERS = {
    "adam": (
        AdamConfig(name="adam", learning_rate=0.01),
        lambda p: torch.optim.Adam(p, lr=0.01, foreach=False),
    ),
    "adamw": (
        AdamConfig(name="adamw", learning_rate=0.01, weight_decay=0.1, betas=(0.8, 0.9)),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, betas=(0.8, 0.9), foreach=False),
    ),
    "adam with weight decay": (
        AdamConfig(name="adam", learning_rate=0.01, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, foreach=False),
    ),
    "sgd with momentum": (
        SGDConfig(name="sgd", learning_rate=0.01, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, foreach=False),
    ),
    "sgd": (
        SGDConfig(name="sgd", learning_rate=0.01, momentum=0.0),
        lambda p: torch.optim.SGD(p, lr=0.01, foreach=False),
    ),
}


def make_convolution(kernels="torch"):
    layer = Convolution(2, 4).to(memory_format=torch.channels_last)
    layer.weight.data.copy_(torch.linspace(-1, 1, 72).reshape(4, 2, 3, 3))
    set_kernels(layer, kernels)
    return layer


def step_convolution(layer, optimizer, steps=5):
    for _ in range(steps):
        optimizer.zero_grad()
        layer.weight.square().sum().backward()
        optimizer.step()
    return layer.weight.detach()


@pytest.mark.parametrize(("config", "reference"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizer_equals_pytorchs_single_tensor_one(kernels, config, reference):
    layer, other = make_convolution(kernels), make_convolution()
    actual = step_convolution(layer, build_optimizer(config, layer))
    torch.testing.assert_close(actual, step_convolution(other, reference(other.parameters())))


@pytest.mark.parametrize(("config", "_"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_learning_rate_may_be_a_tensor(kernels, config, _):
    weights = []
    for convert in (float, torch.tensor):
        layer = make_convolution(kernels)
        optimizer = build_optimizer(config, layer)
        for group in optimizer.param_groups:
            group["lr"] = convert(0.02)
        weights.append(step_convolution(layer, optimizer))
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize("option", ["amsgrad", "maximize"])
def test_adam_options_without_a_kernel_use_pytorch(kernels, option):
    library = build_optimizer(
        AdamConfig(name="adam", learning_rate=0.01), make_convolution(kernels)
    ).kernels
    weights = []
    for make in (
        lambda p, **o: Adam(p, library, fused=True, **o),
        lambda p, **o: torch.optim.Adam(p, fused=True, **o),
    ):
        layer = make_convolution()
        optimizer = make(layer.parameters(), lr=0.1, **{option: True})
        weights.append(step_convolution(layer, optimizer, 3))
    assert torch.equal(*weights)


def test_adam_of_double_precision_parameters_uses_pytorch(kernels):
    weights = []
    for make in (lambda n: build_optimizer(OPTIMIZERS["adam"][0], n), lambda n: None):
        layer = make_convolution(kernels).double()
        optimizer = make(layer) or torch.optim.Adam(layer.parameters(), lr=0.01, fused=True)
        weights.append(step_convolution(layer, optimizer))
    assert torch.equal(*weights)


MUON = MuonConfig(
    name="muon", learning_rate=0.1, adam_learning_rate=0.01, weight_decay=0.1, momentum=0.9
)


def make_network(kernels="torch"):
    torch.manual_seed(0)
    network = torch.nn.ModuleDict(
        {
            "first": torch.nn.Conv2d(1, 8, 3, bias=False),
            "inner": Convolution(4, 8),
            "inner2": Convolution(4, 8),
            "tall": torch.nn.Conv2d(2, 32, 3, bias=False),
            "middle": FlattenLinear(8, 2, 2, 16),
            "last": torch.nn.Linear(16, 10),
        }
    )
    set_kernels(network, kernels)
    return network


def parameters(network):
    return dict(network.named_parameters())


def set_gradients(network, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_orthogonalize_keeps_directions_and_equalizes_singular_values():
    matrix = torch.randn(12, 40, generator=torch.Generator().manual_seed(0))
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    for given, exact in ((matrix, u @ vt), (matrix.T, (u @ vt).T)):
        result = orthogonalize(given)
        values = torch.linalg.svdvals(result)
        assert 0.5 < values.min() <= values.max() < 1.3, f"singular values {values}"
        assert (result * exact).sum() / (result.norm() * exact.norm()) > 0.97


def test_orthogonalize_of_a_batch_equals_that_of_each_matrix():
    for shape in ((3, 8, 20), (3, 20, 8)):
        matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        expected = torch.stack([orthogonalize(matrix) for matrix in matrices])
        torch.testing.assert_close(orthogonalize(matrices), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["inner", "inner2", "tall"])
def test_muon_moves_inner_convolutions_along_orthogonal_matrices(name):
    network = make_network()
    weight = network[name].weight
    before, optimizer = weight.detach().clone(), build_optimizer(MUON, network)
    set_gradients(network)
    # The first momentum is 0.1 of the gradient and Nesterov's 0.19 of it: the same direction.
    update = orthogonalize(weight.grad.flatten(1)).reshape(weight.shape)
    optimizer.step()
    rows, columns = weight.flatten(1).shape
    size = 0.1 * max(1, rows / columns) ** 0.5
    torch.testing.assert_close(weight.detach(), before * (1 - 0.1 * 0.1) - size * update)


@pytest.mark.parametrize(("threads", "used"), [(1, 1), (FEW_THREADS, 1), (FEW_THREADS + 1, 3)])
def test_muon_uses_one_thread_instead_of_few(monkeypatch, threads, used):
    seen = []

    def record(matrix):
        seen.append(torch.get_num_threads())
        return orthogonalize(matrix)

    monkeypatch.setattr(optimizers, "orthogonalize", record)
    network = make_network()
    set_gradients(network)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        build_optimizer(MUON, network).step()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert seen == [used] * 3


def test_failed_step_of_muon_restores_the_threads(monkeypatch):
    monkeypatch.setattr(optimizers, "orthogonalize", None)
    network = make_network()
    set_gradients(network)
    before = torch.get_num_threads()
    torch.set_num_threads(FEW_THREADS)
    try:
        with pytest.raises(TypeError):
            build_optimizer(MUON, network).step()
        assert torch.get_num_threads() == FEW_THREADS
    finally:
        torch.set_num_threads(before)


def test_muon_updates_all_other_parameters_by_adamw(kernels):
    network, reference = make_network(kernels), make_network()
    optimizer = build_optimizer(MUON, network)
    names = [n for n in parameters(network) if not n.startswith(("inner", "tall"))]
    expected = parameters(reference)
    adamw = torch.optim.AdamW([expected[n] for n in names], lr=0.01, weight_decay=0.1)
    for step in range(3):
        set_gradients(network, step)
        set_gradients(reference, step)
        optimizer.step()
        adamw.step()
    for name in names:
        torch.testing.assert_close(parameters(network)[name], expected[name], msg=name)


def test_muon_accepts_learning_rates_that_are_tensors():
    networks = []
    for convert in (float, torch.tensor):
        network = make_network()
        optimizer = build_optimizer(MUON, network)
        for step in range(3):
            set_gradients(network, step)
            for group in optimizer.param_groups:
                group["lr"] = convert(0.01 * (step + 1) * group["scale"])
            optimizer.step()
        networks.append(parameters(network))
    for name, parameter in networks[0].items():
        torch.testing.assert_close(parameter, networks[1][name], msg=name)


def test_muon_state_has_the_layout_of_checkpoints():
    network = make_network()
    optimizer = build_optimizer(MUON, network)
    set_gradients(network)
    optimizer.step()
    state = optimizer.state_dict()["state"]
    assert [sorted(state[i]) for i in range(3)] == [["momentum_buffer", "step"]] * 3
    assert sorted(state[3]) == ["exp_avg", "exp_avg_sq", "step"]


def test_muon_groups_start_at_their_own_learning_rates():
    groups = build_optimizer(MUON, make_network()).param_groups
    assert [group["lr"] for group in groups] == [0.1, 0.01]


def test_muon_leaves_parameters_without_a_gradient_unchanged(kernels):
    network = make_network(kernels)
    before = {name: p.detach().clone() for name, p in parameters(network).items()}
    build_optimizer(MUON, network).step()
    assert all(torch.equal(p, before[name]) for name, p in parameters(network).items())


@pytest.mark.parametrize(
    "config", [MUON, AdamConfig(name="adam", learning_rate=0.01)], ids=["muon", "adam"]
)
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"]
)
def test_copied_optimizer_keeps_its_kernels_and_steps_equally(kernels, config, copied):
    optimizer = build_optimizer(config, make_network(kernels))
    twin = copied(optimizer)
    assert twin.kernels is optimizer.kernels
    assert (twin.kernels is None) == (kernels == "torch")
    stepped = []
    for one in (optimizer, twin):
        ours = [parameter for group in one.param_groups for parameter in group["params"]]
        for parameter in ours:
            parameter.grad = torch.ones_like(parameter)
        one.step()
        stepped.append(ours)
    assert all(torch.equal(a, b) for a, b in zip(*stepped, strict=True))
