"""Probabilities that mean what they say.

One temperature for all logits (arXiv:1706.04599), how probably an image shows one of the classes
at all, and the bound below which that is too little for an answer.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fashioncnn.artifacts.ood import Floats, OODDetector, logit_std
from fashioncnn.evaluation.metrics import Labels, Logits, cross_entropy

LIMITS = 0.05, 20.0
"""Temperatures looked at: beyond them, there is nothing left to calibrate."""
RIGHT_LOST = 0.1
"""Share of the right answers that may be given up as unsure."""
BOUNDS = [(0.0, 100.0), (-100.0, 100.0)]
"""Of slope and intercept in deviations, for kinds that a line tells apart without an error."""


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """Return the temperature whose division of `logits` gives the lowest cross-entropy.

    Above 1, the network was too sure of itself; below 1, as after label smoothing, not enough.
    Accuracy stays as it is.

    Args:
        logits: (n, classes) float32, of images that were not learnt from.
        labels: (n,) uint8.
    """
    from scipy.optimize import minimize_scalar

    def loss(exponent: float) -> float:
        return cross_entropy((logits / np.float32(math.exp(exponent))), labels)

    low, high = (math.log(limit) for limit in LIMITS)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return float(math.exp(best.x))


def fit_abstention_threshold(confidences: Floats, right: NDArray[np.bool_]) -> float:
    """Return the confidence below which lie `RIGHT_LOST` of right answers, under 1; 0 without any.

    Args:
        confidences: (n,) in [0, 1], of images that were not learnt from.
        right: (n,) whether each was named rightly.
    """
    if not right.any():
        return 0.0
    # Of a bound of 1, nothing could be sure enough but by rounding.
    return min(float(np.quantile(confidences[right], RIGHT_LOST)), math.nextafter(1.0, 0.0))


def fit_ood_detector(inside: Logits, outside: Logits) -> OODDetector:
    """Return the membership likeliest to tell two kinds of images apart, each as common.

    Args:
        inside: (n, classes) float32, of images of the classes that were not learnt from.
        outside: (m, classes) float32, of images of none.
    """
    from scipy.optimize import minimize

    near, far = logit_std(outside), logit_std(inside)
    middle, scale = (far.mean() + near.mean()) / 2, max(far.std() + near.std(), 1e-6)

    def loss(line: Floats) -> float:
        of_far, of_near = (line[0] * (x - middle) / scale + line[1] for x in (far, near))
        return float(np.logaddexp(0, -of_far).mean() + np.logaddexp(0, of_near).mean())

    slope, intercept = minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=BOUNDS).x
    return OODDetector(float(slope / scale), float(intercept - slope * middle / scale))
