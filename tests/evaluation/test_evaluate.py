from dataclasses import replace

import numpy as np
import pytest
from fashioncnn.evaluation.evaluate import evaluate_model, evaluation_splits

from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.errors import DataError
from fashioncnn.evaluation import evaluate as module
from fashioncnn.evaluation.predictions import load_predictions, save_predictions
from fashioncnn.inference.predictor import predict_probabilities
from fashioncnn.runs import create_run
from fashioncnn.training.run import train_model


@pytest.fixture
def run(small, tiny_settings, tmp_path):
    settings = tiny_settings()
    run = create_run(tmp_path / "run", settings)
    return run, train_model(settings, small, run=run)


def forbid_computing(monkeypatch):
    def refuse(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(module, "compute_logits", refuse)


def test_stored_predictions_are_used_again(run, small, monkeypatch):
    folder, result = run
    forbid_computing(monkeypatch)
    judged = evaluate_model(result.model, small, small.test, "test", run=folder)
    assert judged == result.metrics["test"]


def test_other_weights_are_judged_anew(run, small, monkeypatch):
    folder, result = run
    before = folder.predictions.read_bytes()
    result.model.network.output.bias.data[3] += 5
    judged = evaluate_model(result.model, small, small.test, "test", run=folder)
    assert judged != result.metrics["test"]
    assert folder.predictions.read_bytes() != before
    forbid_computing(monkeypatch)
    assert evaluate_model(result.model, small, small.test, "test", run=folder) == judged


def test_other_images_are_judged_anew(run, small):
    folder, result = run
    other = Split(small.test.images[::-1].copy(), small.test.labels)
    judged = evaluate_model(result.model, small, other, "test", run=folder)
    assert judged != result.metrics["test"]


def test_damaged_predictions_are_computed_again(run, small):
    folder, result = run
    folder.predictions.write_bytes(folder.predictions.read_bytes()[:-40])
    judged = evaluate_model(result.model, small, small.test, "test", run=folder)
    assert judged == result.metrics["test"]


def test_other_classes_or_sizes_are_refused(run, small):
    _, result = run
    renamed = Dataset("x", tuple("abcdefghij"), small.train, small.test, "plain", "x")
    with pytest.raises(DataError, match="classes"):
        evaluate_model(result.model, renamed, small.test, "test")
    smaller = Split(small.test.images[:, :20, :20], small.test.labels)
    shrunk = Dataset("x", small.class_names, smaller, smaller, "plain", "x")
    with pytest.raises(DataError, match="20×20"):
        evaluate_model(result.model, shrunk, smaller, "test")


def test_validation_is_the_part_that_was_held_out(small, tiny_settings):
    parts = evaluation_splits(small, tiny_settings("data.validation=50"))
    assert len(parts["validation"]) == 50
    assert "validation" not in evaluation_splits(small, tiny_settings("data.validation=0"))


def test_predictions_survive_as_they_were(tmp_path):
    logits, labels = np.ones((3, 2), np.float32), np.array([0, 1, 1], np.uint8)
    save_predictions(tmp_path / "p.npz", {"test": (logits, labels)}, {"model_sha256": "abc"})
    predictions, identity = load_predictions(tmp_path / "p.npz")
    np.testing.assert_array_equal(predictions["test"][0], logits)
    assert identity == {"model_sha256": "abc"}
    assert load_predictions(tmp_path / "none.npz") == ({}, {})


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_flip_is_the_mean_of_both_views(temperature, tiny_outcome, sketches):
    model, part = replace(tiny_outcome.model, temperature=temperature), sketches.require_test()
    flipped = replace(part, images=np.ascontiguousarray(part.images[:, :, ::-1]))
    views = [predict_probabilities(model, p.images) for p in (part, flipped)]
    expected = np.log(np.mean(views, axis=0))
    judged = evaluate_model(model, sketches, part, "test", tta="flip")
    assert judged["tta"] == "flip"
    assert judged["calibrated"]["loss"] == pytest.approx(
        -expected[np.arange(len(part)), part.labels].mean(), rel=1e-5
    )
    assert judged["loss"] != evaluate_model(model, sketches, part, "test")["loss"]
