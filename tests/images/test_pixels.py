"""Which gray levels the values of an array mean."""

import numpy as np
import pytest

from fashioncnn.errors import UsageError
from fashioncnn.images.pixels import PixelValueError, from_16_bit, to_levels

LEVELS = np.array([[0, 1, 100], [127, 128, 255]], np.uint8)


@pytest.mark.parametrize(
    "values",
    [
        LEVELS,
        LEVELS.astype(np.uint16),
        LEVELS.astype(np.int16),
        LEVELS.astype(np.int64),
        LEVELS.astype(">i4"),
        LEVELS.astype(np.float32),
        LEVELS.astype(np.float64) + 0.2,
        LEVELS / 255,
        (LEVELS / 255).astype(np.float32),
        (LEVELS / 255).astype(">f8"),
        (LEVELS / 255).astype(np.float16),
        LEVELS.astype(np.uint16) * 257,
        (LEVELS.astype(np.uint16) * 257).astype(">u2"),
        np.ma.masked_array(LEVELS, mask=False),
        np.asfortranarray(LEVELS),
    ],
    ids=lambda values: f"{values.dtype} {values.max()}",
)
def test_values_of_every_type_are_the_same_levels(values):
    if values.max() == 255.2:
        values = np.minimum(values, 255)
    levels = to_levels(values)
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels, LEVELS)


def test_booleans_are_black_and_white():
    assert to_levels(np.array([[True, False]])).tolist() == [[255, 0]]


def test_floats_up_to_1_are_fractions_of_white():
    assert to_levels(np.array([[0.0, 1.0, 0.5]])).tolist() == [[0, 255, 128]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int64, np.float32, bool])
def test_black_images_are_accepted(dtype):
    assert not to_levels(np.zeros((3, 3), dtype)).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, bool])
def test_empty_batches_are_accepted(dtype):
    empty = to_levels(np.empty((0, 28, 28), dtype))
    assert (empty.shape, empty.dtype) == ((0, 28, 28), np.uint8)


def test_16_bit_levels_are_rounded():
    values = np.array([0, 128, 129, 32767, 65406, 65407, 65535], np.uint16)
    np.testing.assert_array_equal(from_16_bit(values), np.round(values / 65535 * 255))


def test_12_bit_levels_are_rounded():
    values = np.array([0, 8, 9, 2047, 4095])
    np.testing.assert_array_equal(from_16_bit(values, 4095), np.round(values / 4095 * 255))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([0.0, 1.2]), r"float64 in \[0, 1.2\]"),
        (np.array([0.0, 7.9]), r"float64 in \[0, 7.9\]"),
        (np.array([0.0, 255.5]), r"in \[0, 255.5\]"),
        (np.array([-1.0, 1.0]), r"in \[-1, 1\]: should be .*; undo the normalization"),
        (np.array([-1, 255], np.int16), r"in \[-1, 255\]"),
        (np.array([-128, 127], np.int8), r"in \[-128, 127\]"),
        (np.array([0, 300]), r"int64 in \[0, 300\]"),
        (np.array([0, 1], np.uint8), r"in \[0, 1\]: .*multiply a mask by 255"),
        (np.array([0, 1]), r"multiply a mask"),
        (np.array([0.0, np.nan]), "contain NaN or infinity"),
        (np.array([0.0, np.inf]), "contain NaN or infinity"),
        (np.array([0.0, -np.inf]), "contain NaN or infinity"),
        (np.array(["a"]), "values of <U1"),
        (np.array([1j]), "values of complex128"),
        (np.array([None]), "values of object"),
        (np.array(["2020-01-01"], "datetime64[D]"), "values of datetime64"),
        (np.ma.masked_array([1, 2], mask=[True, False]), r"masked values; .*filled\(0\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unclear_values_are_rejected_in_one_line(values, reason):
    with pytest.raises(PixelValueError, match=reason) as caught:
        to_levels(values)
    assert isinstance(caught.value, UsageError)
    assert "\n" not in str(caught.value)
