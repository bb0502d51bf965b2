"""Evaluation on a split, from stored predictions while model and images are the same."""

from dataclasses import replace

import numpy as np
import pytest

from fashioncnn.artifacts.model_folder import ModelDescription
from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.errors import DataError
from fashioncnn.evaluation.metrics import accuracy, cross_entropy
from fashioncnn.evaluation.predictions import load_predictions
from fashioncnn.inference.evaluate import (
    check_compatible,
    confidence_metrics,
    evaluate_split,
    evaluation_splits,
    model_metrics,
    predict_split,
)
from fashioncnn.runs import RunFolder
from fashioncnn.settings import FashionCNNConfig


@pytest.fixture
def split(images):
    return Split(images, np.arange(20, dtype=np.uint8) % 3)


@pytest.fixture
def dataset(split):
    return Dataset("own", ("a", "b", "c"), split, split, "plain", "folder")


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


@pytest.fixture
def evaluate(make_predictor, backend, dataset, run):
    """Return a function that evaluates and returns the metrics and whether it computed logits."""

    def evaluate(split=None, name="test", weights="0", precision="fp32", folder=run, **spec):
        predictor = make_predictor(**spec)
        description = ModelDescription(
            **dict(predictor.spec), parameters=5, multiply_adds=7, weights_sha256=weights
        )
        backend.batches.clear()
        split = split or dataset.test
        metrics = evaluate_split(
            predictor, description, dataset, split, name, run=folder, precision=precision
        )
        return metrics, bool(backend.batches)

    return evaluate


def test_metrics_are_those_of_the_logits(evaluate, backend, split):
    metrics, _ = evaluate(folder=None, temperature=0.5)
    logits = backend.logits(split.images)
    assert metrics["loss"] == cross_entropy(logits, split.labels)
    assert metrics["accuracy"] == accuracy(logits, split.labels)
    assert metrics["calibrated"]["loss"] == cross_entropy(logits * 2, split.labels)
    assert (metrics["dataset"], metrics["split"], metrics["n"]) == ("own", "test", 20)
    assert (metrics["parameters"], metrics["multiply_adds"]) == (5, 7)


def test_metrics_with_flips_are_those_of_the_predictions(evaluate, make_predictor, split):
    metrics, _ = evaluate(folder=None, tta="flip", temperature=0.5)
    predictor = make_predictor(tta="flip", temperature=0.5)
    probabilities = predictor.predict_images(split.images).probabilities
    of_labels = probabilities[np.arange(20), split.labels]
    assert metrics["calibrated"]["loss"] == pytest.approx(-np.log(of_labels).mean(), rel=1e-6)
    assert metrics["accuracy"] == (probabilities.argmax(1) == split.labels).mean()


def test_predictions_of_a_split_keep_its_indices(make_predictor, split):
    subset = split.subset(np.array([7, 3, 11]))
    predictions = predict_split(make_predictor(), subset)
    np.testing.assert_array_equal(predictions.indices, [7, 3, 11])
    np.testing.assert_array_equal(predictions.labels, split.labels[[7, 3, 11]])


def test_stored_predictions_are_used_while_nothing_changed(evaluate):
    first, computed = evaluate()
    assert computed
    assert evaluate() == (first, False)


@pytest.mark.parametrize(
    "change",
    [{"weights": "1"}, {"precision": "bf16"}, {"temperature": 0.5}, {"tta": "flip"}],
    ids=str,
)
def test_another_model_or_precision_is_computed_again(change, evaluate, run):
    evaluate()
    before = run.predictions.read_bytes()
    metrics, computed = evaluate(**change)
    assert computed
    assert run.predictions.read_bytes() != before
    assert evaluate(**change) == (metrics, False)


def test_other_images_or_labels_are_computed_again(evaluate, split):
    evaluate()
    other_labels = Split(split.images, np.roll(split.labels, 1))
    for other in (Split(split.images[::-1].copy(), split.labels), other_labels):
        assert evaluate(other)[1]
        assert not evaluate(other)[1]


def test_damaged_predictions_are_computed_again(evaluate, run):
    metrics, _ = evaluate()
    run.predictions.write_bytes(run.predictions.read_bytes()[:-40])
    assert evaluate() == (metrics, True)
    assert evaluate() == (metrics, False)


def test_predictions_of_other_splits_of_the_same_model_are_kept(evaluate, run, split):
    evaluate(name="validation", split=split.subset(np.arange(5)))
    evaluate(name="test")
    predictions, identity = load_predictions(run.predictions)
    assert {name: len(p.labels) for name, p in predictions.items()} == {
        "validation": 5,
        "test": 20,
    }
    assert identity.keys() == {"model_sha256", "precision", "validation_sha256", "test_sha256"}
    evaluate(name="test", weights="1")
    assert list(load_predictions(run.predictions)[0]) == ["test"]


def test_nothing_is_stored_without_a_run(evaluate, tmp_path):
    evaluate(folder=None)
    assert list(tmp_path.iterdir()) == []


def test_other_classes_or_image_sizes_are_rejected(make_predictor, dataset, split):
    spec = make_predictor().spec
    check_compatible(spec, dataset)
    with pytest.raises(DataError, match=r"folder: its classes \(x, y, z …\) differ"):
        check_compatible(spec, replace(dataset, class_names=("x", "y", "z")))
    smaller = Split(split.images[:, :6, :6], split.labels)
    with pytest.raises(DataError, match="images of 6×6, but the model needs 8×8"):
        check_compatible(spec, replace(dataset, train=smaller, test=None))


def test_validation_split_is_the_one_that_the_run_held_out(small, tiny_settings):
    splits = evaluation_splits(small, tiny_settings("data.validation=50"))
    assert splits["test"] is small.test
    validation = splits["validation"]
    assert len(validation) == 50
    np.testing.assert_array_equal(validation.images, small.train.images[validation.indices])
    assert list(evaluation_splits(small, tiny_settings("data.validation=0"))) == ["test"]
    assert list(evaluation_splits(small, None)) == ["test"]
    assert list(evaluation_splits(replace(small, test=None), None)) == []


def test_data_smaller_than_the_validation_split_has_none(small, tiny_settings):
    settings = tiny_settings("data.validation=50")
    few = replace(small, train=small.train.subset(np.arange(50)))
    assert list(evaluation_splits(few, settings)) == ["test"]


def test_metrics_need_no_network():
    description = ModelDescription(
        architecture=FashionCNNConfig(),
        labels=("a", "b"),
        preprocessing=Preprocessing(8, 0.0, 1.0, "plain"),
        dataset="own",
        temperature=2.0,
        weights_sha256="",
    )
    logits, labels = np.array([[2, 0], [0, 2]], np.float32), np.array([0, 0], np.uint8)
    metrics = model_metrics(description, logits, labels, "arrays", "test")
    assert (metrics["dataset"], metrics["accuracy"]) == ("arrays", 0.5)
    assert metrics["calibrated"]["temperature"] == 2.0


def test_a_split_without_images_of_the_classes_is_rejected(evaluate, split):
    labels, allowed = np.zeros(len(split), np.uint8), np.zeros((len(split), 3), bool)
    with pytest.raises(DataError, match="no image of the test split belongs to a class"):
        evaluate(replace(split, labels=labels, allowed=allowed))


@pytest.fixture
def shoes(split):
    """Return images of c, of a or b, and of none of the classes."""
    allowed = np.zeros((20, 3), bool)
    allowed[:8, 2] = allowed[8:16, :2] = True
    return replace(split, labels=allowed.argmax(1).astype(np.uint8), allowed=allowed)


def test_accuracy_of_label_sets(evaluate, make_predictor, shoes):
    """The label among several is chosen by the model, so that each would look accurate."""
    metrics, _ = evaluate(shoes, folder=None)
    predicted = make_predictor().predict_views(shoes.all_views).probabilities.argmax(1)
    hits = [int((predicted[8:16] < 2).sum()), int((predicted[:8] == 2).sum())]
    assert metrics["partial_labels"] == 8
    assert metrics["per_label_set"] == [
        {
            "codes": codes,
            "names": names,
            "n": 8,
            "correct": correct,
            "accuracy": correct / 8,
            "errors": 8 - correct,
        }
        for codes, names, correct in zip([[0, 1], [2]], [["a", "b"], ["c"]], hits, strict=True)
    ]


def test_no_label_sets_without_partial_labels(evaluate, shoes):
    inside = replace(shoes, allowed=shoes.allowed & (np.arange(3) != 1))
    metrics, _ = evaluate(inside, folder=None)
    assert metrics["partial_labels"] == 0
    assert "per_label_set" not in metrics


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_metrics_of_known_predictions_are_the_same(make_predictor, backend, dataset, shoes, tta):
    predictor = make_predictor(tta=tta, temperature=0.5)
    views = tuple(np.stack([image, 255 - image]) for image in shoes.images)
    several = replace(shoes, views=views)
    description = ModelDescription(
        **dict(predictor.spec), parameters=5, multiply_adds=7, weights_sha256="0"
    )
    arguments = predictor, description, dataset, several, "test"
    predictions = predictor.predict_views(several.all_views)
    backend.batches.clear()
    metrics = evaluate_split(*arguments, predictions=predictions)
    assert not backend.batches
    expected = evaluate_split(*arguments)
    assert metrics["confusion"] == expected["confusion"]
    assert metrics["loss"] == pytest.approx(expected["loss"], rel=1e-6)


def test_accuracy_of_the_answers(make_predictor, shoes):
    predictor = make_predictor()
    predictions = predictor.predict_views(shoes.all_views)
    correct = predictions.probabilities.argmax(1) == shoes.correct_labels(predictions.probabilities)
    answered = np.arange(20) % 3 > 0
    some = replace(predictions, abstained=~answered)
    metrics = confidence_metrics(some, shoes, 0.5)
    assert metrics["abstained"] == (~answered[:16]).sum()
    assert metrics["answered_accuracy"] == correct[:16][answered[:16]].mean()
    none = replace(predictions, abstained=np.ones(20, bool))
    assert confidence_metrics(none, shoes, 0.5)["answered_accuracy"] is None
