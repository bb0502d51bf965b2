"""Kernels belong to a model: selection, copies, coexistence, threads."""

import copy
import io
import threading

import pytest
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel

from fashioncnn.kernels import unavailable_reason
from fashioncnn.models import build_model, kernels_of, place_network, set_kernels
from fashioncnn.models.layers import KernelLayer
from fashioncnn.settings import AdamConfig, BatchNormCNNConfig, FashionCNNConfig, ResidualCNNConfig
from fashioncnn.training.optimizers import build_optimizer

CONFIGS = {
    "fashion_cnn": FashionCNNConfig(channels=(32, 32), hidden=16, dropout=0.0),
    "batchnorm_cnn": BatchNormCNNConfig(name="batchnorm_cnn", channels=(32, 32)),
    "residual_cnn": ResidualCNNConfig(name="residual_cnn", channels=(32, 64), blocks=(1, 1)),
    "flip-equivariant": ResidualCNNConfig(
        name="residual_cnn", channels=(32, 64), blocks=(1, 1), flip_equivariant=True
    ),
}
IMAGES = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8)


def make_network(kernels, config=CONFIGS["residual_cnn"]):
    torch.manual_seed(0)
    network = build_model(config, 28, 10)
    place_network(network, torch.device("cpu"))
    set_kernels(network, kernels)
    return network


def predict(network):
    with torch.no_grad():
        return network.eval()(IMAGES)


def train(network, steps=3):
    """Return all weights and buffers after a few steps."""
    optimizer = build_optimizer(AdamConfig(name="adam", learning_rate=0.01), network)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(network(IMAGES), LABELS).backward()
        optimizer.step()
    return torch.cat([t.flatten().double() for t in network.state_dict().values()])


@pytest.fixture(autouse=True)
def _need_native(compiled):
    reason = unavailable_reason()
    if reason:
        pytest.skip(f"no compiled kernels on this machine: {reason}")


def test_new_network_uses_pytorch():
    assert kernels_of(build_model(CONFIGS["residual_cnn"], 28, 10)) == "torch"


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_set_kernels_reaches_every_layer(config):
    network = make_network("native", config)
    layers = [layer for layer in network.modules() if isinstance(layer, KernelLayer)]
    assert kernels_of(network) == "native"
    assert all(layer.kernels is not None for layer in layers)
    set_kernels(network, "torch")
    assert kernels_of(network) == "torch"
    assert all(layer.kernels is None for layer in layers)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_kernels_change_only_rounding(config):
    native, torch_ = predict(make_network("native", config)), predict(make_network("torch", config))
    torch.testing.assert_close(native, torch_, rtol=1e-4, atol=1e-4)
    assert not torch.equal(native, torch_)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_kernels_change_only_rounding_in_bf16(config):
    exact = predict(make_network("torch", config))
    for kernels in ("native", "mixed"):
        with torch.autocast("cpu", torch.bfloat16):
            logits = predict(make_network(kernels, config)).float()
        assert (logits - exact).norm() < 0.05 * exact.norm()


def test_mixed_kernels_equal_native_ones_in_fp32():
    assert torch.equal(*(predict(make_network(kernels)) for kernels in ("native", "mixed")))


def test_unknown_kernels_are_rejected_by_name():
    with pytest.raises(ValueError, match="'fast': should be 'native', 'mixed' or 'torch'"):
        set_kernels(torch.nn.Linear(2, 2), "fast")


@pytest.mark.parametrize("kernels", ["native", "mixed", "torch"])
def test_copies_of_a_network_keep_its_kernels(kernels):
    network = make_network(kernels)
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    copies = copy.deepcopy(network), AveragedModel(network), torch.load(file, weights_only=False)
    for copied in copies:
        assert kernels_of(copied) == kernels
        assert torch.equal(predict(copied), predict(network))


def test_kernels_are_not_part_of_the_state_dict():
    native, torch_ = (make_network(kernels).state_dict() for kernels in ("native", "torch"))
    assert list(native) == list(torch_)


@pytest.mark.parametrize("kernels", ["native", "torch"])
def test_gradients_may_be_computed_after_a_switch(kernels):
    network = make_network(kernels)
    loss = F.cross_entropy(network(IMAGES), LABELS)
    set_kernels(network, "torch" if kernels == "native" else "native")
    loss.backward()
    gradients = [p.grad for p in network.parameters()]
    expected = make_network(kernels)
    F.cross_entropy(expected(IMAGES), LABELS).backward()
    for actual, parameter in zip(gradients, expected.parameters(), strict=True):
        assert torch.equal(actual, parameter.grad)


def test_models_with_different_kernels_coexist():
    alone = {kernels: train(make_network(kernels), steps=2) for kernels in ("native", "torch")}
    networks = {kernels: make_network(kernels) for kernels in alone}
    optimizers = {
        kernels: build_optimizer(AdamConfig(name="adam", learning_rate=0.01), network)
        for kernels, network in networks.items()
    }
    for _ in range(2):
        for kernels, network in networks.items():
            optimizers[kernels].zero_grad()
            F.cross_entropy(network(IMAGES), LABELS).backward()
            optimizers[kernels].step()
    for kernels, network in networks.items():
        tensors = [t.flatten().double() for t in network.state_dict().values()]
        assert torch.equal(torch.cat(tensors), alone[kernels])
    assert not torch.equal(alone["native"], alone["torch"])


@pytest.mark.parametrize(
    ("trains", "predicts", "threads"),
    [("native", "torch", 1), ("torch", "native", 1), ("native", "native", 2)],
)
def test_one_model_trains_while_another_predicts(trains, predicts, threads):
    torch.set_num_threads(threads)
    expected_weights = train(make_network(trains))
    expected_outputs = predict(make_network(predicts))
    predictor = make_network(predicts).eval()
    started, finished = threading.Event(), threading.Event()
    outputs, threads_used = [], set()

    def keep_predicting():
        while not finished.is_set() or not outputs:
            outputs.append(predict(predictor))
            threads_used.add(torch.get_num_threads())
            started.set()

    thread = threading.Thread(target=keep_predicting)
    thread.start()
    try:
        assert started.wait(60)
        weights = train(make_network(trains))
    finally:
        finished.set()
        thread.join()
    assert torch.equal(weights, expected_weights)
    assert all(torch.equal(output, expected_outputs) for output in outputs)
    assert threads_used == {threads}
