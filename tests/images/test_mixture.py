"""Mixtures and clusters, against NumPy and SciPy in float64."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from fashioncnn.images.mixture import GaussianMixtures, k_means, monomials

ROWS, COLUMNS, MIXTURES, K = 10, 20, 2, 3
RNG = np.random.default_rng(0)
CENTERS = np.array([[0.0, 0, 0], [50, 0, 20], [0, 80, 40]])
CLUSTERS = RNG.permutation(np.repeat(np.arange(3), [40, 60, 100]))
COLORS = CENTERS[CLUSTERS] + RNG.normal(scale=[1, 2, 3], size=(200, 3))
TERMS = monomials(COLORS.T.reshape(3, ROWS, COLUMNS).astype(np.float32))
RESPONSIBILITIES = RNG.dirichlet(np.ones(K), (MIXTURES, 200))  # (m, n, k)
FITTED = GaussianMixtures.fit(
    TERMS,
    RESPONSIBILITIES.reshape(MIXTURES, ROWS, COLUMNS, K).transpose(1, 0, 3, 2).astype(np.float32),
    min_variance=2.0,
)


def covariance(m, k):
    weights = RESPONSIBILITIES[m, :, k]
    return np.cov(COLORS.T, aweights=weights, ddof=0) + 2 * np.eye(3)


def by_pixel(values):
    """Return (n, m, …) from (rows, m, …, columns)."""
    return np.moveaxis(values, -1, 1).reshape(ROWS * COLUMNS, *values.shape[1:-1])


def weighting(weights):
    """Return (rows, 1, columns) from (n,)."""
    return weights.reshape(ROWS, 1, COLUMNS).astype(np.float32)


def clusters_of(weights, k):
    return by_pixel(k_means(TERMS, weighting(weights), k))[:, 0]


@pytest.mark.parametrize("m", range(MIXTURES))
def test_fit_has_weighted_moments_as_numpy_computes_them(m):
    for k in range(K):
        mean = np.average(COLORS, axis=0, weights=RESPONSIBILITIES[m, :, k])
        assert FITTED.means[m, k] == pytest.approx(mean, abs=1e-3)
        assert FITTED.precisions[m, k] @ covariance(m, k) == pytest.approx(np.eye(3), abs=1e-4)
    assert FITTED.weights[m] == pytest.approx(RESPONSIBILITIES[m].mean(0), abs=1e-6)


@pytest.mark.parametrize("m", range(MIXTURES))
def test_densities_equal_those_of_scipy_up_to_a_constant(m):
    expected = np.stack(
        [
            multivariate_normal(FITTED.means[m, k], covariance(m, k)).logpdf(COLORS)
            + np.log(FITTED.weights[m, k])
            for k in range(K)
        ],
        axis=1,
    )
    difference = by_pixel(FITTED.log_densities(TERMS))[:, m] - expected
    assert difference == pytest.approx(np.full_like(difference, difference[0, 0]), abs=1e-3)


def test_nearest_distance_is_the_smallest_mahalanobis_distance():
    distances = by_pixel(FITTED.nearest_squared_distance(TERMS))
    for m in range(MIXTURES):
        deviations = [COLORS - FITTED.means[m, k] for k in range(K)]
        by_component = [
            (d * np.linalg.solve(covariance(m, k), d.T).T).sum(1) for k, d in enumerate(deviations)
        ]
        assert distances[:, m] == pytest.approx(np.min(by_component, axis=0), abs=0.01)


def test_k_means_recovers_separated_clusters():
    pairs = set(zip(clusters_of(np.ones(200), 3).argmax(1), CLUSTERS, strict=True))
    assert len(pairs) == 3


def test_k_means_ignores_colors_without_weight():
    weights = (CLUSTERS != 2).astype(np.float64)
    assignment = clusters_of(weights, 2).argmax(1)
    assert len(set(zip(assignment[weights > 0], CLUSTERS[weights > 0], strict=True))) == 2


def test_clusterings_of_several_weightings_are_independent():
    weightings = [RNG.random(200), (CLUSTERS != 2).astype(float)]
    together = k_means(TERMS, np.concatenate([weighting(w) for w in weightings], axis=1), 3)
    for m, weights in enumerate(weightings):
        np.testing.assert_array_equal(by_pixel(together)[:, m], clusters_of(weights, 3))


def test_uniform_colors_need_no_distinct_clusters():
    terms = monomials(np.ones((3, 4, 5), np.float32))
    assignment = k_means(terms, np.ones((4, 1, 5), np.float32), 5)
    assert assignment.sum(2) == pytest.approx(np.ones((4, 1, 5)))
    mixtures = GaussianMixtures.fit(terms, assignment, min_variance=1.0)
    assert np.isfinite(logsumexp(mixtures.log_densities(terms), axis=2)).all()
