import numpy as np
import pytest

from fashioncnn.data.dataset import Split, validated_split
from fashioncnn.data.splits import split_validation, stratified_split_indices
from fashioncnn.errors import DataError, UsageError

LABELS = np.repeat(np.arange(4, dtype=np.uint8), [40, 30, 20, 11])


@pytest.mark.parametrize("held_out", [0, 1, 7, 50, 100])
def test_holdout_is_exact_disjoint_and_complete(held_out):
    kept, held = stratified_split_indices(LABELS, held_out)
    assert len(held) == held_out
    assert sorted([*kept, *held]) == list(range(len(LABELS)))


def test_holdout_has_the_same_share_of_every_class():
    _, held = stratified_split_indices(LABELS, 50)
    exact = np.bincount(LABELS) * 50 / len(LABELS)
    assert np.abs(np.bincount(LABELS[held]) - exact).max() < 1


def test_holdout_is_always_the_same():
    np.testing.assert_array_equal(
        stratified_split_indices(LABELS, 9)[1], stratified_split_indices(LABELS, 9)[1]
    )


@pytest.mark.parametrize("held_out", [-1, 101, 1000])
def test_holdout_that_leaves_nothing_is_refused(held_out):
    with pytest.raises(UsageError, match=f"validation = {held_out}"):
        stratified_split_indices(LABELS, held_out)


def test_validation_of_nothing_keeps_everything():
    split = Split(np.zeros((len(LABELS), 2, 2), np.uint8), LABELS)
    train, validation = split_validation(split, 0)
    assert train is split
    assert validation is None


def test_images_and_labels_must_be_as_many():
    with pytest.raises(DataError, match="3 images but 2 labels"):
        validated_split(np.zeros((3, 2, 2), np.uint8), np.zeros(2, np.uint8), 10, "x")


def test_a_label_out_of_range_is_named_with_its_place():
    with pytest.raises(DataError, match="label 10 at position 1"):
        validated_split(np.zeros((3, 2, 2), np.uint8), np.array([9, 10, 0], np.uint8), 10, "x")


def test_hash_depends_on_every_pixel_and_label():
    images, labels = np.zeros((2, 2, 2), np.uint8), np.zeros(2, np.uint8)
    other_images, other_labels = images.copy(), labels.copy()
    other_images[1, 1, 1] = 1
    other_labels[1] = 1
    hashes = {
        Split(images, labels).sha256,
        Split(other_images, labels).sha256,
        Split(images, other_labels).sha256,
        Split(images.reshape(2, 1, 4), labels).sha256,
    }
    assert len(hashes) == 4
