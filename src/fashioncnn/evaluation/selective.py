"""Confidence: accuracy against coverage, and detection of images outside of the classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

COVERAGES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""Fractions of the images that are answered, in tables."""

Floats = NDArray[np.float64]


def accuracy_at_coverage(
    confidences: Floats, correct: NDArray[np.bool_], coverages: Sequence[float] = COVERAGES
) -> list[dict[str, Any]]:
    """Return the accuracy on the most confident images (Geifman and El-Yaniv, arXiv:1705.08500).

    Of images with the same confidence, each is as likely to be among them: the order of the images
    has no effect.

    Args:
        confidences: (n,), n at least 1.
        correct: (n,) whether each image is classified correctly.
        coverages: fractions of the images, above 0 to 1.

    Returns:
        For each coverage itself, ``n`` images, their ``accuracy``, and the lowest ``confidence``
        among them.
    """
    order = np.argsort(-confidences, kind="stable")
    ordered, hits = confidences[order], np.cumsum(correct[order])
    rows = []
    for coverage in coverages:
        n = max(1, math.ceil(coverage * len(order) - 1e-9))
        lowest = ordered[n - 1]
        start = int(np.searchsorted(-ordered, -lowest, side="left"))
        end = int(np.searchsorted(-ordered, -lowest, side="right"))
        before = hits[start - 1] if start else 0
        among_ties = (hits[end - 1] - before) * (n - start) / (end - start)
        rows.append(
            {
                "coverage": coverage,
                "n": n,
                "accuracy": float((before + among_ties) / n),
                "confidence": float(lowest),
            }
        )
    return rows


def auroc(positive: Floats, negative: Floats) -> float:
    """Return the probability that a positive has a higher score than a negative (ROC area).

    It is the statistic of Mann and Whitney (1947, doi:10.1214/aoms/1177730491) as a fraction; ties
    count half.

    Args:
        positive: (n,) scores, n at least 1.
        negative: (m,) scores, m at least 1.
    """
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    up_to = np.searchsorted(ordered, positive, side="right")
    return float((below + up_to).sum() / (2 * len(positive) * len(negative)))
