"""The out-of-distribution score."""

import numpy as np
from scipy.special import expit

from fashioncnn.artifacts.ood import OODDetector, logit_std


def test_logit_standard_deviation_is_that_of_each_image():
    logits = np.random.default_rng(0).normal(size=(5, 10)).astype(np.float32)
    np.testing.assert_allclose(logit_std(logits), logits.astype(np.float64).std(axis=1))
    np.testing.assert_allclose(logit_std(logits + 3), logit_std(logits), rtol=1e-5)


def test_probability_is_logistic_in_the_standard_deviation():
    std = np.array([0.0, 0.5, 1.0, 2.0])
    probability = OODDetector(slope=2.5, intercept=-1.5).probability(std)
    np.testing.assert_allclose(probability, expit(2.5 * std - 1.5))


def test_probability_does_not_overflow():
    probability = OODDetector(slope=1e6, intercept=0.0).probability(np.array([-1.0, 1.0]))
    np.testing.assert_allclose(probability, [0, 1], atol=1e-12)


def test_probability_slope_lowers_the_confidence_of_doubtful_answers():
    std, highest = np.array([1.0, 1.0]), np.array([1.0, 0.5])
    detector = OODDetector(slope=2.5, intercept=-1.5, probability_slope=3.0)
    expected = 1 / (1 + np.exp(-(2.5 - 1.5 + 3 * np.log(highest))))
    np.testing.assert_allclose(detector.probability(std, highest), expected)
    without = OODDetector(slope=2.5, intercept=-1.5)
    np.testing.assert_array_equal(without.probability(std, highest), without.probability(std))
