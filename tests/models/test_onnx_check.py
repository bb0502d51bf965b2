"""The comparison of a graph with PyTorch: its limits, and the images without data."""

import numpy as np
import pytest

from fashioncnn.data.generated import generate_images
from fashioncnn.errors import QualityGateError
from fashioncnn.models.onnx_check import (
    compare,
    is_within_limits,
    require_within_limits,
)

EXPECTED = np.float32([[3, 1, -2], [1.0, 1.001, 0.5], [40, 20, 0]])


class Logits:
    """A backend that has the same logits for all images."""

    def __init__(self, logits):
        self.values = logits

    def logits(self, images):
        return self.values[: len(images)]


def difference(row, column, value):
    changed = EXPECTED.copy()
    changed[row, column] += value
    return changed


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        (EXPECTED, True),
        (difference(0, 2, 1.9e-3), True),  # relative to 2
        (difference(0, 2, 2.1e-3), False),
        (difference(1, 2, 0.9e-3), True),  # absolute below 1
        (difference(1, 2, 1.1e-3), False),
        (difference(2, 0, 0.039), True),
        (difference(2, 0, np.nan), False),
        (difference(2, 0, np.inf), False),
    ],
)
def test_limit_on_the_difference_of_a_logit(logits, expected):
    assert is_within_limits(logits, EXPECTED) is expected


@pytest.mark.parametrize(("margin", "expected"), [(1.9e-3, True), (2.1e-3, False)])
def test_class_must_be_the_same_above_a_margin(margin, expected):
    logits = np.float32([[4, 4 + margin, 0]])
    swapped = np.float32([[4 + margin, 4, 0]])  # within the tolerance of logits
    assert is_within_limits(swapped, logits) is expected


def test_differences_are_recorded():
    batches = [np.zeros((n, 4, 4), np.uint8) for n in (3, 2)]
    logits = difference(1, 0, 0.01)
    verification, within = compare(Logits(logits), Logits(EXPECTED), batches, "closet")
    assert not within
    assert (verification.data, verification.images) == ("closet", 5)
    assert verification.max_difference == pytest.approx(0.01, rel=1e-3)
    assert verification.agreement == 3 / 5
    with pytest.raises(QualityGateError, match=r"5 images of closet: a logit by 0.01, 40.00%"):
        require_within_limits(verification, within)


def test_identical_logits_are_within_the_limits():
    images = [np.zeros((3, 4, 4), np.uint8)]
    verification, within = compare(Logits(EXPECTED), Logits(EXPECTED), images, "closet")
    require_within_limits(verification, within)
    assert (verification.max_difference, verification.agreement) == (0, 1)


@pytest.mark.parametrize("shape", [(28, 28), (9, 9), (28, 28, 3), (64, 64, 3)])
def test_generated_images_are_varied_and_always_the_same(shape):
    images, again = (np.concatenate(list(generate_images(shape, 120))) for _ in range(2))
    np.testing.assert_array_equal(images, again)
    assert images.shape == (120, *shape)
    assert images.dtype == np.uint8
    assert len({image.tobytes() for image in images}) == 120
    assert images.min() == 0
    assert images.max() == 255


def test_generated_images_come_in_bounded_batches():
    assert [len(batch) for batch in generate_images((28, 28), 250)] == [100, 100, 50]
    assert len(next(generate_images((2048, 2048), 10))) == 4
