"""Verdict and tables of a comparison."""

import numpy as np
import pytest

from fashioncnn.evaluation.comparison import Group, compare_groups
from fashioncnn.reporting.comparison import (
    PAIRS_SHOWN,
    comparison_tables,
    p_value,
    points,
    points_interval,
    verdict,
)

from .conftest import random_logits

NAMES = list("abcdefghij")


def comparison(**changes):
    """Return the comparison of two runs on 1,000 images, with changed values."""
    return {
        "split": "test",
        "n": 1000,
        "class_names": NAMES,
        "a": {"name": "run-a", "runs": 1, "accuracy": 0.9, "accuracy_sd": None, "loss": 0.3},
        "b": {"name": "run-b", "runs": 1, "accuracy": 0.91, "accuracy_sd": None, "loss": 0.2},
        "method": "a test",
        "accuracy_difference": 0.01,
        "accuracy_difference_ci95": [0.002, 0.018],
        "accuracy_difference_p": 0.0123,
        "loss_difference": -0.1,
        "loss_difference_ci95": [-0.15, -0.05],
        "loss_difference_p": 1e-9,
        "trusted": True,
        "per_class": [],
        "pairs": [],
        **changes,
    }


def test_verdict_of_a_significant_difference():
    text = verdict(comparison())
    assert text.startswith(
        "B is more accurate than A: the difference is significant at the 5% level (B − A = +1.00 "
        "percentage points, 95% confidence interval [+0.20, +1.80], p = 0.012)."
    )
    assert "not for other seeds" in text


def test_verdict_names_a_if_a_is_more_accurate():
    changes = {"accuracy_difference": -0.01, "accuracy_difference_ci95": [-0.018, -0.002]}
    text = verdict(comparison(**changes, accuracy_difference_p=1e-6))
    assert text.startswith("A is more accurate than B")
    assert "p < 0.0001)" in text


def test_verdict_of_a_difference_that_is_not_significant():
    changes = {"accuracy_difference_ci95": [-0.002, 0.018], "accuracy_difference_p": 0.12}
    text = verdict(comparison(**changes, trusted=False))
    assert text.startswith("The difference in accuracy is not significant at the 5% level")


def test_verdict_of_a_test_and_an_interval_that_disagree():
    text = verdict(comparison(accuracy_difference_p=0.06, trusted=False))
    assert "not significant at the 5% level: the test and the confidence interval disagree" in text


def test_verdict_without_variance_asks_for_more_data():
    changes = {"accuracy_difference_ci95": None, "accuracy_difference_p": None}
    assert "Use more seeds or more images." in verdict(comparison(**changes, trusted=False))


def test_verdict_of_several_runs_generalizes_to_other_seeds():
    several = {"runs": 3, "accuracy": 0.9, "accuracy_sd": 0.01, "loss": 0.3}
    groups = {"a": {"name": "a", **several}, "b": {"name": "b", **several}}
    text = verdict(comparison(**groups))
    assert "generalizes to other seeds" in text
    assert "3 and 3 runs and 1,000 images" in text
    metrics = comparison_tables(comparison(**groups))[0]
    assert metrics.rows[1][1] == "90.00 ± 1.00%"
    assert "loss" not in metrics.note


def test_tables_show_metrics_classes_and_confusions():
    labels = np.arange(1000, dtype=np.uint8) % 10
    groups = [Group(n, [random_logits(labels, 0.6, s)]) for s, n in enumerate("ab")]
    compared = {"split": "validation", **compare_groups(*groups, labels, NAMES)}
    metrics, classes, pairs = comparison_tables(compared)
    assert metrics.title == "a (A) and b (B), validation split, 1,000 images"
    assert "McNemar" in metrics.note
    assert "paired t test over images" in metrics.note
    differences = [abs(float(row[3])) for row in classes.rows]
    assert len(differences) == 10
    assert differences == sorted(differences, reverse=True)
    assert len(pairs.rows) == PAIRS_SHOWN
    assert pairs.header == ("True class", "Predicted class", "A", "B", "B − A")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "+1.23"), (-0.5, "-50.00"), (-1e-9, "+0.00"), (0, "+0.00")]
)
def test_points_are_signed_and_never_negative_zero(value, text):
    assert points(value) == text


def test_missing_interval_and_p_value_are_a_dash():
    assert (points_interval(None), p_value(None)) == ("–", "–")


@pytest.mark.parametrize(("p", "text"), [(0.04567, "0.046"), (0.5, "0.5"), (9e-5, "< 0.0001")])
def test_p_values_have_two_significant_digits(p, text):
    assert p_value(p) == text
