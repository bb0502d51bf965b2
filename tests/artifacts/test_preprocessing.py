"""Preprocessing fitted to images."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from fashioncnn.artifacts.preprocessing import Preprocessing, fit_preprocessing


@pytest.mark.parametrize(("scaling", "mean", "std"), [("unit", 0.0, 1.0), ("symmetric", 0.5, 0.5)])
def test_fixed_scalings(small, scaling, mean, std):
    fitted = fit_preprocessing(small.train.images, scaling, "fashion")
    assert fitted == Preprocessing(28, mean, std, "fashion")
    assert fitted.scaling == scaling


def test_standard_scaling_has_mean_and_standard_deviation_of_the_pixels(small):
    fitted = fit_preprocessing(small.train.images, "standard", "plain")
    values = small.train.images / 255
    assert (fitted.mean, fitted.std) == pytest.approx((values.mean(), values.std()), rel=1e-12)
    assert (fitted.scaling, fitted.views) == ("standard", "plain")


def test_standard_deviation_of_constant_images_is_one_gray_level():
    fitted = fit_preprocessing(np.full((2, 8, 8), 51, np.uint8), "standard", "plain")
    assert (fitted.mean, fitted.std) == pytest.approx((0.2, 1 / 255))


@pytest.mark.parametrize(
    "change", [{"std": 0}, {"std": float("inf")}, {"image_size": 0}, {"views": "other"}], ids=str
)
def test_invalid_values_are_rejected(change):
    values = {"image_size": 28, "mean": 0.0, "std": 1.0, "views": "plain", **change}
    with pytest.raises(ValidationError):
        TypeAdapter(Preprocessing).validate_python(values)
