"""Images of other libraries as arrays."""

import numpy as np
import pytest

from fashioncnn.api.arrays import plain_images, row_length


def test_columns_of_pandas_become_paths_or_pixels():
    pandas = pytest.importorskip("pandas")
    assert plain_images(pandas.Series(["a.png", "b.png"])) == ["a.png", "b.png"]
    assert plain_images(pandas.DataFrame({"path": ["a.png", "b.png"]})) == ["a.png", "b.png"]
    pixels = plain_images(pandas.DataFrame({"pixel1": [1, 2], "pixel2": [3, 4]}))
    assert np.array_equal(pixels, [[1, 3], [2, 4]])


def test_arrays_of_names_become_lists_and_lists_of_numbers_arrays():
    assert plain_images(np.array(["a.png", "b.png"])) == ["a.png", "b.png"]
    assert np.array_equal(plain_images([[1, 2], [3, 4]]), [[1, 2], [3, 4]])
    images = np.zeros((2, 28, 28), np.uint8)
    assert plain_images(images) is images


@pytest.mark.parametrize(
    ("shape", "length"), [((5, 784), 784), ((5, 783), 783), ((5, 28, 28), None)]
)
def test_rows_have_a_length(shape, length):
    assert row_length(np.zeros(shape, np.uint8)) == length
