"""Probabilities that mean what they say: one temperature for all logits (arXiv:1706.04599)."""

from __future__ import annotations

import math

import numpy as np

from fashioncnn.evaluation.metrics import Labels, Logits, cross_entropy

LIMITS = 0.05, 20.0
"""Temperatures looked at: beyond them, there is nothing left to calibrate."""


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
