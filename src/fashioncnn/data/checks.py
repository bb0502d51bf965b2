"""Checks of what a dataset consists of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.labels import MAX_CLASSES, MIN_CLASSES
from fashioncnn.errors import DataError


def require_uint8(what: str, array: Any, dimensions: tuple[int, ...]) -> None:
    """Raise `DataError` unless `array` is uint8 and has one of these numbers of dimensions."""
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        kind = f"type {type(array).__name__}" if not hasattr(array, "dtype") else f"{array.dtype}"
        raise DataError(
            f"{what} of {kind}: should be an array of uint8; Dataset.from_arrays converts others"
        )
    if array.ndim not in dimensions:
        raise DataError(
            f"{what} of shape {array.shape}: should have {' or '.join(map(str, dimensions))} "
            "dimensions"
        )


def checked_class_names(
    names: Iterable[str], source: str, minimum: int = MIN_CLASSES
) -> tuple[str, ...]:
    """Return at least `minimum` class names, or raise `DataError` that begins with `source`."""
    if not isinstance(names, Iterable):
        raise DataError(f"{source}: class names of type {type(names).__name__}; should be a list")
    given: tuple[Any, ...] = (names,) if isinstance(names, str) else tuple(names)
    for name in given:
        if (
            isinstance(names, str)
            or not isinstance(name, str)
            or not name.isprintable()
            or not name
        ):
            raise DataError(
                f"{source}: class name {name!r}; should be printable names, one per class"
            )
    names = tuple(map(str, given))
    if not minimum <= len(names) <= MAX_CLASSES or len(set(names)) < len(names):
        raise DataError(
            f"{source}: {len(names)} class names, {len(set(names))} of them unique; expected "
            f"{minimum} to {MAX_CLASSES} unique names"
        )
    return names


def check_indices(indices: Any) -> None:
    """Raise `DataError` unless there is one array of integers, each at least 0."""
    is_array = isinstance(indices, np.ndarray) and indices.ndim == 1
    if not is_array or indices.dtype != np.int64 or (indices < 0).any():
        kind = getattr(indices, "dtype", type(indices).__name__)
        raise DataError(f"indices of {kind}: should be (n,) int64, each at least 0")


def check_labels(labels: NDArray[np.uint8], classes: int, name: str) -> None:
    """Raise `DataError` with the first label that has no class; `name` begins the message."""
    invalid = np.flatnonzero(labels >= classes)
    if len(invalid):
        position = invalid[0]
        raise DataError(
            f"{name}: label {labels[position]} at position {position}, expected 0 to {classes - 1} "
            f"({classes} classes)"
        )


def check_views(views: tuple[NDArray[np.uint8], ...], images: NDArray[np.uint8]) -> None:
    """Raise `DataError` unless there are views of each image, of its size."""
    if len(views) != len(images):
        raise DataError(
            f"views of {len(views):,} images but {len(images):,} images; should be views of each"
        )
    for position, of_image in enumerate(views):
        require_uint8("views", of_image, dimensions=(images.ndim,))
        if not len(of_image) or of_image.shape[1:] != images.shape[1:]:
            raise DataError(
                f"views of shape {of_image.shape} at position {position}: should be one or more "
                f"of {images.shape[1:]}"
            )


def check_names(names: Any, labels: NDArray[np.uint8]) -> None:
    """Raise `DataError` unless there is a name, a string, for each label."""
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise DataError(f"names of type {type(names).__name__}: should be a tuple of strings")
    if len(names) != len(labels):
        raise DataError(f"{len(names):,} names but {len(labels):,} labels; should be one of each")


def check_allowed(allowed: Any, labels: NDArray[np.uint8]) -> None:
    """Raise `DataError` unless there is a row of classes for each label, and it is one of them."""
    is_table = isinstance(allowed, np.ndarray) and allowed.dtype == bool and allowed.ndim == 2
    if not is_table or len(allowed) != len(labels):
        shape = getattr(allowed, "shape", type(allowed).__name__)
        raise DataError(f"allowed of {shape}: should be (n, classes) bool, a row for each label")
    outside = ~allowed.any(axis=1)
    fits = outside | allowed[np.arange(len(labels)), np.minimum(labels, allowed.shape[1] - 1)]
    if not fits.all():
        position = int(np.flatnonzero(~fits)[0])
        raise DataError(
            f"allowed: label {labels[position]} at position {position} is not one of the classes "
            "that are allowed there"
        )
