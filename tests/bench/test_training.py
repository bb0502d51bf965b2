"""Throughput of training, by the training loop of ``train``."""

import json

import pytest
import torch
from torch import nn

from fashioncnn.bench import training as module
from fashioncnn.bench.training import bench_training, flop_per_image, repeated_sketches
from fashioncnn.errors import OutOfMemoryError
from fashioncnn.models import build_model
from fashioncnn.settings import FashionCNNConfig
from fashioncnn.training.run import train_model


def test_operations_follow_from_the_shapes():
    first = 2 * 28 * 28 * 32 * 9
    others = 2 * (14 * 14 * 64 * 32 * 9 + 3136 * 256 + 256 * 10)
    network = build_model(FashionCNNConfig(), 28, 10)
    assert flop_per_image(network, 28, backward=False) == first + others
    # The backward pass computes gradients of inputs and weights; the images need none.
    assert flop_per_image(network, 28, backward=True) == 2 * first + 3 * others
    assert all(p.grad is None and p.device.type == "cpu" for p in network.parameters())


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, weight):
        ctx.save_for_backward(images)
        return images @ weight

    @staticmethod
    def backward(ctx, gradient):
        (images,) = ctx.saved_tensors
        return None, images.t() @ gradient


class ProductLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(784, 10))

    def forward(self, images):
        return Product.apply(images.flatten(1), self.weight)


def test_operations_of_custom_autograd_functions_are_counted():
    assert flop_per_image(ProductLayer(), 28, backward=True) == 2 * 2 * 784 * 10


def test_repeated_sketches_have_the_size_of_fashion_mnist():
    train = repeated_sketches().train
    assert train.images.shape == (60000, 28, 28)
    assert torch.bincount(torch.from_numpy(train.labels)).tolist() == [6000] * 10


def test_measured_training_is_the_one_of_train(small, tiny_settings):
    """The same number of steps gives the weights of `train_model`, across epochs and rounds."""
    settings = tiny_settings()
    training = module.EndlessTraining(settings, small)
    for steps in (3, 10, 7):  # an epoch has 10
        training.run(0, min_steps=steps)
    assert (training.state.progress.step, training.n) == (20, 300)
    expected = train_model(settings, small).model.network.state_dict()
    for name, values in training.state.network.state_dict().items():
        assert torch.equal(values, expected[name]), name


def test_round_ends_after_its_time(small, tiny_settings, monkeypatch):
    training = module.EndlessTraining(tiny_settings(), small)
    clock = iter(range(1000))
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    for _ in range(2):
        before = training.state.progress.step
        rate = training.run(20)
        steps = training.state.progress.step - before
        assert 2 < steps < 20
        assert 32 * steps / rate > 20


def test_learning_rate_is_constant_after_the_last_step_of_the_schedule(small, tiny_settings):
    settings = tiny_settings("schedule.name=linear", epochs=1)
    learning_rate = module.EndlessTraining(settings, small).state.learning_rate
    assert 0 < learning_rate(10**6) == learning_rate(9) < learning_rate(0)


def test_figures_belong_together(small, tiny_settings):
    lines = []
    result = bench_training(tiny_settings(), small, rounds=3, seconds=0.02, report=lines.append)
    rate = result["images_per_second"]
    assert sorted(result["rounds"])[1] == rate > 0
    assert result["seconds_per_epoch"] == pytest.approx(300 / rate)
    assert result["limit_gflops"] == max(result["limit_rounds"])
    gflops = rate * result["mflop_per_image"] / 1e3
    assert result["share_of_limit"] == pytest.approx(gflops / result["limit_gflops"])
    assert result["peak_memory_bytes"] > 50e6
    assert [line.partition(":")[0] for line in lines] == ["round 1/3", "round 2/3", "round 3/3"]
    json.dumps(result, allow_nan=False)


def test_batch_is_at_most_the_data(small, tiny_settings):
    settings = tiny_settings(batch_size=5000)
    result = bench_training(settings, small, rounds=1, seconds=0.01, report=lambda line: None)
    assert result["batch_size"] == 300


def test_kernels_do_not_change_the_counted_operations(small, tiny_settings):
    settings = tiny_settings("model.channels=[32, 64]", "model.hidden=256", kernels="auto")
    result = bench_training(settings, small, rounds=1, seconds=0.01, report=lambda line: None)
    assert result["mflop_per_image"] == 27.411456


def test_random_numbers_of_the_caller_are_not_changed(small, tiny_settings):
    before = torch.get_rng_state()
    bench_training(tiny_settings(), small, rounds=1, seconds=0.01, report=lambda line: None)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["gpu", "cpu"],
)
def test_too_little_memory_is_reported_with_the_batch_size(
    small, tiny_settings, monkeypatch, error
):
    def fail(*_):
        raise error

    monkeypatch.setattr(module, "fit", fail)
    with pytest.raises(OutOfMemoryError, match=r"batch_size = 32: .* on cpu; try a smaller"):
        bench_training(tiny_settings(), small, rounds=1, seconds=0.01, report=print)
