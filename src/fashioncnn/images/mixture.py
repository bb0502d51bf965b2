"""Gaussian mixtures of colors, fitted by expectation maximization."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

K_MEANS_ROUNDS = 5
MIN_WEIGHT = 1e-9
"""Added to the weight of each component, so that an empty one causes no division by zero."""


@dataclass(frozen=True)
class GaussianMixture:
    """A mixture of k normal distributions in three dimensions.

    Attributes:
        weights: (k,), sum to 1.
        means: (k, 3).
        whitening: (k, 3, 3), inverse Cholesky factors of the covariances: (x - mean) @ whitening.T
            has the identity as its covariance.
    """

    weights: Floats
    means: Floats
    whitening: Floats

    @classmethod
    def fit(cls, colors: Floats, responsibilities: Floats, min_variance: float) -> GaussianMixture:
        """Return the mixture of maximum likelihood (the M step).

        Args:
            colors: (n, 3).
            responsibilities: (n, k), each at least 0: the weight of each color in each component.
            min_variance: added to every variance.
        """
        totals = responsibilities.sum(0) + MIN_WEIGHT
        means = responsibilities.T @ colors / totals[:, None]
        deviations = colors[None] - means[:, None]
        weighted = deviations * responsibilities.T[..., None]
        covariances = weighted.transpose(0, 2, 1) @ deviations / totals[:, None, None]
        covariances = covariances + min_variance * np.eye(3)
        whitening = np.linalg.inv(np.linalg.cholesky(covariances))
        return cls(totals / totals.sum(), means, whitening)

    def log_densities(self, colors: Floats) -> Floats:
        """Return (n, k): log(weight × density) of each component, up to a common constant."""
        log_determinants = np.log(np.diagonal(self.whitening, axis1=1, axis2=2)).sum(1)
        scale = log_determinants + np.log(self.weights)
        densities: Floats = scale[None] - 0.5 * self._squared_distances(colors).T
        return densities

    def responsibilities(self, colors: Floats) -> Floats:
        """Return (n, k): the posterior probability of each component (the E step)."""
        logs = self.log_densities(colors)
        unnormalized = np.exp(logs - logs.max(1, keepdims=True))
        posterior: Floats = unnormalized / unnormalized.sum(1, keepdims=True)
        return posterior

    def nearest_squared_distance(self, colors: Floats) -> Floats:
        """Return (n,): the squared Mahalanobis distance to the nearest component."""
        nearest: Floats = self._squared_distances(colors).min(0)
        return nearest

    def _squared_distances(self, colors: Floats) -> Floats:
        """Return (k, n) squared Mahalanobis distances."""
        whitened = (colors[None] - self.means[:, None]) @ self.whitening.transpose(0, 2, 1)
        distances: Floats = np.square(whitened).sum(2)
        return distances


def k_means(colors: Floats, weights: Floats, k: int) -> Floats:
    """Return (n, k) one-hot cluster assignments of weighted colors.

    Deterministic: the first center is the weighted mean, and each further one is the color with
    the largest weighted distance to the centers before it (farthest-first initialization).

    Args:
        colors: (n, 3).
        weights: (n,), each at least 0.
        k: number of clusters.
    """
    centers = [weights @ colors / weights.sum()]
    for _ in range(k - 1):
        nearest = np.min([np.square(colors - c).sum(1) for c in centers], axis=0)
        centers.append(colors[(nearest * weights).argmax()])
    for _ in range(K_MEANS_ROUNDS):
        distances = np.stack([np.square(colors - c).sum(1) for c in centers], axis=1)
        assignment: Floats = np.eye(k)[distances.argmin(1)]
        sizes = weights @ assignment
        sums = (weights[:, None] * assignment).T @ colors
        centers = [s / n if n > 0 else c for s, n, c in zip(sums, sizes, centers, strict=True)]
    return assignment
