"""What is rejected before a training starts."""

from dataclasses import replace

import numpy as np
import pytest

from fashioncnn.config import override, resolve
from fashioncnn.data.dataset import Split
from fashioncnn.errors import DataError, UsageError
from fashioncnn.training.initialize import class_frequencies
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


@pytest.mark.parametrize(("folds", "images"), [(1, 300), (3, 1)])
def test_cross_validation_that_is_not_possible_is_rejected(folds, images, small):
    """It is needed after the training, which would have been in vain."""
    dataset = replace(small, train=small.train.subset(np.arange(images)))
    settings = resolve_with(f"training.calibration_folds={folds}", "data.validation=0")
    with pytest.raises(UsageError, match=rf"training\.calibration_folds = {folds}: .* set it to 0"):
        prepare_settings(settings, dataset)
    calibrated = override(settings, {"training.temperature": 1.0})
    prepare_settings(calibrated, dataset)


def test_batches_of_folds_are_checked_for_batch_norm(small):
    """Of 300 images, 150 are outside of each fold: 149 in a batch and one in the next."""
    network = "model.name=batchnorm_cnn", "model.channels=[4, 4, 4, 4]"  # from 28 to 1 pixel
    settings = resolve_with(*network, "training.calibration_folds=2", batch_size=149)
    with pytest.raises(UsageError, match="batch_size = 149: the last batch of 150 images"):
        prepare_settings(settings, small)
    prepare_settings(resolve_with(*network, batch_size=149), small)


def outside_of_classes(split):
    allowed = np.zeros((len(split), 10), bool)
    return replace(split, labels=np.zeros(len(split), np.uint8), allowed=allowed)


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_a_split_that_needs_images_of_the_classes_and_has_none_is_rejected(name, small):
    """Its metrics would be those of no images, and training end with a loss that is not finite."""
    dataset = replace(small, name="own", validation=small.test)
    dataset = replace(dataset, **{name: outside_of_classes(getattr(dataset, name))})
    message = "training" if name == "train" else name
    with pytest.raises(DataError, match=f"no image of the {message} split belongs to a class"):
        prepare_settings(resolve_with("training.track_test=true"), dataset)


def test_only_outliers_are_trained_on_beside_images_of_rehearsal(small):
    train = outside_of_classes(small.train)
    dataset = replace(small, name="own", train=train, rehearsal=small.test)
    settings = resolve_with("data.rehearsal=5", "training.logit_adjustment=1.0")
    assert prepare_settings(settings, dataset).data.rehearsal == 5
    np.testing.assert_array_equal(class_frequencies(train, 10), np.full(10, 0.1))
