import numpy as np
import pytest

from fashioncnn.artifacts.ood import logit_std
from fashioncnn.evaluation.calibration import (
    fit_abstention_threshold,
    fit_ood_detector,
    fit_temperature,
)
from fashioncnn.evaluation.metrics import cross_entropy, expected_calibration_error, softmax


def draw(temperature, n=20_000):
    """Labels drawn by the probabilities of some logits, and these logits times `temperature`."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=2, size=(n, 4)).astype(np.float32)
    noise = generator.gumbel(size=logits.shape)
    return logits * np.float32(temperature), (logits + noise).argmax(1).astype(np.uint8)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature):
    logits, labels = draw(temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    tempered = logits / np.float32(found)
    assert expected_calibration_error(tempered, labels) < 0.01
    for other in (found * 0.97, found * 1.03):
        assert cross_entropy(tempered, labels) < cross_entropy(logits / np.float32(other), labels)


def test_a_network_that_is_never_wrong_gets_the_lowest_temperature():
    logits = np.eye(3, dtype=np.float32)
    assert fit_temperature(logits, np.arange(3, dtype=np.uint8)) == pytest.approx(0.05, rel=0.01)


def test_the_bound_gives_up_a_tenth_of_the_right_answers():
    logits, labels = draw(1.0)
    confidences = softmax(logits / np.float32(2)).max(1)
    right = logits.argmax(1) == labels
    bound = fit_abstention_threshold(confidences, right)
    assert (confidences[right] < bound).mean() == pytest.approx(0.1, abs=0.001)


def test_a_network_that_is_never_right_has_no_bound():
    assert fit_abstention_threshold(np.full(3, 0.5), np.zeros(3, bool)) == 0


def draw_flat(generator, scale, n=20_000):
    return generator.normal(scale=scale, size=(n, 10)).astype(np.float32)


def test_membership_is_what_a_logistic_regression_finds():
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    inside, outside = draw_flat(generator, 1.5), draw_flat(generator, 1.0)
    found = fit_ood_detector(inside, outside)
    spreads = np.concatenate([logit_std(inside), logit_std(outside)])[:, None]
    trusted = LogisticRegression(C=1e9).fit(spreads, np.repeat([1, 0], len(inside)))
    assert found.slope == pytest.approx(trusted.coef_[0, 0], rel=1e-3)
    assert found.intercept == pytest.approx(trusted.intercept_[0], rel=1e-3)
    probable = found.probability(spreads[:, 0])
    assert probable[: len(inside)].mean() == pytest.approx(
        1 - probable[len(inside) :].mean(), abs=1e-4
    )


def test_membership_of_kinds_that_never_meet_is_finite():
    generator = np.random.default_rng(0)
    found = fit_ood_detector(draw_flat(generator, 50.0, 100), draw_flat(generator, 0.01, 100))
    assert np.isfinite([found.slope, found.intercept]).all()
    assert found.probability(np.array([0.0, 50.0])) == pytest.approx([0, 1], abs=0.01)


def test_the_spread_takes_no_notice_of_a_constant():
    logits = draw_flat(np.random.default_rng(0), 1.0, 5)
    np.testing.assert_allclose(logit_std(logits), logits.astype(float).std(1))
    np.testing.assert_allclose(logit_std(logits + 3), logit_std(logits), rtol=1e-5)


def test_a_bound_of_answers_that_are_all_sure_is_one_that_a_model_can_have():
    bound = fit_abstention_threshold(np.ones(10), np.ones(10, bool))
    assert 0.999 < bound < 1
