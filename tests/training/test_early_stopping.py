"""Early stopping: a training ends after `patience` epochs without improvement."""

import contextlib
import itertools
from functools import partial

import pytest

from fashioncnn.errors import InterruptedRun
from fashioncnn.runs import create_run
from fashioncnn.training.run import train_model

PATIENT = {"epochs": 9, "patience": 2, "validation": 20, "track_test": False}


def test_patience_ends_training_and_the_run_says_why(mini, tiny_settings, tmp_path, monkeypatch):
    losses = iter([0.9, 0.5, 0.6, 0.7, 0.1])
    monkeypatch.setattr("fashioncnn.training.callbacks.cross_entropy", lambda *_: next(losses))
    settings = tiny_settings(dataset=mini, select="best_val", **PATIENT)
    run = create_run(tmp_path / "run", settings)
    summary = train_model(settings, mini, run=run).metrics["summary"]
    assert summary["epochs"] == 4
    assert summary["selected_epoch"] == 2
    assert summary["stopped_early"] == "no better validation loss for 2 epochs"
    waited = [record["epochs_without_improvement"] for record in run.read_history()]
    assert waited == [0, 0, 1, 2]
    card = (run.model / "README.md").read_text()
    assert "**Stopped early**: after 4 of 9 epochs, no better validation loss for 2" in card
    run.read_metrics()


def test_patience_that_is_not_used_up_leaves_the_training_as_it_is(train):
    plain = train("data.validation=20")
    patient = train("data.validation=20", patience=5)
    assert "stopped_early" not in patient.metrics["summary"]
    assert patient.model.sha256 == plain.model.sha256


def test_patience_reached_in_the_last_epoch_is_not_early(train, monkeypatch):
    losses = iter([0.5, 0.6])
    monkeypatch.setattr("fashioncnn.training.callbacks.cross_entropy", lambda *_: next(losses))
    result = train("data.validation=20", patience=1, epochs=2, track_test=False)
    summary = result.metrics["summary"]
    assert summary["epochs"] == 2
    assert "stopped_early" not in summary


def test_training_resumed_with_patience_ends_like_an_uninterrupted_one(
    mini, tiny_settings, tmp_path, files_of
):
    settings = tiny_settings(dataset=mini, **{**PATIENT, "learning_rate": 1.0})
    whole = create_run(tmp_path / "whole", settings)
    with pytest.warns(UserWarning, match="training diverges"):
        train_model(settings, mini, run=whole)
    assert len(whole.read_history()) < 9
    resumed = create_run(tmp_path / "resumed", settings)
    for _ in range(20):
        steps = itertools.count()
        stop = partial(lambda s: InterruptedRun("x") if next(s) == 2 else None, steps)
        with contextlib.suppress(InterruptedRun):
            train_model(settings, mini, run=resumed, notify=lambda m: None, stop=stop)
            break
    assert files_of(resumed) == files_of(whole)
