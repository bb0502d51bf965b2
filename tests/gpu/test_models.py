"""Networks and optimizers on a CUDA device: agreement with the CPU, no waiting, CUDA graphs."""

import pytest
import torch
import torch.nn.functional as F

from fashioncnn.models import build_model, place_network
from fashioncnn.settings import (
    AdamConfig,
    BatchNormCNNConfig,
    FashionCNNConfig,
    MuonConfig,
    ResidualCNNConfig,
    SGDConfig,
)
from fashioncnn.training.optimizers import build_optimizer, orthogonalize

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda")
CONFIGS = {
    "fashion_cnn": FashionCNNConfig(dropout=0.0),
    "batchnorm_cnn": BatchNormCNNConfig(name="batchnorm_cnn"),
    "residual_cnn": ResidualCNNConfig(name="residual_cnn"),
    "flip-equivariant": ResidualCNNConfig(name="residual_cnn", flip_equivariant=True),
}
OPTIMIZERS = {
    "adam": AdamConfig(name="adam", learning_rate=0.01),
    "adamw": AdamConfig(name="adamw", learning_rate=0.01, weight_decay=0.1),
    "sgd": SGDConfig(name="sgd", learning_rate=0.01, momentum=0.9),
    "muon": MuonConfig(
        name="muon", learning_rate=0.1, adam_learning_rate=0.01, weight_decay=0.1, momentum=0.9
    ),
}
IMAGES = torch.randn(32, 1, 28, 28, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(32) % 10


def make_network(config, device=CUDA):
    torch.manual_seed(0)
    network = build_model(config, 28, 10)
    place_network(network, device)
    return network


def backward(network, images, labels, bf16):
    """Compute the gradients of a batch; return the logits."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        logits = network(images).float()
    network.zero_grad()
    F.cross_entropy(logits, labels).backward()
    return logits


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_logits_and_gradients_under_bf16_autocast_are_near_those_of_the_cpu(config):
    results = []
    for device, bf16 in ((CUDA, True), (torch.device("cpu"), False)):
        network = make_network(config, device)
        logits = backward(network, IMAGES.to(device), LABELS.to(device), bf16)
        gradients = torch.cat([p.grad.flatten() for p in network.parameters()])
        results.append([logits.detach().cpu(), gradients.cpu()])
    # bfloat16 moves some maxima of pooling windows, which the gradients show.
    for cuda, cpu, tolerance in zip(*results, (0.05, 0.3), strict=True):
        assert (cuda - cpu).norm() / cpu.norm() < tolerance


@pytest.mark.parametrize("optimizer_config", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_step_never_waits_for_the_device(config, optimizer_config):
    network, images, labels = make_network(config), IMAGES.to(CUDA), LABELS.to(CUDA)
    optimizer = build_optimizer(optimizer_config, network)
    for step in range(3):
        torch.cuda.set_sync_debug_mode("error" if step else "default")
        try:
            backward(network, images, labels, bf16=True)
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("optimizer_config", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_captured_steps_read_the_present_learning_rate(optimizer_config):
    """Compare with direct steps; atomic additions in cuDNN may change the order of sums."""
    torch.backends.cudnn.deterministic = True
    images, labels = IMAGES.to(CUDA), LABELS.to(CUDA)
    warmup, rates = 3, [0.01] * 3 + [0.02, 0.0, 0.005]
    weights = []
    for captured in (True, False):
        network = make_network(CONFIGS["residual_cnn"])
        optimizer = build_optimizer(optimizer_config, network)
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(0.0, device=CUDA)

        def train_step(network=network, optimizer=optimizer):
            backward(network, images, labels, bf16=False)
            optimizer.step()

        graph = torch.cuda.CUDAGraph()
        for step, rate in enumerate(rates):
            for group in optimizer.param_groups:
                group["lr"].fill_(rate)
            if captured and step == warmup:
                torch.cuda.synchronize()
                with torch.cuda.graph(graph):
                    train_step()
            if captured and step >= warmup:
                graph.replay()
            elif captured:
                stream = torch.cuda.Stream()
                stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(stream):
                    train_step()
                torch.cuda.current_stream().wait_stream(stream)
            else:
                train_step()
        weights.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    torch.backends.cudnn.deterministic = False
    difference = (weights[0] - weights[1]).norm() / weights[1].norm()
    assert difference < 1e-3, f"relative difference {difference:.1e}"


def test_error_of_orthogonalize_is_that_of_bf16():
    matrices = torch.randn(4, 64, 576, generator=torch.Generator().manual_seed(0))
    expected, actual = orthogonalize(matrices), orthogonalize(matrices.to(CUDA))
    assert actual.dtype == torch.float32
    error = (actual.cpu() - expected).norm()
    error_on_cpu = (orthogonalize(matrices.bfloat16()).float() - expected).norm()
    assert error < 1.2 * error_on_cpu, f"{error:.3f}, on the CPU {error_on_cpu:.3f}"
