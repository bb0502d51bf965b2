import numpy as np
import pytest
import torch

from fashioncnn.augmentation.fashion import create_augmentation
from fashioncnn.augmentation.outlier_exposure import LOWER, UPPER, WHOLE
from fashioncnn.settings import AugmentationConfig

NAMES = ("Dress", "Sneaker", "Hat", "Trouser", "Shirt")
CPU = torch.device("cpu")


def create(**settings):
    labels = np.array([1, 0, 2, 3, 4, 1], np.uint8)
    return create_augmentation(AugmentationConfig(**settings), labels, NAMES, 5, CPU)


@pytest.mark.parametrize("settings", [{}, {"erasing_fill": "zero"}])
def test_no_augmentation_is_created_if_no_transform_is_enabled(settings):
    assert create(**settings) is None


def test_augmentation_covers_the_split_with_the_given_seed():
    augmentation = create(flip=0.5)
    assert (augmentation.n, augmentation.seed) == (6, 5)
    assert augmentation.parameters(torch.arange(6), 0).keys() == {"flip"}


def test_each_image_has_the_traits_of_its_class():
    parameters = create(photograph=0.5, outlier_exposure=0.5).parameters(torch.arange(6), 0)
    traits = {name: parameters[name].tolist() for name in ("has_pair", "has_sleeves", "drapes")}
    assert traits == {
        "has_pair": [True, False, False, False, False, True],
        "has_sleeves": [False, False, False, False, True, False],
        "drapes": [False, True, False, False, False, False],
    }
    expected = [WHOLE, LOWER, WHOLE, UPPER, WHOLE, WHOLE]
    assert parameters["partial_garment"].tolist() == expected
