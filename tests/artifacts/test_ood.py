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
