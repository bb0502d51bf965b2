"""Callbacks of the training loop: evaluation, selection of weights, stopping on request."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fashioncnn.errors import DivergedError, InterruptedRun
from fashioncnn.evaluation.metrics import accuracy, cross_entropy
from fashioncnn.models.backend import compute_logits, to_tensor
from fashioncnn.settings import TrainingConfig
from fashioncnn.training.callbacks import (
    Callback,
    EvaluateSplits,
    KeepBest,
    StopEarly,
    StopOnRequest,
    WarnOfDivergence,
)
from fashioncnn.training.summary import epochs_without_improvement


def make_state(network):
    """Return the attributes of a train state that `KeepBest` uses."""
    return SimpleNamespace(model=SimpleNamespace(network=network))


def test_splits_are_evaluated_with_the_model_of_the_state(small, tiny_result):
    model, images = tiny_result.model, to_tensor(small.test.images, torch.device("cpu"))
    state = SimpleNamespace(
        model=model, precision="fp32", require_finite_weights=lambda: None, evaluated={}
    )
    record = {"epoch": 1}
    first = small.test.subset(np.arange(40))
    splits = {"val": (images[:40], first), "test": (images, small.test)}
    EvaluateSplits(splits).on_epoch(state, record)
    logits = compute_logits(model.network, model.spec.preprocessing, images)
    assert record == {
        "epoch": 1,
        "val_loss": cross_entropy(logits[:40], small.test.labels[:40]),
        "val_accuracy": accuracy(logits[:40], small.test.labels[:40]),
        "test_loss": cross_entropy(logits, small.test.labels),
        "test_accuracy": accuracy(logits, small.test.labels),
    }


def test_loss_of_a_split_that_is_not_finite_is_reported(small, tiny_result, monkeypatch):
    infinite = np.full((4, 10), np.nan, np.float32)
    monkeypatch.setattr("fashioncnn.training.callbacks.compute_logits", lambda *_: infinite)
    state = SimpleNamespace(
        model=tiny_result.model, precision="fp32", require_finite_weights=lambda: None
    )
    splits = {"val": (torch.zeros(4, 1, 28, 28), small.test.subset(np.arange(4)))}
    with pytest.raises(DivergedError, match="the validation loss became nan after epoch 3"):
        EvaluateSplits(splits).on_epoch(state, {"epoch": 3})


@pytest.mark.parametrize(("select_by", "expected"), [("loss", 2), ("accuracy", 3)])
def test_weights_of_the_best_epoch_are_kept(select_by, expected):
    config = TrainingConfig(select="best_val", select_by=select_by)
    best, layer = KeepBest(config), nn.Linear(1, 1)
    curve = [(0.9, 0.5), (0.3, 0.7), (0.4, 0.8), (0.5, 0.8)]
    for epoch, (loss, correct) in enumerate(curve, 1):
        nn.init.constant_(layer.weight, epoch)
        record = {"epoch": epoch, "val_loss": loss, "val_accuracy": correct}
        best.on_epoch(make_state(layer), record)
    assert best.epoch == expected
    assert best.tensors["weight"].item() == expected


def test_no_weights_are_kept_if_the_last_ones_are_selected():
    best = KeepBest(TrainingConfig(select="last"))
    best.on_epoch(make_state(nn.Linear(1, 1)), {"epoch": 1, "val_loss": 0.1, "val_accuracy": 1.0})
    assert (best.tensors, best.epoch, best.score) == ({}, 0, -math.inf)


def test_stop_on_request_saves_before_it_stops():
    reasons, saved = iter([None, InterruptedRun("stopped")]), []
    callback = StopOnRequest(lambda: next(reasons), saved.append)
    callback.on_step("first")
    assert saved == []
    with pytest.raises(InterruptedRun):
        callback.on_step("second")
    assert saved == ["second"]


def test_callback_without_methods_does_nothing():
    callback = Callback()
    assert callback.on_start(None, 1) is None
    assert callback.on_step(None) is None
    assert callback.on_epoch(None, {}) is None
    assert callback.on_end(None) is None
    assert callback.on_artifacts(None) is None


def history(*losses):
    """Return the records of epochs with these validation losses."""
    return [{"epoch": e, "val_loss": v, "val_accuracy": v} for e, v in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("losses", "select_by", "expected"),
    [
        ([], "loss", 0),
        ([0.5], "loss", 0),
        ([0.5, 0.4, 0.3], "loss", 0),
        ([0.5, 0.4, 0.4, 0.6], "loss", 2),
        ([0.5, 0.4, 0.4, 0.6], "accuracy", 0),
        ([0.5, 0.4, 0.4, 0.5], "accuracy", 3),
    ],
)
def test_epochs_without_improvement_are_counted_from_the_first_best_one(
    losses, select_by, expected
):
    assert epochs_without_improvement(history(*losses), select_by) == expected


@pytest.mark.parametrize(("patience", "stops_at"), [(1, 4), (2, 5), (3, None), (0, None)])
def test_training_stops_after_the_patience(patience, stops_at):
    callback = StopEarly(TrainingConfig(patience=patience))
    records = history(0.5, 0.4, 0.3, 0.35, 0.32, 0.2)
    for record in records:
        state = SimpleNamespace(history=records[: record["epoch"]], stop_reason="")
        callback.on_epoch(state, record)
        if state.stop_reason:
            assert record["epoch"] == stops_at
            assert record["epochs_without_improvement"] == patience
            assert f"no better validation loss for {patience} epoch" in state.stop_reason
            return
    assert stops_at is None


def make_loss_state(temperature=1.0):
    spec, loss = SimpleNamespace(labels=range(10)), SimpleNamespace(temperature=temperature)
    return SimpleNamespace(spec=spec, loss=loss)


@pytest.mark.parametrize(
    ("losses", "temperature", "epochs"),
    [
        ([2.4, 1.0, 0.5], 1, []),
        ([20.0, 2.3], 1, []),
        ([2.0, 4.5, 4.7, 900.0], 1, [3]),
        ([24.0, 30.0], 1, [1]),
        ([2.0, 60.0], 4, []),
        ([2.0, 80.0], 4, [2]),
    ],
)
def test_loss_far_above_guessing_is_reported_once(losses, temperature, epochs):
    messages = []
    callback = WarnOfDivergence(messages.append)
    for epoch, loss in enumerate(losses, 1):
        callback.on_epoch(make_loss_state(temperature), {"epoch": epoch, "train_loss": loss})
    assert [int(m.split("epoch ")[1].split()[0]) for m in messages] == epochs
    assert all(m.endswith("training diverges; try a lower learning rate") for m in messages)
