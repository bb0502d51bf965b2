from enum import Enum

import numpy as np
import pandas as pd
import pytest
import torch

from fashioncnn.data.labels import as_labels, distinct_labels, encode_labels, natural_key
from fashioncnn.errors import DataError, UsageError

NUMBERS = tuple(str(i) for i in range(12))


def test_numbers_in_names_are_ordered_by_value():
    names = ["10", "2", "1", "img12a", "img2b", "Bag", "a", "02", "٣"]
    assert sorted(names, key=natural_key) == [
        *["1", "02", "2", "٣", "10", "Bag", "a", "img2b", "img12a"],
    ]


def test_distinct_labels_are_ordered():
    assert distinct_labels([10, 2, -1, 2]) == ("-1", "2", "10")
    assert distinct_labels(["10", "2", "a"]) == ("2", "10", "a")
    assert distinct_labels(np.array([True, False])) == ("False", "True")


def test_too_many_classes_are_rejected():
    with pytest.raises(DataError, match="300 distinct labels, expected 2 to 256 classes"):
        distinct_labels(np.arange(300))


@pytest.mark.parametrize(
    "labels",
    [
        [0, 2, 10],
        np.array([0, 2, 10], np.uint8),
        np.array([[0], [2], [10]]),
        np.array([0.0, 2.0, 10.0]),
        np.array([0, 2, 10], object),
        torch.tensor([0, 2, 10]),
        ["0", "2", "10"],
        ("0", "2", "10"),
        np.array(["0", "2", "10"]),
        np.array(["0", "2", "10"], object),
        np.array(["0", "2", "10"], np.dtypes.StringDType()),
    ],
    ids=lambda labels: f"{type(labels).__name__} {getattr(labels, 'dtype', '')}",
)
def test_integers_and_names_of_a_class_are_equal(labels):
    encoded = encode_labels(labels, NUMBERS)
    assert encoded.dtype == np.uint8
    assert encoded.tolist() == [0, 2, 10]


def test_integers_are_names_of_classes_that_are_integers():
    assert encode_labels([2, 10], sorted(NUMBERS)).tolist() == [4, 2]
    assert encode_labels([1, 3], ["1", "2", "3"]).tolist() == [0, 2]
    assert encode_labels([1, 0], ["bag", "3"]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 5], ["a", "b"], r"label 5 at position 1, expected 0 to 1 \(2 classes\)"),
        ([0, -1], ["a", "b"], "label -1 at position 1"),
        ([0, 1], ["1", "2"], "label 0 at position 0, expected one of 1, 2"),
        (["shrt"], ["shirt", "bag"], "'shrt' at position 0, .* shirt, bag; did you mean 'shirt'"),
        ([True, 2], ["1", "2"], "labels: 2 at position 1; should be all integers, all booleans or"),
        ([0, False], ["0", "1"], "labels: False at position 1; should be all integers, all boolea"),
        (np.array([True, 1], object), ["1", "2"], "labels: 1 at position 1; should be all"),
        ([None, "a"], ["a", "b"], "None at position 0; leave out images without label"),
        (pd.Series(["a", None]), ["a", "b"], "nan at position 1; leave out images without"),
        (pd.Series([1, None], dtype="Int64"), ["0", "1"], "nan at position 1; should be integers"),
        (np.array([pd.NA, 1], object), ["0", "1"], "<NA> at position 0; leave out images"),
        ([1.5], ["a", "b"], "labels: 1.5 at position 0; should be integers or names"),
        ([float("nan")], ["a", "b"], "labels: nan at position 0; should be integers or names"),
        ([[0, 1], [1, 0]], ["a", "b"], "one-hot"),
        ([[0], [1, 0]], ["a", "b"], "rows of different lengths"),
        ([b"a"], ["a", "b"], "labels of type |S1: should be integers or names"),
        (3, ["a", "b"], r"labels of type int: should be \(n,\) integers or names"),
        (None, ["a", "b"], "labels of type NoneType"),
        ({"a": 1}, ["a", "b"], "labels of type dict"),
        (iter([0, 1]), ["a", "b"], "labels of type list_iterator"),
        (np.array([0, 2**63], np.uint64), ["a", "b"], "9223372036854775808 at position 1; should"),
        ([1.0, 1e19], ["a", "b"], r"1e\+19 at position 1; should be below 2\*\*63"),
        (np.ma.masked_equal([0, 1], 1), ["a", "b"], "labels: masked array with masked values"),
        ([0.0, 1e300], ["a", "b"], r"labels: 1e\+300 at position 1; should be below"),
    ],
)
def test_other_labels_are_rejected(labels, classes, message):
    with pytest.raises(DataError, match=message):
        encode_labels(labels, classes)


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.uint8])
def test_the_largest_integers_are_labels(kind):
    largest = min(2**63 - 1, np.iinfo(kind).max)
    assert as_labels(np.array([0, largest], kind)).tolist() == [0, largest]


def test_no_labels_are_an_empty_array():
    assert encode_labels([], ["a", "b"]).shape == (0,)


def test_sparse_tensors_are_rejected():
    with pytest.raises(UsageError, match="labels: tensor that cannot be converted"):
        encode_labels(torch.eye(2)[0].to_sparse(), ["a", "b"])


@pytest.mark.parametrize(
    "labels",
    [
        [["b"], ["a"]],
        np.array([["b"], ["a"]]),
        np.array(["b", "a"], np.dtypes.StringDType()),
        [[1], [0]],
        np.ma.masked_array([1, 0]),
    ],
    ids=str,
)
def test_one_column_is_a_list(labels):
    assert encode_labels(labels, ["a", "b"]).tolist() == [1, 0]


class Color(str, Enum):  # noqa: UP042 - unlike StrEnum, `str` is its name
    RED = "red"
    GREEN = "green"


def test_members_of_an_enumeration_of_strings_are_their_values():
    """`numpy.array` has the beginnings of their names, which are equal."""
    labels = [Color.RED, Color.GREEN, Color.RED]
    assert distinct_labels(labels) == ("green", "red")
    assert encode_labels(labels, ["red", "green"]).tolist() == [0, 1, 0]


@pytest.mark.filterwarnings("error")
def test_float16_has_integers():
    assert as_labels(np.array([0, 2, 1], np.float16)).tolist() == [0, 2, 1]
