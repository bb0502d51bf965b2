"""One optimization step, and the learning rates of parameter groups."""

import torch
import torch.nn.functional as F
from torch import nn

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.settings import FashionCNNConfig
from fashioncnn.training.batches import Batch
from fashioncnn.training.losses import Loss
from fashioncnn.training.state import TrainState
from fashioncnn.training.step import GraphedStep, make_step, set_learning_rate, train_step

SPEC = ModelSpec(
    architecture=FashionCNNConfig(),
    labels=("a", "b", "c"),
    preprocessing=Preprocessing(4, 0.5, 0.25, "fashion"),
    dataset="own",
)


def make_state(precision="fp32"):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    return TrainState(network, SPEC, optimizer, lambda step: 0.1, Loss(), 1, 0, precision)


def make_batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return Batch(images, torch.randint(0, 3, (5,), generator=generator))


def test_step_returns_loss_and_correct_predictions_before_the_update():
    state, batch = make_state(), make_batch()
    weight, bias = (p.detach().clone() for p in state.network.parameters())
    loss, correct = train_step(state, batch)
    inputs = (batch.images.float().flatten(1) / 255 - 0.5) / 0.25
    logits = F.linear(inputs, weight, bias)
    torch.testing.assert_close(loss, F.cross_entropy(logits, batch.labels))
    assert correct == (logits.argmax(1) == batch.labels).sum()
    assert not loss.requires_grad
    gradient = (logits.softmax(1) - F.one_hot(batch.labels, 3)) / 5
    updated = weight - 0.1 * gradient.T @ inputs
    torch.testing.assert_close(state.network[1].weight.detach(), updated)


def test_gradients_do_not_accumulate():
    state, batch = make_state(), make_batch()
    state.optimizer.param_groups[0]["momentum"] = 0
    before = state.network[1].weight.detach().clone()
    set_learning_rate(state.optimizer, 0.0)
    train_step(state, batch)
    train_step(state, batch)
    first = state.network[1].weight.grad.clone()
    assert torch.equal(state.network[1].weight, before)
    train_step(state, batch)
    assert torch.equal(state.network[1].weight.grad, first)


def test_bf16_step_computes_the_network_in_bf16_and_the_loss_in_fp32():
    state, dtypes = make_state(precision="bf16"), []
    state.network.register_forward_hook(lambda module, args, output: dtypes.append(output.dtype))
    loss, _ = train_step(state, make_batch())
    assert dtypes == [torch.bfloat16]
    assert loss.dtype == state.network[1].weight.dtype == torch.float32


def test_learning_rate_is_scaled_by_group():
    layers = [nn.Linear(1, 1) for _ in range(3)]
    groups = [{"params": layer.parameters(), "lr": 1.0} for layer in layers]
    groups[1]["scale"] = 0.5
    optimizer = torch.optim.SGD(groups)
    rate = optimizer.param_groups[2]["lr"] = torch.tensor(1.0)
    set_learning_rate(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups[:2]] == [0.2, 0.1]
    assert optimizer.param_groups[2]["lr"] is rate
    assert rate == torch.tensor(0.2)


def test_step_on_the_cpu_is_not_a_graph():
    assert not isinstance(make_step(make_state()), GraphedStep)
