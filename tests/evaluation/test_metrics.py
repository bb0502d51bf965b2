"""Metrics against scikit-learn and SciPy."""

import json

import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics as sk

from fashioncnn.evaluation.metrics import (
    accuracy,
    compute_metrics,
    confusion_matrix,
    cross_entropy,
    expected_calibration_error,
    log_softmax,
    macro_f1,
    softmax,
    wilson_interval,
)

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 5, 400).astype(np.uint8)
LOGITS = (RNG.normal(0, 3, (400, 5)) + 3 * np.eye(5)[LABELS]).astype(np.float32)
PREDICTED = LOGITS.argmax(axis=1)


def test_accuracy_and_confusion_equal_those_of_scikit_learn():
    assert accuracy(LOGITS, LABELS) == sk.accuracy_score(LABELS, PREDICTED)
    np.testing.assert_array_equal(
        confusion_matrix(PREDICTED, LABELS, 5), sk.confusion_matrix(LABELS, PREDICTED)
    )


def test_macro_f1_equals_that_of_scikit_learn():
    confusion = confusion_matrix(PREDICTED, LABELS, 5)
    assert macro_f1(confusion) == pytest.approx(sk.f1_score(LABELS, PREDICTED, average="macro"))


def test_macro_f1_leaves_out_classes_without_images_and_predictions():
    """As of a folder of photographs that lacks some classes of the model."""
    labels, predicted = np.array([1, 1, 3, 3], np.uint8), np.array([1, 3, 3, 4])
    confusion = confusion_matrix(predicted, labels, 10)
    expected = sk.f1_score(labels, predicted, average="macro")
    assert macro_f1(confusion) == pytest.approx(expected)
    assert expected == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_loss_equals_that_of_scikit_learn():
    expected = sk.log_loss(LABELS, special.softmax(LOGITS.astype(np.float64), axis=1))
    assert cross_entropy(LOGITS, LABELS) == pytest.approx(expected, rel=1e-12)


def test_log_softmax_equals_that_of_scipy_and_does_not_overflow():
    np.testing.assert_allclose(
        log_softmax(LOGITS), special.log_softmax(LOGITS.astype(np.float64), axis=1)
    )
    extreme = np.array([[1e4, -1e4, 0]], np.float32)
    assert cross_entropy(extreme, np.array([1], np.uint8)) == pytest.approx(2e4)
    assert softmax(extreme).tolist() == [[1, 0, 0]]


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (9269, 10000), (1, 3)])
def test_wilson_interval_equals_that_of_scipy(correct, n):
    reference = stats.binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(correct, n) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_wilson_interval_of_the_published_accuracy():
    low, high = wilson_interval(9269, 10000)
    assert (round(low, 4), round(high, 4)) == (0.9216, 0.9318)


def test_wilson_interval_without_trials_is_everything():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_calibration_error_equals_that_of_a_plain_loop():
    probabilities = special.softmax(LOGITS.astype(np.float64), axis=1)
    confidence, correct = probabilities.max(axis=1), PREDICTED == LABELS
    total = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    assert expected_calibration_error(LOGITS, LABELS) == pytest.approx(total, abs=1e-12)


def test_calibration_error_of_certain_and_incorrect_predictions_is_one():
    logits = np.array([[100.0, 0.0]], np.float32)
    assert expected_calibration_error(logits, np.array([1], np.uint8)) == pytest.approx(1)


@pytest.fixture
def metrics():
    names = ("a", "b", "c", "d", "e", "without images")
    padded = np.pad(LOGITS, ((0, 0), (0, 1)), constant_values=-50)
    return compute_metrics(
        padded, LABELS, names, dataset="x", split="test", parameters=7, multiply_adds=9
    )


def test_metrics_have_the_documented_keys_and_json_types(metrics):
    assert list(metrics) == [
        "schema",
        "dataset",
        "split",
        "n",
        "parameters",
        "multiply_adds",
        "accuracy",
        "accuracy_ci95",
        "loss",
        "ece",
        "calibrated",
        "macro_f1",
        "per_class",
        "confusion",
        "confused_pairs",
    ]
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert list(metrics["per_class"][0]) == ["code", "name", "n", "correct", "accuracy", "errors"]


def test_counts_add_up(metrics):
    errors = sum(pair["count"] for pair in metrics["confused_pairs"])
    assert errors == sum(c["errors"] for c in metrics["per_class"])
    assert errors == metrics["n"] - sum(c["correct"] for c in metrics["per_class"])
    assert metrics["per_class"][5]["accuracy"] is None
    counts = [pair["count"] for pair in metrics["confused_pairs"]]
    assert counts == sorted(counts, reverse=True)
    assert all(counts)
    assert all(pair["true"] != pair["predicted"] for pair in metrics["confused_pairs"])


def test_calibrated_metrics_are_those_of_the_scaled_logits():
    metrics = compute_metrics(
        LOGITS,
        LABELS,
        tuple("abcde"),
        dataset="x",
        split="validation",
        parameters=7,
        multiply_adds=9,
        temperature=2.0,
    )
    assert metrics["calibrated"] == {
        "temperature": 2.0,
        "loss": cross_entropy(LOGITS / 2, LABELS),
        "ece": expected_calibration_error(LOGITS / 2, LABELS),
    }
    assert metrics["loss"] == cross_entropy(LOGITS, LABELS)
    assert metrics["accuracy_ci95"] == list(wilson_interval(int((PREDICTED == LABELS).sum()), 400))
