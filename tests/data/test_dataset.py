from pathlib import Path

import numpy as np
import pytest

from fashioncnn.data.dataset import Dataset, Split, custom_dataset_name, validated_split
from fashioncnn.errors import DataError


def make_split(n):
    images = np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2)
    return Split(images, np.arange(n, dtype=np.uint8) % 3)


def test_indices_default_to_positions():
    split = make_split(5)
    assert split.indices.dtype == np.int64
    assert split.indices.tolist() == [0, 1, 2, 3, 4]


def test_subset_selects_in_the_given_order():
    subset = make_split(6).subset(np.array([4, 1]))
    assert subset.images[:, 0, 0].tolist() == [16, 4]
    assert subset.labels.tolist() == [1, 1]
    assert subset.indices.tolist() == [4, 1]


def test_subset_of_a_subset_keeps_the_original_indices():
    subset = make_split(6).subset(np.array([5, 3, 1])).subset(np.array([2, 0]))
    assert subset.indices.tolist() == [1, 5]


def test_hash_depends_on_every_pixel_and_label_and_the_shape():
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


def test_hash_is_stable_and_independent_of_indices():
    split = make_split(4)
    known = "04bde0a30961683fd8c89051828b8900ad4ec065080cc4ed99f32f8d04ec2828"
    assert split.sha256 == known
    assert Split(split.images, split.labels, split.indices + 7).sha256 == known


def test_dataset_without_test_split():
    data = Dataset("own", ("a", "b", "c"), make_split(5), None, "plain", "here")
    assert list(data.splits) == ["train"]
    assert data.hashes == {"train": data.train.sha256}
    with pytest.raises(DataError, match="here: no test split; add one, or train with"):
        data.require_test()


@pytest.mark.parametrize("name", ["fashion-mnist", "sketches"])
def test_folder_named_as_a_built_in_dataset_is_distinguished(name):
    assert custom_dataset_name(Path("somewhere") / name) == f"own {name}"
    assert custom_dataset_name(Path("somewhere") / "shoes") == "shoes"


def test_different_numbers_of_images_and_labels_are_rejected():
    with pytest.raises(DataError, match="x: 3 images but 2 labels"):
        validated_split(np.zeros((3, 2, 2), np.uint8), np.zeros(2, np.uint8), 10, "x")


def test_label_out_of_range_is_reported_with_its_position():
    labels = np.array([9, 10, 0], np.uint8)
    with pytest.raises(DataError, match="x: label 10 at position 1, expected 0 to 9"):
        validated_split(np.zeros((3, 2, 2), np.uint8), labels, 10, "x")
