"""Probabilities that mean what they say: one temperature for all logits (arXiv:1706.04599)."""

from __future__ import annotations

import math

import numpy as np

from fashioncnn.evaluation.metrics import Labels, Logits, cross_entropy, softmax

LIMITS = 0.05, 20.0
"""Temperatures looked at: beyond them, there is nothing left to calibrate."""
RIGHT_LOST = 0.05
"""Share of the right answers that may be given up as unsure."""


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """Return the temperature whose division of `logits` gives the lowest cross-entropy.

    Above 1, the network was too sure of itself; below 1, as after label smoothing, not enough.
    Accuracy stays as it is.

    Args:
        logits: (n, classes) float32, of pictures that were not learnt from.
        labels: (n,) uint8.
    """
    from scipy.optimize import minimize_scalar

    def loss(exponent: float) -> float:
        return cross_entropy((logits / np.float32(math.exp(exponent))), labels)

    low, high = (math.log(limit) for limit in LIMITS)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return float(math.exp(best.x))


def fit_bound(logits: Logits, labels: Labels, temperature: float) -> float:
    """Return the probability below which lie `RIGHT_LOST` of the right answers; 0 without any.

    Args:
        logits: (n, classes) float32, of pictures that were not learnt from.
        labels: (n,) uint8.
        temperature: what logits are divided by.
    """
    probabilities = softmax(logits / np.float32(temperature))
    right = probabilities.argmax(1) == labels
    return float(np.quantile(probabilities.max(1)[right], RIGHT_LOST)) if right.any() else 0.0
