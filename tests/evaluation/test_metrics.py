"""Every metric against a trusted twin."""

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


def test_accuracy_and_confusion_against_scikit_learn():
    assert accuracy(LOGITS, LABELS) == sk.accuracy_score(LABELS, PREDICTED)
    np.testing.assert_array_equal(
        confusion_matrix(PREDICTED, LABELS, 5), sk.confusion_matrix(LABELS, PREDICTED)
    )


def test_macro_f1_against_scikit_learn():
    confusion = confusion_matrix(PREDICTED, LABELS, 5)
    assert macro_f1(confusion) == pytest.approx(sk.f1_score(LABELS, PREDICTED, average="macro"))


def test_macro_f1_counts_a_class_that_never_appears_as_zero():
    labels, predicted = np.array([0, 0, 1], np.uint8), np.array([0, 1, 1])
    confusion = confusion_matrix(predicted, labels, 3)
    expected = sk.f1_score(labels, predicted, average="macro", labels=[0, 1, 2], zero_division=0)
    assert macro_f1(confusion) == pytest.approx(expected)


def test_loss_against_scikit_learn():
    expected = sk.log_loss(LABELS, special.softmax(LOGITS.astype(np.float64), axis=1))
    assert cross_entropy(LOGITS, LABELS) == pytest.approx(expected, rel=1e-12)


def test_log_softmax_against_scipy_and_at_extremes():
    np.testing.assert_allclose(
        log_softmax(LOGITS), special.log_softmax(LOGITS.astype(np.float64), axis=1)
    )
    extreme = np.array([[1e4, -1e4, 0]], np.float32)
    assert cross_entropy(extreme, np.array([1], np.uint8)) == pytest.approx(2e4)
    assert softmax(extreme).tolist() == [[1, 0, 0]]


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (9269, 10000), (1, 3)])
def test_wilson_interval_against_scipy(correct, n):
    twin = stats.binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(correct, n) == pytest.approx((twin.low, twin.high), abs=1e-12)


def test_wilson_interval_of_the_published_figure():
    low, high = wilson_interval(9269, 10000)
    assert (round(low, 4), round(high, 4)) == (0.9216, 0.9318)


def test_calibration_error_against_a_plain_loop():
    probabilities = special.softmax(LOGITS.astype(np.float64), axis=1)
    confidence, right = probabilities.max(axis=1), PREDICTED == LABELS
    total = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    assert expected_calibration_error(LOGITS, LABELS) == pytest.approx(total, abs=1e-12)


def test_calibration_error_of_a_liar_is_one():
    logits = np.array([[100.0, 0.0]], np.float32)
    assert expected_calibration_error(logits, np.array([1], np.uint8)) == pytest.approx(1)


@pytest.fixture
def judged():
    names = ("a", "b", "c", "d", "e", "never")
    padded = np.pad(LOGITS, ((0, 0), (0, 1)), constant_values=-50)
    return compute_metrics(
        padded, LABELS, names, dataset="x", split="test", parameters=7, multiply_adds=9
    )


def test_judgement_has_the_promised_keys_in_json_types(judged):
    assert list(judged) == [
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
    assert json.loads(json.dumps(judged, allow_nan=False)) == judged
    assert list(judged["per_class"][0]) == ["code", "name", "n", "correct", "accuracy", "errors"]


def test_judgement_adds_up(judged):
    errors = sum(pair["count"] for pair in judged["confused_pairs"])
    assert errors == sum(c["errors"] for c in judged["per_class"])
    assert errors == judged["n"] - sum(c["correct"] for c in judged["per_class"])
    assert judged["per_class"][5]["accuracy"] is None
    counts = [pair["count"] for pair in judged["confused_pairs"]]
    assert counts == sorted(counts, reverse=True)
    assert all(counts)
    assert all(pair["true"] != pair["predicted"] for pair in judged["confused_pairs"])
