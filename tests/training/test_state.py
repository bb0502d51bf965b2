"""Progress of a training, and the records of its epochs."""

import math

import pytest
import torch
from torch import nn

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.errors import DivergedError
from fashioncnn.settings import FashionCNNConfig
from fashioncnn.training.ema import EMA
from fashioncnn.training.losses import Loss
from fashioncnn.training.state import MAX_PENDING, Progress, TrainState

SPEC = ModelSpec(
    architecture=FashionCNNConfig(),
    labels=("a", "b"),
    preprocessing=Preprocessing(28, 0.0, 1.0, "fashion"),
    dataset="own",
)


def make_state(ema=False, **values):
    network = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    average = EMA(network, 0.9) if ema else None
    return TrainState(
        network, SPEC, optimizer, lambda step: step / 100, Loss(), 2, seed=0, ema=average, **values
    )


def test_progress_sums_losses_over_images():
    progress = Progress()
    for loss, correct, n in ((0.5, 2, 3), (1.0, 1, 5)):
        progress.add(torch.tensor(loss), torch.tensor(correct), n)
    progress.settle()
    assert (progress.step, progress.position, progress.correct) == (2, 8, 3)
    assert progress.loss_sum == 0.5 * 3 + 1.0 * 5


def test_loss_that_is_not_finite_is_reported_with_epoch_and_step():
    progress = Progress(epoch=3)
    progress.add(torch.tensor(0.5), torch.tensor(0), 4)
    progress.add(torch.tensor(math.nan), torch.tensor(0), 4)
    with pytest.raises(DivergedError, match="the loss became nan in epoch 4, by step 2"):
        progress.settle()


def test_losses_are_read_after_a_bounded_number_of_steps():
    progress = Progress()
    for _ in range(MAX_PENDING - 1):
        progress.add(torch.tensor(math.inf), torch.tensor(0), 1)
    with pytest.raises(DivergedError):
        progress.add(torch.tensor(math.inf), torch.tensor(0), 1)


def test_saved_progress_is_restored():
    progress = Progress(epoch=1, step=7, position=32, loss_sum=2.5, correct=9, seconds=0.25)
    values = progress.to_dict()
    assert Progress.from_dict(values) == progress
    del values["correct"]
    with pytest.raises(KeyError):
        Progress.from_dict(values)


def test_record_has_means_over_the_epoch():
    state = make_state()
    state.progress.add(torch.tensor(0.5), torch.tensor(2), 3)
    state.progress.add(torch.tensor(1.0), torch.tensor(1), 5)
    state.progress.seconds = 2.0
    record = state.finish_epoch()
    assert record == {
        "epoch": 1,
        "train_loss": (0.5 * 3 + 1.0 * 5) / 8,
        "train_accuracy": 3 / 8,
        "val_loss": None,
        "val_accuracy": None,
        "test_loss": None,
        "test_accuracy": None,
        "learning_rate": 0.01,
        "seconds": 2.0,
        "images_per_second": 4.0,
    }
    assert state.history == [record]
    assert state.progress == Progress(epoch=1, step=2)


def test_evaluated_model_is_the_moving_average_if_there_is_one():
    plain, averaged = make_state(), make_state(ema=True)
    assert plain.model.network is plain.network
    assert averaged.model.network is averaged.ema.network


def test_weights_that_are_not_finite_are_rejected():
    state = make_state()
    state.require_finite_weights()
    state.network.bias.data[1] = math.inf
    with pytest.raises(DivergedError, match="the weights are not finite after step 0"):
        state.require_finite_weights()


def test_state_with_another_specification_shares_weights_and_history():
    state = make_state(name="student")
    other = state.with_spec(dataset="other")
    assert (other.spec.dataset, state.spec.dataset) == ("other", "own")
    assert other.network is state.network
    assert other.history is state.history
    assert other.name == "student"
