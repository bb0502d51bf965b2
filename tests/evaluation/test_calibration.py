import numpy as np
import pytest

from fashioncnn.evaluation.calibration import fit_bound, fit_temperature
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


def test_the_bound_gives_up_a_twentieth_of_the_right_answers():
    logits, labels = draw(1.0)
    bound = fit_bound(logits, labels, 2.0)
    probabilities = softmax(logits / np.float32(2))
    likeliest = probabilities.max(1)[probabilities.argmax(1) == labels]
    assert (likeliest < bound).mean() == pytest.approx(0.05, abs=0.001)


def test_a_network_that_is_never_right_has_no_bound():
    logits = np.eye(3, dtype=np.float32)
    assert fit_bound(logits, np.array([1, 2, 0], np.uint8), 1.0) == 0
