"""Metrics of logits and labels: accuracy with its interval, loss, calibration, confusion.

Small numpy functions, each tested against scikit-learn or scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.settings import SCHEMA

Z95 = 1.959963984540054
"""The 97.5% quantile of the standard normal distribution."""
ECE_BINS = 15
"""Equal-width bins of the calibration error, as in arXiv:1706.04599."""

Logits = NDArray[np.float32]
Labels = NDArray[np.uint8]


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    """Return log-probabilities, (n, classes) float64, for logits (n, classes)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probabilities: NDArray[np.float64] = shifted - np.log(
        np.exp(shifted).sum(axis=1, keepdims=True)
    )
    return log_probabilities


def softmax(logits: Logits) -> NDArray[np.float64]:
    """Return probabilities, (n, classes) float64, for logits (n, classes); rows sum to 1."""
    return np.exp(log_softmax(logits))


def accuracy(logits: Logits, labels: Labels) -> float:
    """Return the fraction of images, in [0, 1], whose highest logit is that of their label.

    Args:
        logits: (n, classes) float.
        labels: (n,) in [0, classes).
    """
    return float((logits.argmax(axis=1) == labels).mean())


def cross_entropy(logits: Logits, labels: Labels) -> float:
    """Return the mean negative log-probability of the labels, in nats; see `accuracy`."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def wilson_interval(correct: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion (Wilson 1927, JASA 22:209), within [0, 1].

    Args:
        correct: number of successes.
        n: number of trials; for 0 the interval is [0, 1].
        z: quantile of the standard normal distribution; by default for 95%.
    """
    if n == 0:
        return 0.0, 1.0
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def confusion_matrix(
    predicted: NDArray[np.int64], labels: Labels, classes: int
) -> NDArray[np.int64]:
    """Return counts, (classes, classes) int64: rows are true labels, columns predictions."""
    flat = np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Return the unweighted mean of the F1 scores of classes with images or predictions.

    That of other classes is undefined; scikit-learn leaves them out, too.

    Args:
        confusion: (classes, classes), see `confusion_matrix`.
    """
    correct = np.diagonal(confusion)
    labels_and_predictions = confusion.sum(axis=0) + confusion.sum(axis=1)
    occurs = labels_and_predictions > 0
    return float((2 * correct[occurs] / labels_and_predictions[occurs]).mean())


def expected_calibration_error(logits: Logits, labels: Labels, bins: int = ECE_BINS) -> float:
    """Return the mean gap between confidence and accuracy, in [0, 1], over equal-width bins.

    Bins are weighted by their number of images (Guo et al. 2017, arXiv:1706.04599, equation 5); see
    `accuracy`.
    """
    probabilities = softmax(logits)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    # Bins are (low, high], as in the reference implementation.
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def compute_metrics(
    logits: Logits,
    labels: Labels,
    class_names: Sequence[str],
    *,
    dataset: str,
    split: str,
    parameters: int,
    multiply_adds: int | None,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """Return the metrics of one network on one split, as JSON types.

    Args:
        logits: (n, classes) float32.
        labels: (n,) uint8.
        class_names: by label.
        dataset: name of the dataset.
        split: ``validation`` or ``test``.
        parameters: trainable parameters of the network.
        multiply_adds: per image; None if unknown.
        temperature: divides the logits for the metrics under ``calibrated``.
    """
    calibrated = logits / np.float32(temperature)
    confusion = confusion_matrix(logits.argmax(axis=1), labels, len(class_names))
    n, correct = len(labels), int(np.trace(confusion))
    return {
        "schema": SCHEMA,
        "dataset": dataset,
        "split": split,
        "n": n,
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "accuracy": correct / n,
        "accuracy_ci95": list(wilson_interval(correct, n)),
        "loss": cross_entropy(logits, labels),
        "ece": expected_calibration_error(logits, labels),
        "calibrated": {
            "temperature": temperature,
            "loss": cross_entropy(calibrated, labels),
            "ece": expected_calibration_error(calibrated, labels),
        },
        "macro_f1": macro_f1(confusion),
        "per_class": _per_class(confusion, class_names),
        "confusion": confusion.tolist(),
        "confused_pairs": _confused_pairs(confusion),
    }


def _per_class(confusion: NDArray[np.int64], class_names: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for code, name in enumerate(class_names):
        n, correct = int(confusion[code].sum()), int(confusion[code, code])
        rows.append(
            {
                "code": code,
                "name": name,
                "n": n,
                "correct": correct,
                "accuracy": correct / n if n else None,
                "errors": n - correct,
            }
        )
    return rows


def _confused_pairs(confusion: NDArray[np.int64]) -> list[dict[str, int]]:
    pairs = [
        {"true": int(t), "predicted": int(p), "count": int(confusion[t, p])}
        for t, p in zip(*np.nonzero(confusion), strict=True)
        if t != p
    ]
    return sorted(pairs, key=lambda pair: (-pair["count"], pair["true"], pair["predicted"]))
