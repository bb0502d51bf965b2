import numpy as np
import pytest

from fashioncnn.data.split import Split
from fashioncnn.errors import DataError

IMAGES, LABELS = np.zeros((4, 6, 6), np.uint8), np.array([0, 1, 0, 1], np.uint8)


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


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((60, 6, 6), np.uint8), np.zeros(50, np.uint8), "60 images but 50 labels"),
        (IMAGES / 255, LABELS, "images of float64: should be an array of uint8"),
        (IMAGES, LABELS.astype(int), "labels of int64: should be an array of uint8"),
        (IMAGES.tolist(), LABELS, "images of type list: should be an array of uint8"),
        (IMAGES[:, None], LABELS, r"images of shape \(4, 1, 6, 6\): should be"),
        (IMAGES.reshape(4, 36), LABELS, r"images of shape \(4, 36\): should have 3 or 4"),
    ],
)
def test_inconsistent_split_is_rejected(images, labels, message):
    with pytest.raises(DataError, match=message):
        Split(images, labels)


def test_hash_is_independent_of_names():
    split = make_split(4)
    named = Split(split.images, split.labels, names=("a", "b", "c", "d"))
    assert named.sha256 == split.sha256
    assert split.names is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "b"), "2 names but 4 labels"),
        (["a", "b", "c", "d"], "names of type list: should be a tuple of strings"),
        ((1, 2, 3, 4), "names of type tuple: should be a tuple of strings"),
    ],
)
def test_names_that_do_not_fit_are_rejected(names, message):
    with pytest.raises(DataError, match=message):
        Split(IMAGES, LABELS, names=names)
