"""Predictions are named after the images that they are of."""

import numpy as np
import pytest
from PIL import Image

from fashioncnn import Classifier
from fashioncnn.errors import UsageError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def classifier():
    return Classifier.load("accurate")


def test_predictions_of_a_folder_are_named_after_its_images(classifier, tmp_path):
    (tmp_path / "closet").mkdir()
    for name, image in zip(("b", "a", "c"), IMAGES, strict=True):
        Image.fromarray(image).save(tmp_path / f"closet/{name}.png")
    paths = [str(tmp_path / f"closet/{name}.png") for name in "abc"]
    predictions = classifier.predictions(tmp_path / "closet")
    assert [p.source for p in predictions] == paths
    predictions = classifier.predictions([str(tmp_path / "closet"), IMAGES[0]])
    assert [p.source for p in predictions] == [*paths, "image 3"]
    labels = [p.probabilities.argmax() for p in predictions]
    assert labels == classifier.predict(IMAGES[[1, 0, 2, 0]]).tolist()


def test_square_arrays_of_rows_are_rejected_by_the_classifier(classifier):
    with pytest.raises(UsageError, match="unclear, one image, or 784 flattened"):
        classifier.predict(np.zeros((784, 784), np.uint8))
