"""Images that a run trains on: validation split, fold, fraction and label noise."""

from dataclasses import replace

import numpy as np
import pytest

from fashioncnn.data.splits import folds, split_validation, subset_indices
from fashioncnn.data.training_data import (
    hold_out,
    noisy_labels,
    training_data_name,
    training_splits,
)
from fashioncnn.errors import UsageError
from fashioncnn.settings import DataConfig

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(3, dtype=np.uint8), [60, 30, 9]))


@pytest.mark.parametrize(("smaller", "larger"), [(3, 10), (10, 11), (50, 98)])
def test_smaller_subset_is_part_of_a_larger_one(smaller, larger):
    first, second = subset_indices(LABELS, smaller), subset_indices(LABELS, larger)
    assert (len(first), len(second)) == (smaller, larger)
    assert set(first) < set(second)
    assert (np.diff(second) > 0).all()


@pytest.mark.parametrize("size", [3, 33, 66])
def test_subset_has_the_class_proportions_and_every_class(size):
    counts = np.bincount(LABELS[subset_indices(LABELS, size)], minlength=3)
    assert np.abs(counts - np.bincount(LABELS) * size / len(LABELS)).max() <= 1
    assert counts.min() >= 1


def test_subset_of_balanced_classes_is_balanced():
    labels = np.arange(1000, dtype=np.uint8) % 10
    assert np.bincount(labels[subset_indices(labels, 100)]).tolist() == [10] * 10


def test_subset_does_not_change_between_versions():
    labels = np.arange(60, dtype=np.uint8) % 3
    assert subset_indices(labels, 9).tolist() == [4, 6, 17, 19, 24, 31, 32, 47, 54]


def test_validation_split_does_not_depend_on_fraction_and_noise(small):
    _, expected = training_splits(small, DataConfig())
    config = DataConfig(fraction=0.1, label_noise=0.5)
    train, validation = training_splits(small, config)
    np.testing.assert_array_equal(validation.indices, expected.indices)
    np.testing.assert_array_equal(validation.labels, small.train.labels[validation.indices])
    assert (len(validation), len(train)) == (50, 25)
    assert not set(train.indices) & set(validation.indices)
    np.testing.assert_array_equal(train.images, small.train.images[train.indices])


def test_default_is_the_split_without_changes(small):
    train, validation = training_splits(small, DataConfig(validation=50))
    expected = split_validation(small.train, 50)
    assert (train.sha256, validation.sha256) == tuple(split.sha256 for split in expected)


def test_fold_is_held_out(small):
    held_out = []
    for number in range(1, 6):
        train, fold = training_splits(small, DataConfig(fold=f"{number}/5", validation=7))
        expected = folds(small.train.labels, 5)[number - 1]
        np.testing.assert_array_equal(train.indices, expected[0])
        np.testing.assert_array_equal(fold.indices, expected[1])
        held_out += fold.indices.tolist()
    assert sorted(held_out) == list(range(300))


def test_more_folds_than_images_are_rejected(small):
    few = replace(small, train=small.train.subset(np.arange(20)))
    with pytest.raises(UsageError, match=r"fold = 1/21: there are only 20 training images"):
        hold_out(few, DataConfig(fold="1/21"))


def test_fraction_with_fewer_images_than_classes_is_rejected(small):
    message = r"fraction = 0.01: leaves 2 of 250 training images for 10 classes; use at least 0.04"
    with pytest.raises(UsageError, match=message):
        training_splits(small, DataConfig(fraction=0.01))


def test_noise_replaces_the_fraction_of_labels_by_every_other_class_alike():
    labels = np.arange(60_000, dtype=np.uint8) % 10
    noisy = noisy_labels(labels, np.arange(60_000), 0.2, 10)
    changed = noisy != labels
    # Five standard deviations of a binomial distribution.
    assert abs(changed.sum() - 12_000) < 5 * np.sqrt(60_000 * 0.2 * 0.8)
    shifts = np.bincount((noisy[changed].astype(int) - labels[changed]) % 10, minlength=10)
    assert shifts[0] == 0
    expected = changed.sum() / 9
    assert np.abs(shifts[1:] - expected).max() < 5 * np.sqrt(expected)
    assert noisy.dtype == np.uint8


def test_noise_is_a_function_of_the_index():
    indices = np.arange(1000)
    labels = (indices % 10).astype(np.uint8)
    noisy = noisy_labels(labels, indices, 0.3, 10)
    chosen = np.array([900, 5, 31])
    of_subset = noisy_labels(labels[chosen], indices[chosen], 0.3, 10)
    np.testing.assert_array_equal(of_subset, noisy[chosen])


def test_more_noise_replaces_the_same_labels_and_others():
    indices = np.arange(1000)
    labels = (indices % 10).astype(np.uint8)
    little, much = (noisy_labels(labels, indices, p, 10) for p in (0.1, 0.4))
    changed = little != labels
    np.testing.assert_array_equal(much[changed], little[changed])


def test_noise_without_images():
    assert len(noisy_labels(np.empty(0, np.uint8), np.empty(0, np.int64), 0.5, 10)) == 0


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (DataConfig(), "own"),
        (DataConfig(fold="1/5"), "own"),
        (DataConfig(fraction=0.125), "own, 12.5% of the training images"),
        (DataConfig(label_noise=0.4), "own, 40% label noise"),
    ],
)
def test_name_says_what_was_changed(config, name):
    assert training_data_name("own", config) == name


@pytest.mark.parametrize("validation", ["auto", 0, 40])
def test_validation_split_of_the_source_is_used(small, validation):
    given = replace(small, validation=small.test.subset(np.arange(40)))
    train, used = training_splits(given, DataConfig(validation=validation))
    assert train is given.train
    assert used is given.validation


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig(validation=50), "validation = 50: sketches has a validation split of 40"),
        (DataConfig(validation=0.2), "validation = 0.2: sketches has a validation split of 40"),
        (DataConfig(fold="1/5"), "fold = 1/5: sketches has a validation split of 40"),
    ],
    ids=str,
)
def test_another_validation_split_than_that_of_the_source_is_rejected(small, config, message):
    given = replace(small, validation=small.test.subset(np.arange(40)))
    with pytest.raises(UsageError, match=message):
        training_splits(given, config)


def test_validation_split_may_be_a_fraction(small):
    train, validation = training_splits(small, DataConfig(validation=0.2))
    assert (len(train), len(validation)) == (240, 60)
    with pytest.raises(UsageError, match=r"validation = 0.001: no whole image of 300"):
        training_splits(small, DataConfig(validation=0.001))
