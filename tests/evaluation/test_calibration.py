"""Fits of temperature, OOD detector and abstention threshold against trusted references."""

import numpy as np
import pytest
from scipy.special import softmax as scipy_softmax
from sklearn.linear_model import LogisticRegression

from fashioncnn.artifacts.ood import logit_std
from fashioncnn.evaluation.calibration import (
    calibrated_loss,
    fit_abstention_threshold,
    fit_confidence,
    fit_inverse_temperature,
    fit_ood_detector,
    fit_temperature,
)
from fashioncnn.evaluation.metrics import cross_entropy, expected_calibration_error, softmax


def draw(temperature, n=20_000):
    """Return logits times `temperature`, and labels drawn with the probabilities of the logits."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=2, size=(n, 4)).astype(np.float32)
    noise = generator.gumbel(size=logits.shape)
    return logits * np.float32(temperature), (logits + noise).argmax(1).astype(np.uint8)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_fit_finds_the_temperature_of_drawn_labels(temperature):
    logits, labels = draw(temperature)
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(temperature, rel=0.03)
    scaled = logits / np.float32(fitted)
    assert expected_calibration_error(scaled, labels) < 0.01
    for other in (fitted * 0.97, fitted * 1.03):
        assert cross_entropy(scaled, labels) < cross_entropy(logits / np.float32(other), labels)


def test_temperature_of_augmented_logits_minimizes_the_loss_of_averaged_probabilities():
    logits, labels = draw(1.5, n=3000)
    other = np.random.default_rng(1).normal(scale=4, size=logits.shape).astype(np.float32)
    augmented = np.stack([logits, logits + other])

    def loss(temperature):
        probabilities = scipy_softmax(augmented / temperature, axis=2).mean(axis=0)
        return -np.log(probabilities[np.arange(3000), labels]).mean()

    fitted = fit_temperature(augmented, labels)
    assert loss(fitted) < min(loss(fitted * 0.97), loss(fitted * 1.03))
    assert fit_temperature(logits[None], labels) == fit_temperature(logits, labels)


def test_temperature_of_correct_predictions_is_the_lowest():
    logits = np.eye(3, dtype=np.float32)
    assert fit_temperature(logits, np.arange(3, dtype=np.uint8)) == pytest.approx(0.05, rel=0.01)


def test_threshold_abstains_on_a_tenth_of_the_correct_predictions():
    logits, labels = draw(1.0)
    confidences = softmax(logits / np.float32(2)).max(1)
    correct = logits.argmax(1) == labels
    threshold = fit_abstention_threshold(confidences, correct)
    assert (confidences[correct] < threshold).mean() == pytest.approx(0.1, abs=0.001)


def test_threshold_without_correct_predictions_is_zero():
    assert fit_abstention_threshold(np.full(3, 0.5), np.zeros(3, bool)) == 0


def test_threshold_of_certain_predictions_is_below_one():
    assert 0.999 < fit_abstention_threshold(np.ones(10), np.ones(10, bool)) < 1


def draw_std(scale, n, seed):
    """Return logit standard deviations of `n` images."""
    return logit_std(np.random.default_rng(seed).normal(scale=scale, size=(n, 10)))


def test_detector_equals_logistic_regression_of_scikit_learn():
    inside, outside = draw_std(1.5, 5000, seed=0), draw_std(1.0, 5000, seed=1)
    detector = fit_ood_detector(inside, outside)
    std = np.concatenate([inside, outside])[:, None]
    trusted = LogisticRegression(C=1e9).fit(std, np.repeat([1, 0], 5000))
    assert detector.slope == pytest.approx(trusted.coef_[0, 0], rel=1e-3)
    assert detector.intercept == pytest.approx(trusted.intercept_[0], rel=1e-3)


def test_both_sets_of_the_detector_have_the_same_weight():
    inside, outside = draw_std(1.5, 200, seed=0), draw_std(1.0, 5000, seed=1)
    detector = fit_ood_detector(inside, outside)
    assert detector.probability(inside).mean() == pytest.approx(
        1 - detector.probability(outside).mean(), abs=1e-4
    )


def test_detector_of_separable_sets_is_finite():
    detector = fit_ood_detector(draw_std(50.0, 100, seed=0), draw_std(0.01, 100, seed=1))
    assert np.isfinite([detector.slope, detector.intercept]).all()
    assert detector.probability(np.array([0.0, 50.0])) == pytest.approx([0, 1], abs=0.01)


def test_confidence_is_the_logistic_regression_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(0)
    n = 400
    outside = np.arange(n) >= 300
    std = random.normal(2 - 0.8 * outside, 0.5)
    highest = random.uniform(0.2, 1, n)
    correct = ~outside & (random.random(n) < highest)
    detector = fit_confidence(std, highest, correct, outside)
    weights = np.where(outside, 0.5 / outside.sum(), 0.5 / (~outside).sum())
    features = np.stack([std, np.log(highest)], axis=1)
    reference = linear_model.LogisticRegression(C=1e9, tol=1e-10)
    reference.fit(features, correct, sample_weight=n * weights)
    expected = reference.predict_proba(features)[:, 1]
    np.testing.assert_allclose(detector.probability(std, highest), expected, atol=1e-3)


def random_logits(n, scale, classes=10):
    """Logits of a calibrated model, multiplied by `scale`, and labels."""
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, n).astype(np.uint8)
    logits = random.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += 2
    return logits * np.float32(scale), labels


@pytest.mark.parametrize("scale", [0.1, 0.5, 1, 3, 100])
def test_inverse_temperature_equals_that_of_scipy(scale):
    logits, labels = random_logits(2000, scale)
    expected = fit_temperature(logits, labels)
    assert 1 / fit_inverse_temperature(logits, labels) == pytest.approx(expected, rel=2e-3)


def test_inverse_temperature_of_separable_logits_is_at_the_bound():
    logits = np.eye(10, dtype=np.float32)
    labels = np.arange(10, dtype=np.uint8)
    assert fit_inverse_temperature(logits, labels) == pytest.approx(20, rel=0.01)
    assert fit_inverse_temperature(-logits, labels) == pytest.approx(0.05, rel=0.01)


def test_calibrated_loss_does_not_depend_on_the_temperature_of_the_model():
    losses = [calibrated_loss(*random_logits(4000, scale)) for scale in (0.3, 1, 3)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)
    logits, labels = random_logits(4000, 1)
    temperature = np.float32(fit_temperature(logits, labels))
    assert losses[1] == pytest.approx(cross_entropy(logits / temperature, labels), rel=5e-3)
    assert losses[1] < cross_entropy(*random_logits(4000, 3))


def test_calibrated_loss_is_not_fitted_on_the_images_it_is_measured_on():
    """On average it is above the loss with the temperature that is best for the same images."""
    random = np.random.default_rng(1)
    differences = []
    for _ in range(20):
        logits = random.normal(size=(60, 10)).astype(np.float32)
        labels = random.integers(0, 10, 60).astype(np.uint8)
        same = cross_entropy(logits / np.float32(fit_temperature(logits, labels)), labels)
        differences.append(calibrated_loss(logits, labels) - same)
    assert np.mean(differences) > 0.005


def test_calibrated_loss_of_few_images_is_the_loss():
    logits, labels = random_logits(30, 3)
    assert calibrated_loss(logits, labels) == cross_entropy(logits, labels)
