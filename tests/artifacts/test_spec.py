"""What a model says about its predictions."""

import pytest

from fashioncnn.artifacts.ood import OODDetector

IN_CLASSES = "the probability that the image shows one of the classes"


@pytest.mark.parametrize(
    ("detector", "confidence"),
    [
        (None, "the highest class probability"),
        (OODDetector(1.0, 0.0), IN_CLASSES),
        (OODDetector(1.0, 0.0, 2.0), f"{IN_CLASSES} and is classified correctly"),
    ],
)
def test_confidence_is_described_by_how_it_is_computed(description, detector, confidence):
    assert description.spec.replace(ood_detector=detector).confidence == confidence
