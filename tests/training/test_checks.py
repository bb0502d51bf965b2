"""What is rejected before a training starts."""

from dataclasses import replace

import numpy as np
import pytest

from fashioncnn.config import resolve
from fashioncnn.data.dataset import Split
from fashioncnn.errors import DataError, UsageError
from fashioncnn.training.prepare import prepare_settings


def resolve_with(*assignments, **flags):
    return resolve("baseline", assignments=assignments, flags=flags, environment={})


def test_tracking_a_missing_test_split_is_rejected(small):
    with pytest.raises(DataError, match="no test split"):
        prepare_settings(resolve_with(), replace(small, test=None))


def test_views_that_the_data_does_not_have_are_rejected(small):
    with pytest.raises(UsageError, match=r"data\.views = 'photo': .* loaded as 'plain'"):
        prepare_settings(resolve_with("data.views=photo"), replace(small, views="plain"))


def test_initial_model_of_other_classes_and_sizes_needs_fitting_weights(small, tiny_result):
    two = Split(small.train.images[:2], np.array([0, 1], np.uint8))
    other = replace(small, class_names=("Bag", "Hat"), train=two, test=two)
    assert prepare_settings(resolve_with(), other, tiny_result.model)
    larger = replace(two, images=np.zeros((2, 32, 32), np.uint8))
    with pytest.raises(UsageError, match=r"image_size = 32: .* fashion_cnn fit only images of 28"):
        prepare_settings(
            resolve_with(), replace(other, train=larger, test=larger), tiny_result.model
        )


def test_teachers_trained_first_contradict_an_initial_model(small, tiny_result):
    with pytest.raises(UsageError, match=r"distillation\.ensemble_size = 2: teachers are trained"):
        prepare_settings(resolve_with("distillation.ensemble_size=2"), small, tiny_result.model)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.freeze=features", "freeze = 'features': only for a training that starts from"),
        ("training.patience=2", "patience = 2: early stopping needs a validation split"),
        ("data.channels=3", "channels = 3: the images of .* are grayscale"),
    ],
)
def test_settings_that_contradict_the_data_are_rejected_by_name(assignment, message, small):
    settings = resolve_with(assignment, "data.validation=0")
    with pytest.raises(UsageError, match=message):
        prepare_settings(settings, small)
