"""Frames, series and nested lists, as users pass images in them, as arrays or lists."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.labels import OBJECTS, is_missing
from fashioncnn.errors import DataError, UsageError


def plain_images(images: Any) -> Any:
    """Return frames, series and nested lists of numbers as arrays, or as lists of other objects.

    Everything else is returned unchanged.

    Raises:
        DataError: a frame of numbers has missing values.
        UsageError: lists of numbers have unequal lengths.
    """
    if hasattr(images, "iloc") or hasattr(images, "to_numpy"):  # of pandas or polars
        array = images.to_numpy()
        if array.ndim == 2 and array.shape[1] == 1 and array.dtype == object:
            array = array[:, 0]
        if array.dtype.kind not in OBJECTS:
            return array
        return array.tolist() if array.ndim == 1 else _numbers(array)
    if isinstance(images, np.ndarray) and images.dtype.kind in OBJECTS and images.ndim == 1:
        return images.tolist()
    if isinstance(images, list | tuple) and images and isinstance(images[0], list | tuple):
        try:
            return np.asarray(images)
        except ValueError:
            raise UsageError("lists of numbers of unequal lengths; should be images") from None
    return images


def _numbers(table: NDArray[Any]) -> Any:
    """Return a table of numbers as such, which is one of objects if columns are nullable."""
    values = table.tolist()
    numbers = np.asarray(values)
    if numbers.dtype.kind == "O" and any(is_missing(value) for row in values for value in row):
        raise DataError("images have missing values; fill them, as with .fillna(0)")
    return numbers
