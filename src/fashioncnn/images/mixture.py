"""Gaussian mixtures of the colors of an image, several at once, fitted by expectation maximization.

The log-density of a normal distribution is a quadratic polynomial. With the monomials of every
color computed once, the densities of all components are one matrix product, and so are the moments
that the M step needs.

The image's rows are the first axis of each array. NumPy multiplies stacks of matrices one by one,
and BLAS computes matrices of this size in the thread that calls it. So threads that decode images
do not compete, and the result does not depend on their number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

MONOMIALS = 10
"""Of degree 0, 1 and 2 in three variables."""
LINEAR = slice(1, 4)
FIRST, SECOND = np.triu_indices(3)
"""Variables of each quadratic monomial."""
SQUARES = 4 + np.flatnonzero(FIRST == SECOND)
K_MEANS_ROUNDS = 5
MIN_WEIGHT = 1e-9
"""Added to the weight of each component, so that an empty one causes no division by zero."""


def monomials(colors: Floats) -> Floats:
    """Return (rows, 10, columns): 1, the coordinates and their products, for each color.

    Args:
        colors: (3, rows, columns). The closer they are to 0, the smaller are rounding errors.
    """
    ones = np.ones_like(colors[:1])
    stacked = np.concatenate([ones, colors, colors[FIRST] * colors[SECOND]])
    return np.ascontiguousarray(stacked.transpose(1, 0, 2))


@dataclass(frozen=True)
class GaussianMixtures:
    """m mixtures of k normal distributions each, in three dimensions.

    Attributes:
        weights: (m, k), each row sums to 1.
        means: (m, k, 3).
        precisions: (m, k, 3, 3), inverse covariances.
    """

    weights: Doubles
    means: Doubles
    precisions: Doubles

    @classmethod
    def fit(cls, terms: Floats, responsibilities: Floats, min_variance: float) -> GaussianMixtures:
        """Return the mixtures of maximum likelihood (the M step).

        Args:
            terms: (rows, 10, columns), see `monomials`.
            responsibilities: (rows, m, k, columns), each at least 0: the weight of each color in
                each component.
            min_variance: added to every variance.
        """
        moments = _sum_over_pixels(responsibilities, terms)
        totals = moments[..., 0] + MIN_WEIGHT
        moments /= totals[..., None]
        means = moments[..., LINEAR]
        covariances = _symmetric(moments[..., 4:]) - means[..., None] * means[..., None, :]
        regularized: Doubles = covariances + min_variance * np.eye(3)
        precisions = np.linalg.inv(regularized)
        return cls(totals / totals.sum(1, keepdims=True), means, precisions.astype(np.float64))

    def log_densities(self, terms: Floats) -> Floats:
        """Return (rows, m, k, columns): log(weight × density), up to a common constant."""
        coefficients = -0.5 * self._distance_polynomials()
        log_determinants = np.linalg.slogdet(self.precisions)[1]
        coefficients[..., 0] += np.log(self.weights) + 0.5 * log_determinants
        return _evaluate(coefficients, terms)

    def nearest_squared_distance(self, terms: Floats) -> Floats:
        """Return (rows, m, columns) squared Mahalanobis distances to the nearest component."""
        distances = _evaluate(self._distance_polynomials(), terms)
        nearest: Floats = np.maximum(distances.min(2), 0)
        return nearest

    def _distance_polynomials(self) -> Doubles:
        """Return (m, k, 10) coefficients of the squared Mahalanobis distance."""
        product = (self.precisions @ self.means[..., None])[..., 0]
        constant = (product * self.means).sum(-1, keepdims=True)
        quadratic = self.precisions[..., FIRST, SECOND] * np.where(FIRST == SECOND, 1, 2)
        return np.concatenate([constant, -2 * product, quadratic], axis=-1)


def k_means(terms: Floats, weights: Floats, k: int) -> Floats:
    """Return (rows, m, k, columns) cluster assignments, one clustering for each of m weightings.

    Deterministic: the first center is the weighted mean, and each further one is the color with
    the largest weighted distance to the centers before it (farthest-first initialization). Colors
    as far from several centers as from the nearest are divided among them.

    Args:
        terms: (rows, 10, columns), see `monomials`.
        weights: (rows, m, columns), each at least 0.
        k: number of clusters.
    """
    centers = _farthest_first(terms, weights, k)
    for _ in range(K_MEANS_ROUNDS):
        distances = _center_distances(terms, centers)
        is_nearest = distances == distances.min(2, keepdims=True)
        assignment: Floats = is_nearest / is_nearest.sum(2, keepdims=True, dtype=np.float32)
        sums = _sum_over_pixels(assignment * weights[:, :, None], terms)
        sizes = sums[..., :1]
        centers = np.where(sizes > 0, sums[..., LINEAR] / np.maximum(sizes, MIN_WEIGHT), centers)
    return assignment


def _farthest_first(terms: Floats, weights: Floats, k: int) -> Doubles:
    """Return (m, k, 3) centers."""
    colors = terms[:, LINEAR].transpose(0, 2, 1).reshape(-1, 3)
    norms = terms[:, SQUARES].sum(1)[:, None]
    sums = _sum_over_pixels(weights[:, :, None], terms)
    centers = sums[..., LINEAR] / sums[..., :1]
    nearest = np.full_like(weights, np.inf)
    for _ in range(k - 1):
        distances = _center_distances(terms, centers[:, -1:])[:, :, 0] + norms
        nearest = np.minimum(nearest, distances)
        flat = (nearest * weights).transpose(1, 0, 2).reshape(len(centers), -1)
        centers = np.concatenate([centers, colors[flat.argmax(1)][:, None]], axis=1)
    return centers


def _center_distances(terms: Floats, centers: Doubles) -> Floats:
    """Return (rows, m, k, columns) squared distances to (m, k, 3) centers, less |color|²."""
    norms = np.square(centers).sum(-1, keepdims=True)
    return _evaluate(np.concatenate([norms, -2 * centers], axis=-1), terms[:, :4])


def _evaluate(coefficients: Doubles, terms: Floats) -> Floats:
    """Return (rows, m, k, columns) values of (m, k, n) polynomials in (rows, n, columns) terms."""
    m, k, n = coefficients.shape
    values: Floats = coefficients.reshape(m * k, n).astype(np.float32) @ terms
    return values.reshape(len(terms), m, k, -1)


def _sum_over_pixels(weights: Floats, terms: Floats) -> Doubles:
    """Return (m, k, 10) weighted sums of (rows, 10, columns) terms."""
    rows, m, k, columns = weights.shape
    by_row = weights.reshape(rows, m * k, columns) @ terms.transpose(0, 2, 1)
    sums: Doubles = by_row.sum(0, dtype=np.float64)
    return sums.reshape(m, k, -1)


def _symmetric(upper: Doubles) -> Doubles:
    """Return (…, 3, 3) symmetric matrices from (…, 6) elements of their upper triangles."""
    matrices = np.empty((*upper.shape[:-1], 3, 3))
    matrices[..., FIRST, SECOND] = upper
    matrices[..., SECOND, FIRST] = upper
    return matrices
