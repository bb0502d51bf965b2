"""The code of a worker process, run in this process."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.config import override
from fashioncnn.data.load import load_dataset
from fashioncnn.errors import OutOfMemoryError
from fashioncnn.tuning import worker
from fashioncnn.tuning.worker import (
    SearchEnded,
    TrialCallback,
    WorkerTask,
    run_worker,
    train_trial,
)


class FakePipe:
    """A connection that receives a list of messages and then is closed."""

    def __init__(self, *messages):
        self.messages = list(messages)
        self.events = []

    def send(self, event):
        self.events.append(event)

    def recv(self):
        if not self.messages:
            raise EOFError
        return self.messages.pop(0)


def task_for(source="sketches", sha256="", search_pid=None):
    return WorkerTask(0, str(source), None, sha256, search_pid or os.getppid())


def train(settings, dataset, *replies, **task):
    """Return the events of the epochs, and the result."""
    pipe = FakePipe(*replies)
    result = train_trial(settings, dataset, TrialCallback(pipe, task_for(**task)))
    return [event for event in pipe.events if event.kind != "progress"], result


def test_trial_reports_its_epochs_and_result(config, small):
    epochs, result = train(config.settings, small, True, True)
    assert [event.epoch for event in epochs] == [1, 2]
    assert result.kind == "complete"
    assert result.loss == pytest.approx(epochs[-1].loss, rel=1e-6)
    assert result.accuracy == epochs[-1].accuracy
    assert result.seconds > 0


def test_pruned_trial_ends_after_the_epoch(config, small):
    epochs, result = train(config.settings, small, False)
    assert len(epochs) == 1
    assert (result.kind, result.accuracy) == ("pruned", epochs[0].accuracy)


def test_diverged_trial_fails(config, small):
    sgd = {"optimizer.name": "sgd", "optimizer.learning_rate": 1e12}
    _, result = train(override(config.settings, sgd), small, True, True)
    assert (result.kind, result.unexpected) == ("failed", False)
    assert "--learning-rate" in result.reason


def test_trial_with_infinite_loss_fails(config, small, monkeypatch):
    predictions = SimpleNamespace(
        logits=np.float32([[-np.inf, 0.0]]), labels=np.zeros(1, dtype=np.uint8)
    )
    result = SimpleNamespace(
        metrics={"validation": {"accuracy": 0.1}}, predictions={"validation": predictions}
    )
    monkeypatch.setattr(worker, "train_model", lambda *_, **__: result)
    _, result = train(config.settings, small)
    assert (result.kind, result.reason) == ("failed", "validation loss = inf")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OutOfMemoryError("not enough memory"), "not enough memory"),
        (ZeroDivisionError("by zero\nhere"), "ZeroDivisionError: by zero"),
        (RuntimeError(), "RuntimeError: "),
    ],
)
def test_failure_with_other_causes_than_the_settings_is_unexpected(
    config, small, monkeypatch, error, reason
):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(worker, "train_model", fail)
    _, result = train(config.settings, small)
    assert (result.kind, result.reason, result.unexpected) == ("failed", reason, True)


def test_trial_ends_if_the_search_has_died(config, small):
    with pytest.raises(SearchEnded):
        train(config.settings, small, True, True, search_pid=-1)


def test_trial_ends_if_the_pipe_is_closed(config, small):
    with pytest.raises(SearchEnded):
        train(config.settings, small)


@pytest.fixture
def load(monkeypatch, small):
    monkeypatch.setattr(worker, "load_dataset", lambda *_, **__: small)


def test_worker_trains_trials_without_the_test_split_until_the_pipe_closes(
    config, small, load, monkeypatch
):
    datasets = []
    train_model = worker.train_model

    def record(settings, dataset, **options):
        datasets.append(dataset)
        return train_model(settings, dataset, **options)

    monkeypatch.setattr(worker, "train_model", record)
    pipe = FakePipe(config.settings, True, True, config.settings, False)
    run_worker(pipe, task_for(sha256=small.train.sha256))
    kinds = [event.kind for event in pipe.events if event.kind != "progress"]
    assert kinds == ["ready", "epoch", "epoch", "complete", "epoch", "pruned"]
    assert [dataset.test for dataset in datasets] == [None, None]


def test_worker_uses_the_threads_of_the_settings(config, small, load, monkeypatch):
    threads = []
    monkeypatch.setattr(worker, "configure_process", threads.append)
    run_worker(FakePipe(config.settings, False), task_for(sha256=small.train.sha256))
    assert threads == [torch.get_num_threads()] == [config.settings.runtime.threads]


def test_worker_ends_after_an_unexpected_failure(config, small, load, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("GPU error")

    monkeypatch.setattr(worker, "train_model", fail)
    pipe = FakePipe(config.settings, config.settings)
    run_worker(pipe, task_for(sha256=small.train.sha256))
    assert [event.kind for event in pipe.events] == ["ready", "failed"]


def test_worker_is_unusable_if_the_data_changed(idx_folder):
    pipe = FakePipe()
    run_worker(pipe, task_for(idx_folder, sha256="0"))
    (event,) = pipe.events
    assert event.kind == "unusable"
    assert event.reason == f"{idx_folder}: changed since the search started"


def test_worker_is_unusable_without_data():
    pipe = FakePipe()
    run_worker(pipe, task_for("nowhere"))
    assert pipe.events[0].kind == "unusable"


def test_worker_loads_the_data_of_the_search(idx_folder):
    pipe = FakePipe()
    run_worker(pipe, task_for(idx_folder, load_dataset(str(idx_folder)).train.sha256))
    assert [event.kind for event in pipe.events] == ["ready"]
