import numpy as np
import pytest

from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.splits import (
    folds,
    hold_out_test,
    split_validation,
    stratified_split_indices,
    validation_size,
)
from fashioncnn.data.training_data import training_splits
from fashioncnn.errors import UsageError
from fashioncnn.settings import DataConfig

LABELS = np.random.default_rng(0).permutation(
    np.repeat(np.arange(4, dtype=np.uint8), [40, 30, 20, 11])
)
SPLIT = Split(np.zeros((len(LABELS), 2, 2), np.uint8), LABELS)


@pytest.mark.parametrize("held_out", [0, 1, 7, 50, 100])
def test_holdout_is_exact_disjoint_and_complete(held_out):
    train, validation = stratified_split_indices(LABELS, held_out)
    assert len(validation) == held_out
    assert sorted([*train, *validation]) == list(range(len(LABELS)))


def test_holdout_has_the_class_proportions_of_the_whole():
    _, validation = stratified_split_indices(LABELS, 50)
    exact = np.bincount(LABELS) * 50 / len(LABELS)
    assert np.abs(np.bincount(LABELS[validation]) - exact).max() < 1


def test_holdout_does_not_change_between_versions():
    _, validation = stratified_split_indices(np.arange(60, dtype=np.uint8) % 3, 9)
    assert validation.tolist() == [3, 4, 12, 20, 29, 31, 41, 48, 52]


@pytest.mark.parametrize("held_out", [-1, 101, 1000])
def test_holdout_that_leaves_no_training_images_is_rejected(held_out):
    with pytest.raises(UsageError, match=f"validation = {held_out}: must be from 0 to 100"):
        stratified_split_indices(LABELS, held_out)


def test_validation_split_keeps_the_indices_of_its_images():
    train, validation = split_validation(SPLIT, 20)
    assert len(train) == 81
    np.testing.assert_array_equal(LABELS[validation.indices], validation.labels)
    np.testing.assert_array_equal(LABELS[train.indices], train.labels)
    assert not set(train.indices) & set(validation.indices)


def test_validation_of_size_zero_keeps_the_training_split():
    train, validation = split_validation(SPLIT, 0)
    assert train is SPLIT
    assert validation is None


@pytest.mark.parametrize(("setting", "size"), [("auto", 10_000), (500, 500), (0, 0)])
def test_validation_size(setting, size):
    assert validation_size(setting, 60_000) == size


@pytest.mark.parametrize("k", [2, 3, 5, 101])
def test_folds_are_disjoint_and_cover_everything(k):
    pairs = folds(LABELS, k)
    assert len(pairs) == k
    held_out = np.concatenate([fold for _, fold in pairs])
    assert sorted(held_out) == list(range(len(LABELS)))
    for train, fold in pairs:
        assert sorted([*train, *fold]) == list(range(len(LABELS)))


@pytest.mark.parametrize("k", [2, 3, 5, 10])
def test_folds_are_stratified(k):
    counts = np.array([np.bincount(LABELS[fold], minlength=4) for _, fold in folds(LABELS, k)])
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(1)) <= 1


def test_folds_are_shuffled_but_deterministic():
    first, again = (np.concatenate([fold for _, fold in folds(LABELS, 5)]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    in_file_order = np.concatenate([np.arange(len(LABELS))[i::5] for i in range(5)])
    assert (first != in_file_order).any()


@pytest.mark.parametrize("k", [-1, 0, 1, 102])
def test_number_of_folds_out_of_range_is_rejected(k):
    with pytest.raises(UsageError, match=f"folds = {k}: must be from 2 to 101"):
        folds(LABELS, k)


def test_the_last_image_of_a_class_is_not_held_out():
    labels = np.array([0] * 20 + list(range(1, 21)), np.uint8)
    train, validation = stratified_split_indices(labels, 10)
    assert len(validation) == 10
    assert set(labels[train]) == set(range(21))
    train, validation = stratified_split_indices(labels, 25)  # impossible
    assert (len(train), len(validation)) == (15, 25)


def test_validation_split_that_takes_all_images_of_a_class_is_rejected():
    split = Split(np.zeros((6, 2, 2), np.uint8), np.array([0, 0, 1, 1, 2, 2], np.uint8))
    message = "validation = 4: leaves 2 of 6 training images for 3 classes; hold out at most 3"
    with pytest.raises(UsageError, match=message):
        split_validation(split, 4)
    assert set(split_validation(split, 3)[0].labels) == {0, 1, 2}


def test_no_test_split_is_cut_from_classes_of_one_image():
    labels = np.arange(12, dtype=np.uint8)
    train, test = hold_out_test(Split(np.zeros((12, 2, 2), np.uint8), labels))
    assert (len(train), test) == (12, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0.9999, "validation = 0.9999: holds out 101 images, but there are only 101 training"),
        (101, "validation = 101: holds out 101 images, but there are only 101 training images"),
        (
            0.985,
            "validation = 0.985: leaves 2 of 101 training images for 4 classes; hold out at mo",
        ),
    ],
)
def test_messages_have_the_setting_as_it_was_given(given, message):
    dataset = Dataset("x", tuple("abcdefghij"), SPLIT, None, "plain", "x")
    with pytest.raises(UsageError, match=message):
        training_splits(dataset, DataConfig(validation=given))
