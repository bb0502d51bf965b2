from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fashioncnn.data import dataset
from fashioncnn.data.dataset import Dataset, Split, custom_dataset_name, validated_split
from fashioncnn.data.load import load_dataset
from fashioncnn.errors import DataError, UsageError

IMAGES, LABELS = np.zeros((4, 6, 6), np.uint8), np.array([0, 1, 0, 1], np.uint8)


def test_dataset_without_test_split():
    data = Dataset("own", ("a", "b"), Split(IMAGES, LABELS), None, "plain", "here")
    assert list(data.splits) == ["train"]
    assert data.hashes == {"train": data.train.sha256}
    with pytest.raises(DataError, match=r"here: no test split, only train; add one$"):
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


@pytest.mark.parametrize(
    "indices", [[0, 1, 2, 3], np.arange(4.0), np.arange(4)[:, None], np.arange(4) - 1]
)
def test_indices_are_positions(indices):
    with pytest.raises(DataError, match=r"indices of .*: should be \(n,\) int64, each at least 0"):
        Split(IMAGES, LABELS, indices)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": Split(IMAGES, LABELS + 2)}, "here: train split: label 2 at position 0"),
        ({"validation": Split(IMAGES, LABELS + 1)}, "validation split: label 2 at position 1"),
        ({"test": Split(IMAGES[:, 1:, 1:], LABELS)}, "training images are 6×6 but test images 5×5"),
        ({"train": (IMAGES, LABELS)}, "here: a split of type tuple; should be a Split"),
        ({"train": Split(IMAGES[:0], LABELS[:0])}, "here: no images"),
        ({"class_names": ("a", "a")}, "2 class names, 1 of them unique"),
        ({"class_names": ("a",)}, "1 class names"),
        ({"class_names": ("a", 1)}, "class name 1; should be printable names"),
        ({"class_names": "ab"}, "class name 'ab'"),
        ({"views": "nice"}, "views 'nice'; should be in"),
        ({"views": ["plain"]}, r"views \['plain'\]; should be in"),
        ({"class_names": 2}, "here: class names of type int; should be a list"),
        ({"name": None}, "name of type NoneType: should be a string"),
        ({"source": Path("here")}, "source of type .*Path: should be a string"),
        ({"rehearsal": (IMAGES, LABELS)}, "here: a split of type tuple; should be a Split"),
    ],
)
def test_inconsistent_dataset_is_rejected(changes, message):
    valid = Dataset("own", ("a", "b"), Split(IMAGES, LABELS), None, "plain", "here")
    with pytest.raises(DataError, match=message):
        replace(valid, **changes)


def test_only_official_splits_are_called_fashion_mnist(small, monkeypatch):
    monkeypatch.setattr(dataset, "OFFICIAL_SPLITS", small.hashes)
    official = replace(small, name="fashion-mnist")
    assert official.name == "fashion-mnist"
    assert replace(official, test=None).name == "fashion-mnist"
    truncated = replace(official, train=official.train.subset(np.arange(200)))
    assert truncated.name == "fashion-mnist, modified"
    assert truncated.name_of("test") == "fashion-mnist"
    assert truncated.name_of("train") == truncated.name_of("validation") == truncated.name
    assert replace(official, test=official.test.subset(np.arange(9))).name_of("test") == (
        "fashion-mnist, modified"
    )


def test_official_hashes_are_those_of_the_official_files(real_data):
    data = load_dataset(real_data)
    assert data.hashes == dataset.OFFICIAL_SPLITS
    assert data.name == "fashion-mnist"


def test_dataset_without_training_images_cannot_be_trained_on():
    split = Split(IMAGES, LABELS)
    data = Dataset("own", ("a", "b"), split.subset(np.arange(0)), split, "plain", "here")
    assert list(data.splits) == ["test"]
    with pytest.raises(DataError, match="here: no training split, only test; add one"):
        data.require_train()


class TestFromArrays:
    def test_integer_labels_that_do_not_start_at_0_become_the_class_names(self):
        data = Dataset.from_arrays(IMAGES, [1, 2, 3, 3])
        assert data.class_names == ("1", "2", "3")
        assert data.train.labels.tolist() == [0, 1, 2, 2]

    @pytest.mark.parametrize("channels", [2, "3", None])
    def test_channels_are_1_or_3(self, channels):
        with pytest.raises(UsageError, match=f"channels = {channels!r}: should be 1 or 3"):
            Dataset.from_arrays(IMAGES, LABELS, channels=channels)

    def test_class_names_may_be_those_of_numpy(self):
        data = Dataset.from_arrays(IMAGES, LABELS, class_names=np.array(["a", "b"]))
        assert data.class_names == ("a", "b")
        assert {type(name) for name in data.class_names} == {str}

    def test_names_are_ordered_naturally(self):
        data = Dataset.from_arrays(IMAGES, ["shoe 10", "shoe 9", "bag", "bag"])
        assert data.class_names == ("bag", "shoe 9", "shoe 10")
        assert data.train.labels.tolist() == [2, 1, 0, 0]

    def test_integers_are_positions_in_given_class_names(self):
        data = Dataset.from_arrays(IMAGES, [1, 1, 0, 0], class_names=["x", "b"])
        assert data.class_names == ("x", "b")
        assert data.train.labels.tolist() == [1, 1, 0, 0]

    def test_other_splits_use_the_classes_of_the_training_split(self):
        other = IMAGES[:1], ["b"]
        data = Dataset.from_arrays(IMAGES, list("abab"), test=other, validation=other, name="my")
        assert (data.name, data.source) == ("my", "arrays in memory")
        assert data.test.labels.tolist() == data.validation.labels.tolist() == [1]
        assert list(data.splits) == ["train", "validation", "test"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"labels": [0, 1, 0]}, "4 images but 3 labels"),
            ({"labels": [0, 0, 0, 0]}, "1 distinct label, expected 2 to 256"),
            ({"labels": [0.5, 1, 0, 1]}, "0.5 at position 0; should be integers or names"),
            ({"labels": [0, 1, 0, None]}, "None at position 3; leave out images without"),
            ({"labels": ["a", 1, 0, 1]}, "labels: 1 at position 1; should be all integers, all"),
            ({"labels": np.eye(4)}, r"labels of shape \(4, 4\): .*argmax"),
            ({"test": (IMAGES, [0, 1, 0, 2])}, "test labels: label 2 at position 3, expected 0 to"),
            ({"test": (IMAGES[:3], LABELS)}, "test: 3 images but 4 labels"),
            ({"test": IMAGES}, r"test of type ndarray: should be \(images, labels\)"),
            ({"test": (IMAGES[:, 1:, 1:], LABELS)}, "but test images 5×5"),
            ({"class_names": ["a", "b", "a"]}, "3 class names, 2 of them unique"),
            ({"class_names": "ab"}, "class name 'ab'; should be printable names, one per class"),
            ({"class_names": ["a", 1]}, "class name 1; should be printable names"),
            ({"class_names": 2}, "class names of type int; should be a list"),
        ],
    )
    def test_invalid_arrays_are_rejected_in_one_line(self, arguments, message):
        arguments = {"images": IMAGES, "labels": LABELS, **arguments}
        with pytest.raises(DataError, match=message) as caught:
            Dataset.from_arrays(**arguments)
        assert "\n" not in str(caught.value)


def test_representations_are_short(sketches):
    assert (
        repr(sketches) == "Dataset(sketches, train: 3,000, test: 1,000, 28×28 pixels, 10 classes)"
    )
    assert repr(sketches.test) == "Split(1,000 images, 28×28)"
