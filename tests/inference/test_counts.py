"""Numbers of predictions."""

from dataclasses import asdict

import numpy as np
import pytest

from fashioncnn.inference.counts import Counts
from fashioncnn.inference.predictor import Prediction

PROBABILITIES = np.array([0.9, 0.1])


def read(number, **values):
    return Prediction(f"{number}.png", PROBABILITIES, None, **values)


PREDICTIONS = [
    read(0),
    read(1, abstained=True, resized=True),
    Prediction("2.png", None, "2.png: not a JPEG"),
    Prediction("3.png", None, "3.png: no such file", found=False),
    *(read(number, several_garments=True) for number in range(4, 9)),
]
EXPECTED = {
    "images": 9,
    "found": 8,
    "failed": 2,
    "abstained": 1,
    "resized": 1,
    "several": ["4.png", "5.png", "6.png"],
    "more": 2,
}


def counts_of(predictions):
    counts = Counts()
    for prediction in predictions:
        counts.count(prediction)
    return counts


def test_every_prediction_is_counted():
    assert asdict(counts_of(PREDICTIONS)) == EXPECTED


@pytest.mark.parametrize("at", range(len(PREDICTIONS) + 1))
def test_sums_are_those_of_all_predictions(at):
    total = Counts()
    total.add(counts_of(PREDICTIONS[:at]))
    total.add(counts_of(PREDICTIONS[at:]))
    assert asdict(total) == EXPECTED


def test_an_image_may_be_counted_under_another_name():
    counts = Counts()
    counts.count(read(0, several_garments=True), "other")
    assert counts.several == ["other"]
