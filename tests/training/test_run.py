"""Whole trainings: files, splits, selection of weights."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fashioncnn.data.splits import folds
from fashioncnn.errors import DataError, DivergedError, InterruptedRun, OutOfMemoryError, RunError
from fashioncnn.runs import create_run
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model


def test_run_folder_has_the_documented_files(mini, tiny_settings, tmp_path):
    settings = tiny_settings("data.validation=20", dataset=mini)
    run = create_run(tmp_path / "run", settings)
    train_model(settings, mini, run=run)
    assert {path.name for path in run.path.iterdir()} == {
        "config.toml",
        "environment.json",
        "history.jsonl",
        "metrics.json",
        "predictions.npz",
        "checkpoints",
        "model",
    }
    assert {path.name for path in run.model.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
    }
    assert run.settings() == settings
    environment = run.read_environment()
    assert environment["data"] == {"name": "sketches", "sha256": mini.hashes}
    assert environment["threads"] == 1
    assert not {"initialized_from", "teachers"} & environment.keys()


def test_metrics_and_history_belong_together(train):
    result = train("data.validation=20")
    assert list(result.metrics) == ["schema", "validation", "test", "summary"]
    assert result.metrics["schema"] == 2
    summary, last = result.metrics["summary"], result.history[-1]
    assert summary["final_test_accuracy"] == result.metrics["test"]["accuracy"]
    assert summary["final_test_loss"] == result.metrics["test"]["loss"] == last["test_loss"]
    assert summary["final_validation_loss"] == result.metrics["validation"]["loss"]
    assert summary["final_train_loss"] == last["train_loss"]
    assert (summary["epochs"], summary["selected_epoch"]) == (2, 2)
    assert summary["seconds"] == sum(record["seconds"] for record in result.history)
    assert summary["peak_memory_bytes"] > 1e7
    assert json.loads(json.dumps(result.metrics, allow_nan=False)) == result.metrics


def test_predictions_have_the_indices_of_their_images(mini, train):
    predictions = train("data.validation=20").predictions
    assert list(predictions) == ["validation", "test"]
    validation = predictions["validation"]
    np.testing.assert_array_equal(validation.labels, mini.train.labels[validation.indices])
    assert len(set(validation.indices)) == 20
    np.testing.assert_array_equal(predictions["test"].indices, np.arange(40))


def test_test_split_is_not_read_unless_it_is_tracked(mini, train):
    without = replace(mini, test=None)
    result = train("training.track_test=false", "data.validation=20", dataset=without)
    assert result.metrics["test"] is None
    assert list(result.predictions) == ["validation"]
    assert all(record["test_accuracy"] is None for record in result.history)


def test_tracking_a_missing_test_split_is_rejected(mini, tiny_settings):
    with pytest.raises(DataError, match="no test split"):
        train_model(tiny_settings(dataset=mini), replace(mini, test=None))


def test_weights_of_the_best_validation_epoch_are_kept(small, train):
    settings = ["data.validation=60", "training.select=best_val", "optimizer.learning_rate=0.03"]
    by_loss = train(*settings, dataset=small, epochs=6)
    losses = [record["val_loss"] for record in by_loss.history]
    best = int(np.argmin(losses))
    assert best < 5, "the last epoch is the best one, so this test shows nothing"
    assert by_loss.metrics["summary"]["selected_epoch"] == best + 1
    assert by_loss.metrics["validation"]["loss"] == pytest.approx(losses[best])
    by_accuracy = train(*settings, "training.select_by=accuracy", dataset=small, epochs=6)
    accuracies = [record["val_accuracy"] for record in by_accuracy.history]
    assert by_accuracy.metrics["validation"]["accuracy"] == max(accuracies)


def test_averaged_weights_are_evaluated_and_kept(mini, tiny_settings):
    states = []

    class RecordWeights(Callback):
        def on_step(self, state):
            states.append({k: v.clone() for k, v in state.network.state_dict().items()})

    settings = tiny_settings("training.ema_decay=0.9", dataset=mini)
    result = train_model(settings, mini, callbacks=[RecordWeights()])
    average = states[0]
    for n, weights in enumerate(states[1:], 1):
        decay = min(0.9, (1 + n) / (10 + n))
        average = {k: decay * average[k] + (1 - decay) * weights[k] for k in average}
    for name, values in result.model.network.state_dict().items():
        torch.testing.assert_close(values, average[name], msg=name)
        assert not torch.equal(values, states[-1][name])
    assert result.metrics["test"]["parameters"] == result.model.parameters > 1000
    predicted = result.predictions["test"].logits.argmax(1)
    assert (predicted == mini.test.labels).mean() == result.metrics["test"]["accuracy"]


def test_divergence_keeps_the_last_finite_checkpoint(mini, tiny_settings, stop_after, tmp_path):
    settings = tiny_settings(
        "optimizer.name=sgd", "optimizer.learning_rate=1e12", dataset=mini, epochs=9
    )
    run = create_run(tmp_path / "run", settings)
    with pytest.raises(InterruptedRun):  # loss and weights of the first step are finite
        train_model(settings, mini, run=run, stop=stop_after(1))
    before = {path.name: path.read_bytes() for path in run.checkpoints.iterdir()}
    with pytest.raises(DivergedError):
        train_model(settings, mini, run=run)
    assert {path.name: path.read_bytes() for path in run.checkpoints.iterdir()} == before
    assert len(before) == 2


def test_weights_that_are_not_finite_after_the_last_step_are_detected(
    mini, tiny_settings, tmp_path
):
    """The loss of the only step is finite."""
    settings = tiny_settings(
        "optimizer.name=sgd",
        "optimizer.learning_rate=1e45",
        "training.track_test=false",
        dataset=mini,
        epochs=1,
        batch_size=100,
    )
    run = create_run(tmp_path / "run", settings)
    with pytest.raises(DivergedError, match="the weights are not finite after step 1"):
        train_model(settings, mini, run=run)
    assert not run.checkpoints.exists()
    assert not run.finished


def test_seed_determines_the_result(train):
    one, again, other = (train(seed=seed, epochs=1) for seed in (1, 1, 2))
    assert one.model.sha256 == again.model.sha256 != other.model.sha256


def test_initial_model_replaces_weights_and_architecture(mini, tiny_settings, tiny_result):
    settings = tiny_settings(
        "model.hidden=99", "optimizer.learning_rate=1e-12", dataset=mini, epochs=1
    )
    settings = prepare_settings(settings, mini, tiny_result.model)
    assert settings.model.hidden == 16
    result = train_model(settings, mini, initial=tiny_result.model)
    for trained, initial in zip(
        result.model.network.parameters(), tiny_result.model.network.parameters(), strict=True
    ):
        torch.testing.assert_close(trained, initial)


def test_callbacks_are_called_and_may_extend_records(mini, tiny_settings, tmp_path):
    calls = []

    class Extend(Callback):
        def on_start(self, state, images):
            calls.append(("start", images))

        def on_epoch(self, state, record):
            record["extra"] = record["epoch"] * 10
            calls.append(("epoch", record["test_accuracy"] is not None))

        def on_end(self, state):
            calls.append(("end", len(state.history)))

    settings = tiny_settings(dataset=mini)
    run = create_run(tmp_path / "run", settings)
    train_model(settings, mini, run=run, callbacks=[Extend()])
    assert calls == [("start", 100), ("epoch", True), ("epoch", True), ("end", 2)]
    assert [record["extra"] for record in run.read_history()] == [10, 20]


def test_too_little_memory_is_reported_with_the_batch_size(mini, tiny_settings, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr("fashioncnn.training.run.create_state", fail)
    message = "training with batch_size = 32: not enough memory on cpu; try a smaller --batch-size"
    with pytest.raises(OutOfMemoryError, match=message):
        train_model(tiny_settings(dataset=mini), mini)


def test_locked_teacher_is_rejected(mini, tiny_settings, tmp_path):
    run = create_run(tmp_path / "run", tiny_settings("distillation.ensemble_size=1", dataset=mini))
    run.teacher(1).path.mkdir(parents=True)
    with (
        run.teacher(1).lock(),
        pytest.raises(RunError, match="teachers/1: another process is training"),
    ):
        train_model(run.settings(), mini, run=run)


def test_modified_training_data_is_named_and_the_test_split_is_not_changed(
    small, tiny_settings, tmp_path
):
    settings = tiny_settings(
        "data.fraction=0.5", "data.label_noise=0.2", fold="1/5", track_test=True, epochs=1
    )
    run = create_run(tmp_path / "run", settings)
    result = train_model(settings, small, run=run)
    name = "sketches, 50% of the training images, 20% label noise"
    assert result.model.spec.dataset == run.read_environment()["data"]["name"] == name
    assert f"# baseline on {name}" in (run.model / "README.md").read_text()
    assert "60 images held out for validation (fold 1/5)" in (run.model / "README.md").read_text()
    assert result.metrics["test"]["dataset"] == "sketches"
    np.testing.assert_array_equal(result.predictions["test"].labels, small.test.labels)
    indices = result.predictions["validation"].indices
    np.testing.assert_array_equal(indices, folds(small.train.labels, 5)[0][1])
    labels = result.predictions["validation"].labels
    np.testing.assert_array_equal(labels, small.train.labels[indices])
