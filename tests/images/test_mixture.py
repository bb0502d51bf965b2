import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import multivariate_normal

from fashioncnn.images.mixture import GaussianMixture, k_means

RNG = np.random.default_rng(0)
CENTERS = np.array([[0.0, 0, 0], [50, 0, 20], [0, 80, 40]])
CLUSTERS = RNG.permutation(np.repeat(np.arange(3), [40, 60, 100]))
COLORS = CENTERS[CLUSTERS] + RNG.normal(scale=[1, 2, 3], size=(200, 3))
RESPONSIBILITIES = RNG.dirichlet(np.ones(3), 200)
MIXTURE = GaussianMixture.fit(COLORS, RESPONSIBILITIES, min_variance=2.0)


def covariance(k):
    weights = RESPONSIBILITIES[:, k]
    return np.cov(COLORS.T, aweights=weights, ddof=0) + 2 * np.eye(3)


def test_fit_has_weighted_moments_as_numpy_computes_them():
    for k in range(3):
        assert MIXTURE.means[k] == pytest.approx(
            np.average(COLORS, axis=0, weights=RESPONSIBILITIES[:, k])
        )
        inverse = MIXTURE.whitening[k].T @ MIXTURE.whitening[k]
        assert inverse @ covariance(k) == pytest.approx(np.eye(3), abs=1e-9)
    assert MIXTURE.weights == pytest.approx(RESPONSIBILITIES.mean(0))


def test_densities_equal_those_of_scipy_up_to_a_constant():
    expected = np.stack(
        [
            multivariate_normal(MIXTURE.means[k], covariance(k)).logpdf(COLORS)
            + np.log(MIXTURE.weights[k])
            for k in range(3)
        ],
        axis=1,
    )
    difference = MIXTURE.log_densities(COLORS) - expected
    assert difference == pytest.approx(np.full_like(difference, difference[0, 0]))
    assert MIXTURE.responsibilities(COLORS) == pytest.approx(softmax(expected, axis=1))


def test_nearest_distance_is_the_smallest_mahalanobis_distance():
    color = COLORS[:1]
    distances = []
    for k in range(3):
        deviation = (color - MIXTURE.means[k])[0]
        distances.append(deviation @ np.linalg.solve(covariance(k), deviation))
    assert MIXTURE.nearest_squared_distance(color) == pytest.approx([min(distances)])


def test_k_means_recovers_separated_clusters():
    assignment = k_means(COLORS, np.ones(200), 3).argmax(1)
    pairs = set(zip(assignment, CLUSTERS, strict=True))
    assert len(pairs) == 3


def test_k_means_ignores_colors_without_weight():
    weights = (CLUSTERS != 2).astype(np.float64)
    assignment = k_means(COLORS, weights, 2).argmax(1)
    assert len(set(zip(assignment[weights > 0], CLUSTERS[weights > 0], strict=True))) == 2


def test_uniform_colors_need_no_distinct_clusters():
    assignment = k_means(np.ones((9, 3)), np.ones(9), 5)
    assert (assignment.sum(1) == 1).all()
    mixture = GaussianMixture.fit(np.ones((9, 3)), assignment, min_variance=1.0)
    assert np.isfinite(mixture.responsibilities(np.ones((9, 3)))).all()
