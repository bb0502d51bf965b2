"""Fitting of temperature, OOD detector and abstention threshold on held-out images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fashioncnn.artifacts.ood import OODDetector
from fashioncnn.evaluation.metrics import Labels, Logits, cross_entropy, log_softmax

TEMPERATURES = 0.05, 20.0
"""Range of the fit."""
MIN_HALF = 20
"""Images to fit a temperature on."""
MAX_NEWTON_STEPS, NEWTON_TOLERANCE = 40, 1e-5
LOST_CORRECT = 0.1
"""Fraction of correct predictions that the abstention threshold may lose."""
LOG_ODDS_BOUNDS = [(0.0, 100.0), (-100.0, 100.0)]
"""Bounds of slope and intercept in units of the standard deviation; finite for separable data."""

Floats = NDArray[np.float64]


def fit_temperature(
    logits: Logits, labels: Labels, view_counts: NDArray[np.int64] | None = None
) -> float:
    """Return the temperature with the lowest cross-entropy (arXiv:1706.04599).

    Above 1 the network was overconfident, below 1 (as after label smoothing) underconfident.

    Args:
        logits: (augmentations, all views, classes) float32, of held-out images; probabilities are
            averaged over the augmentations and the views of each image, as in predictions. Also
            (all views, classes) for one augmentation.
        labels: (n,) uint8.
        view_counts: (n,) at least 1, number of views of each image; None if each has one.
    """
    from scipy.optimize import minimize_scalar

    augmented = logits[None] if logits.ndim == 2 else logits

    def loss(log_temperature: float) -> float:
        scaled = augmented / np.float32(math.exp(log_temperature))
        log_probabilities = np.logaddexp.reduce([log_softmax(x) for x in scaled], axis=0)
        if view_counts is not None:
            starts = np.cumsum(view_counts) - view_counts
            sums = np.logaddexp.reduceat(log_probabilities, starts, axis=0)
            log_probabilities = sums - np.log(view_counts)[:, None]
        of_labels = log_probabilities[np.arange(len(labels)), labels]
        return float(math.log(len(scaled)) - of_labels.mean())

    low, high = (math.log(limit) for limit in TEMPERATURES)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return float(math.exp(best.x))


def calibrated_loss(logits: Logits, labels: Labels) -> float:
    """Return the cross-entropy in nats after temperature scaling, cross-fitted on two halves.

    The temperature of each half is fitted on the other one, so that no image is scaled by a
    temperature that its own label influenced. The halves are fixed by a random permutation.

    Args:
        logits: (n, classes) float32, of held-out images.
        labels: (n,) uint8.

    Returns:
        The mean over all images; the loss at temperature 1 if there are fewer than `MIN_HALF`
        images in a half.
    """
    halves = np.array_split(np.random.default_rng(0).permutation(len(labels)), 2)
    if len(halves[1]) < MIN_HALF:
        return cross_entropy(logits, labels)
    total = 0.0
    for half, other in (halves, halves[::-1]):
        scale = np.float32(fit_inverse_temperature(logits[other], labels[other]))
        total += len(half) * cross_entropy(logits[half] * scale, labels[half])
    return total / len(labels)


def fit_inverse_temperature(logits: Logits, labels: Labels) -> float:
    """Return 1 / temperature with the lowest cross-entropy, for one view of each image.

    The loss is convex in it: its derivative is the mean of E[z] - z_label over the images, the
    second derivative that of Var[z], with logits z and expectations under the predicted
    probabilities. Newton steps that leave the interval of the minimum are replaced by bisection.
    Many times faster than `fit_temperature`, with the same result.

    Args:
        logits: (n, classes) float32, of held-out images.
        labels: (n,) uint8.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    target = float(shifted[np.arange(len(labels)), labels].mean(dtype=np.float64))
    high, low = (1 / limit for limit in TEMPERATURES)
    scale = 1.0
    for _ in range(MAX_NEWTON_STEPS):
        weights = np.exp(np.float32(scale) * shifted)
        weights /= weights.sum(axis=1, keepdims=True)
        mean = (weights * shifted).sum(axis=1)
        slope = float(mean.mean(dtype=np.float64)) - target
        low, high = (scale, high) if slope < 0 else (low, scale)
        variance = (weights * shifted * shifted).sum(axis=1) - mean * mean
        curvature = float(variance.mean(dtype=np.float64))
        step = scale - slope / curvature if curvature > 0 else low
        before, scale = scale, step if low < step < high else (low + high) / 2
        if abs(scale - before) <= NEWTON_TOLERANCE * before:
            break
    return scale


def fit_abstention_threshold(confidences: Floats, correct: NDArray[np.bool_]) -> float:
    """Return the confidence, below 1, under which `LOST_CORRECT` of the correct predictions lie.

    Args:
        confidences: (n,) in [0, 1], of held-out images.
        correct: (n,) whether each was predicted correctly; the threshold is 0 if none was.
    """
    if not correct.any():
        return 0.0
    # With a threshold of 1 every prediction would be an abstention but for rounding.
    quantile = float(np.quantile(confidences[correct], LOST_CORRECT))
    return min(quantile, math.nextafter(1.0, 0.0))


def fit_ood_detector(in_distribution: Floats, out_of_distribution: Floats) -> OODDetector:
    """Return the logistic regression that separates two sets of equal weight.

    Args:
        in_distribution: (n,) logit standard deviations of held-out images.
        out_of_distribution: (m,) likewise of out-of-distribution images.
    """
    from scipy.optimize import minimize

    inside, outside = in_distribution, out_of_distribution
    middle = (inside.mean() + outside.mean()) / 2
    scale = max(inside.std() + outside.std(), 1e-6)

    def loss(line: Floats) -> float:
        odds_in, odds_out = (line[0] * (x - middle) / scale + line[1] for x in (inside, outside))
        return float(np.logaddexp(0, -odds_in).mean() + np.logaddexp(0, odds_out).mean())

    start = np.array([1.0, 0.0])
    slope, intercept = minimize(loss, start, method="L-BFGS-B", bounds=LOG_ODDS_BOUNDS).x
    return OODDetector(float(slope / scale), float(intercept - slope * middle / scale))


def fit_confidence(
    std: Floats, highest: Floats, correct: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> OODDetector:
    """Return the logistic regression of "classified correctly" on images inside and outside.

    Images outside of the classes are never correct. Both kinds have equal weight. It is selective
    classification that also meets OOD images (arXiv:2207.07506).

    Args:
        std: (n,) logit standard deviations of held-out images.
        highest: (n,) their highest probabilities, above 0.
        correct: (n,) whether each is classified correctly; False outside of the classes.
        outside: (n,) whether each is outside of the classes; at least one is, and one is not.
    """
    from scipy.optimize import minimize

    features = np.stack([std, np.log(highest)])
    middle = features.mean(axis=1, keepdims=True)
    scale = np.maximum(features.std(axis=1, keepdims=True), 1e-6)
    scaled, signs = (features - middle) / scale, np.where(correct, -1.0, 1.0)
    weights = np.where(outside, 0.5 / outside.sum(), 0.5 / (~outside).sum())

    def loss(line: Floats) -> float:
        return float(weights @ np.logaddexp(0, signs * (line[:2] @ scaled + line[2])))

    bounds = [LOG_ODDS_BOUNDS[0], *LOG_ODDS_BOUNDS]
    line = minimize(loss, np.array([1.0, 1.0, 0.0]), method="L-BFGS-B", bounds=bounds).x
    slopes = line[:2] / scale[:, 0]
    return OODDetector(float(slopes[0]), float(line[2] - slopes @ middle[:, 0]), float(slopes[1]))
