"""The training loop against a plain loop, recorded losses, and the order of its callbacks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.config import resolve
from fashioncnn.data.seeding import dropout_seed, epoch_order
from fashioncnn.errors import DivergedError
from fashioncnn.models import build_model
from fashioncnn.models.backend import to_tensor
from fashioncnn.settings import FashionCNNConfig
from fashioncnn.training.batches import Batches
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.initialize import create_batches, create_state
from fashioncnn.training.loop import fit
from fashioncnn.training.losses import Loss
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.state import TrainState

CPU = torch.device("cpu")
NETWORK = FashionCNNConfig(channels=(4, 8), hidden=16)


def build_network():
    torch.manual_seed(1)
    return build_model(NETWORK, 28, 10)


@pytest.fixture
def batches(small):
    labels = torch.from_numpy(small.train.labels.astype(np.int64))
    return Batches(to_tensor(small.train.images, CPU), labels, classes=10, batch_size=64, seed=5)


@pytest.fixture
def make_state(small):
    def make(epochs=1, learning_rate=lambda step: 0.05):
        network = build_network()
        spec = ModelSpec(
            architecture=NETWORK,
            labels=small.class_names,
            preprocessing=Preprocessing(28, 0.0, 1.0, "fashion"),
            dataset="sketches",
        )
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        return TrainState(network, spec, optimizer, learning_rate, Loss(), epochs, seed=5)

    return make


class Recorder(Callback):
    """Records the calls of the loop."""

    def __init__(self, name="", events=None):
        self.name, self.events = name, [] if events is None else events

    def on_start(self, state, images):
        self.events.append((self.name, "start", images))

    def on_step(self, state):
        self.events.append((self.name, "step", state.progress.step))

    def on_epoch(self, state, record):
        self.events.append((self.name, "epoch", record["epoch"]))

    def on_end(self, state):
        self.events.append((self.name, "end", state.progress.epoch))


class StopError(Exception):
    """Stands for anything that ends a training."""


class StopAfter(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, state):
        if state.progress.step == self.step:
            raise StopError


def test_fit_equals_a_plain_training_loop(small, batches, make_state):
    state = make_state(epochs=2)
    fit(state, batches)
    reference, losses, step = build_network(), [], 0
    images = torch.from_numpy(small.train.images).unsqueeze(1).float() / 255
    labels = torch.from_numpy(small.train.labels.astype(np.int64))
    for epoch in range(2):
        total = 0.0
        for indices in np.split(epoch_order(5, epoch, 300), range(64, 300, 64)):
            torch.manual_seed(dropout_seed(5, step))
            loss = F.cross_entropy(reference(images[indices]), labels[indices])
            reference.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in reference.parameters():
                    parameter.sub_(0.05 * parameter.grad)
            total += loss.item() * len(indices)
            step += 1
        losses.append(total / 300)
    assert state.progress.step == step == 10
    assert [record["train_loss"] for record in state.history] == pytest.approx(losses, rel=1e-5)
    for trained, expected in zip(state.network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(trained, expected)


GOLDEN_LOSSES = [0.8788, 0.2540, 0.1721]
"""Training losses of `golden_losses`, recorded on x86-64 with PyTorch 2.13 on one thread."""
GOLDEN_TOLERANCE = 0.03
"""Initial weights changed by 1e-5 change the losses by 0.003."""


def golden_losses(sketches, label_smoothing):
    """Train a small batch-norm network on 600 sketches for three epochs."""
    dataset = replace(sketches, train=sketches.train.subset(np.arange(600)))
    assignments = [
        "model.name=batchnorm_cnn",
        "model.channels=[8, 16]",
        "optimizer.learning_rate=0.01",
        f"training.label_smoothing={label_smoothing}",
    ]
    flags = {"epochs": 3, "batch_size": 50, "device": "cpu", "kernels": "torch"}
    resolved = resolve(flags=flags, assignments=assignments, environment={})
    settings = prepare_settings(resolved, dataset)
    state = create_state(settings, dataset.train, dataset, CPU)
    fit(state, create_batches(settings, dataset.train, dataset, CPU))
    return [record["train_loss"] for record in state.history]


def test_losses_fall_below_one_as_recorded(sketches):
    assert golden_losses(sketches, 0.0) == pytest.approx(GOLDEN_LOSSES, abs=GOLDEN_TOLERANCE)


def test_recorded_losses_detect_label_smoothing_of_one_percent(sketches):
    differences = np.subtract(golden_losses(sketches, 0.01), GOLDEN_LOSSES)
    assert (differences > 1.5 * GOLDEN_TOLERANCE).all()


def test_callbacks_are_called_in_their_order(batches, make_state):
    events = []
    fit(make_state(epochs=2), batches, [Recorder("first", events), Recorder("second", events)])
    expected = [
        ("start", 300),
        *(("step", step) for step in range(1, 6)),
        ("epoch", 1),
        *(("step", step) for step in range(6, 11)),
        ("epoch", 2),
        ("end", 2),
    ]
    assert events == [(name, *event) for event in expected for name in ("first", "second")]


def test_learning_rate_is_requested_for_each_step(batches, make_state):
    steps = []

    def learning_rate(step):
        steps.append(step)
        return 0.0

    state = make_state(learning_rate=learning_rate)
    fit(state, batches)
    assert steps[:5] == list(range(5))
    assert state.history[0]["learning_rate"] == 0
    for trained, initial in zip(
        state.network.parameters(), build_network().parameters(), strict=True
    ):
        assert torch.equal(trained, initial)


@pytest.mark.parametrize("stop", [1, 4, 5, 7])
def test_fit_resumes_within_an_epoch(stop, batches, make_state):
    whole, state = make_state(epochs=2), make_state(epochs=2)
    fit(whole, batches)
    with pytest.raises(StopError):
        fit(state, batches, [StopAfter(stop)])
    recorder = Recorder()
    fit(state, batches, [recorder])
    assert recorder.events[0] == ("", "start", 300)
    steps = [number for _, kind, number in recorder.events if kind == "step"]
    assert steps == list(range(stop + 1, 11))
    for key in ("epoch", "train_loss", "train_accuracy", "learning_rate"):
        assert [r[key] for r in state.history] == [r[key] for r in whole.history]
    for resumed, expected in zip(
        state.network.parameters(), whole.network.parameters(), strict=True
    ):
        assert torch.equal(resumed, expected)


def test_network_is_in_training_mode(batches, make_state):
    class Check(Callback):
        def on_step(self, state):
            assert state.network.training

    state = make_state()
    state.network.eval()
    fit(state, batches, [Check()])


def test_loss_that_is_not_finite_ends_the_training(batches, make_state):
    state = make_state(epochs=30, learning_rate=lambda step: 1e30)
    with pytest.raises(DivergedError, match=r"the loss became (nan|inf) in epoch") as caught:
        fit(state, batches)
    assert "\n" not in str(caught.value)
