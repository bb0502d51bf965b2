import numpy as np
import pytest

from fashioncnn.evaluation.selective import accuracy_at_coverage, auroc

CONFIDENCES = np.array([0.9, 0.1, 0.8, 0.5, 0.5])
CORRECT = np.array([True, False, True, False, True])


def test_accuracy_of_the_most_confident():
    rows = accuracy_at_coverage(CONFIDENCES, CORRECT, (1.0, 0.8, 0.4, 0.01))
    assert [row["n"] for row in rows] == [5, 4, 2, 1]
    assert [row["accuracy"] for row in rows] == [0.6, 0.75, 1.0, 1.0]
    assert [row["confidence"] for row in rows] == [0.1, 0.5, 0.8, 0.9]


def test_number_of_images_is_not_rounded_up_by_the_representation_of_a_fraction():
    n = 1000
    rows = accuracy_at_coverage(np.arange(n) / n, np.ones(n, bool))
    assert [row["n"] for row in rows] == [1000, 950, 900, 850, 800, 700, 600, 500]


def test_auroc_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    positive, negative = random.integers(0, 20, 57) / 20, random.integers(0, 15, 43) / 20
    expected = metrics.roc_auc_score([1] * 57 + [0] * 43, [*positive, *negative])
    assert auroc(positive, negative) == pytest.approx(expected)


def test_order_of_images_of_the_same_confidence_has_no_effect():
    """A certain model has confidence 1 for most images, which folders sort by their class."""
    confidences, correct = np.array([1.0] * 8 + [0.5] * 2), np.arange(10) < 6
    for order in (np.arange(10), np.arange(10)[::-1]):
        rows = accuracy_at_coverage(confidences[order], correct[order], (1.0, 0.9, 0.8, 0.4))
        assert [row["accuracy"] for row in rows] == pytest.approx([0.6, 6 / 9, 0.75, 0.75])
