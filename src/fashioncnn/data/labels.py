"""Labels of users: names or integers, encoded as positions in the class names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.errors import DataError, nearest
from fashioncnn.images.tensors import from_tensors

MIN_CLASSES, MAX_CLASSES = 2, 256
OBJECTS = "OUT"
"""Kinds of arrays whose elements are objects or strings; T is NumPy's StringDType."""
LARGEST = 2**63 - 1
"""The largest 64-bit integer."""
LIMIT = 2.0**63
"""Integers that are less, and not less than its negative, are 64-bit integers."""
_DIGITS = re.compile(r"(\d+)")
BOOLEANS = bool, np.bool_
NUMBERS = int, float, np.number
_INTEGER = re.compile(r"[+-]?\d{1,18}")


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return a sort key by which numbers in names are ordered by value: "2" before "10".

    >>> sorted(["10", "2", "shoe 10", "shoe 9"], key=natural_key)
    ['2', '10', 'shoe 9', 'shoe 10']
    """
    chunks = _DIGITS.split(name)  # text, digits, text, …: equal positions have equal types
    return tuple(int(c) if i % 2 else c for i, c in enumerate(chunks)), name


def distinct_labels(
    labels: Any, subject: str = "labels", minimum: int = MIN_CLASSES
) -> tuple[str, ...]:
    """Return the distinct labels as class names: integers by value, names in natural order.

    Args:
        labels: (n,) integers, names or booleans.
        subject: what messages call them.
        minimum: number of classes.

    Raises:
        DataError: they are not such labels, or there are too few or more than 256 classes.
    """
    values = as_labels(labels, subject)
    distinct = np.unique(values)
    names = [str(value) for value in distinct]
    if values.dtype.kind == "U":
        names.sort(key=natural_key)
    check_number_of_classes(len(names), subject, minimum)
    return tuple(names)


def check_number_of_classes(number: int, subject: str, minimum: int = MIN_CLASSES) -> None:
    """Raise `DataError` if there are too few or too many classes."""
    if not minimum <= number <= MAX_CLASSES:
        what = "1 distinct label" if number == 1 else f"{number:,} distinct labels"
        raise DataError(f"{subject}: {what}, expected {minimum} to {MAX_CLASSES} classes")


def encode_labels(
    labels: Any, class_names: Sequence[str], subject: str = "labels"
) -> NDArray[np.uint8]:
    """Return the position of each label in the class names, (n,) uint8.

    Integers are positions, unless all class names are integers: then they are names, which is the
    same for ``0`` to ``k - 1`` in natural order.

    Args:
        labels: (n,) integers, names or booleans; an array, tensor, series or list.
        class_names: at most 256.
        subject: what messages call the labels.

    Raises:
        DataError: they are not such labels, or one of them is not a class.
    """
    values = as_labels(labels, subject)
    distinct, inverse = np.unique(values, return_inverse=True)
    positions = _positions(class_names, names=values.dtype.kind == "U")
    codes = [positions.get(value) for value in distinct.tolist()]
    if None in codes:
        unknown = codes.index(None)
        position = int(np.flatnonzero(inverse == unknown)[0])
        raise _not_a_class(distinct[unknown], position, positions, class_names, subject)
    encoded: NDArray[np.uint8] = np.array(codes, np.uint8)[inverse]
    return encoded


def as_labels(labels: Any, subject: str = "labels") -> NDArray[Any]:
    """Return labels as an array, (n,) int64 or strings.

    Args:
        labels: see `encode_labels`.
        subject: what messages call them.

    Raises:
        DataError: the labels are not one-dimensional, are of another type, or some are missing.
    """
    values = _as_array(labels, subject)
    if values.ndim == 2 and values.shape[1] == 1:
        labels = values = values[:, 0]
    if values.ndim == 0:
        raise DataError(
            f"{subject} of type {type(labels).__name__}: should be (n,) integers or names"
        )
    if values.ndim != 1:
        raise DataError(
            f"{subject} of shape {values.shape}: should be (n,) integers or names; of one-hot "
            "labels, use the argmax of each row"
        )
    if values.dtype.kind in OBJECTS and len(values):
        # NumPy converts a list of both kinds to strings, so the list itself is checked.
        objects = labels if isinstance(labels, list | tuple) else values
        return _from_objects(list(objects), subject)
    if isinstance(labels, list | tuple) and any(isinstance(one, BOOLEANS) for one in labels):
        return _from_objects(list(labels), subject)  # NumPy converts booleans beside integers, too
    return _from_numbers(values, subject)


def are_booleans(labels: Any) -> bool:
    """Return whether labels that `as_labels` accepts, at least one, are booleans."""
    values = _as_array(labels, "labels").ravel()
    return values.dtype.kind == "b" or isinstance(values[:1].tolist()[0], bool | np.bool_)


def _as_array(labels: Any, subject: str) -> NDArray[Any]:
    labels = from_tensors(labels, subject)
    if isinstance(labels, np.ma.MaskedArray) and np.ma.is_masked(labels):
        raise DataError(f"{subject}: masked array with masked values; leave these images out")
    try:
        return np.asarray(labels)
    except ValueError:
        raise DataError(f"{subject}: rows of different lengths; should be (n,)") from None


def _from_numbers(values: NDArray[Any], subject: str) -> NDArray[Any]:
    if values.dtype.kind == "b":
        return values.astype(str)
    if values.dtype.kind == "f":
        values = values.astype(np.float64)  # float16 has no 2**63
        invalid = np.flatnonzero(~np.isfinite(values) | (values != np.round(values)))
        if len(invalid):
            raise DataError(
                f"{subject}: {values[invalid[0]]:g} at position {invalid[0]}; should be integers "
                "or names"
            )
    elif values.dtype.kind not in "iu" and len(values):
        raise DataError(f"{subject} of type {values.dtype}: should be integers or names")
    is_float = values.dtype.kind == "f"
    outside = (values < -LIMIT) | (values >= LIMIT) if is_float else values > LARGEST
    too_large = np.flatnonzero(outside)
    if len(too_large):
        raise DataError(
            f"{subject}: {values[too_large[0]]} at position {too_large[0]}; should be below 2**63"
        )
    return values.astype(np.int64)


def _from_objects(values: list[Any], subject: str) -> NDArray[Any]:
    kinds = [_kind(value) for value in values]
    missing = next((i for i, value in enumerate(values) if is_missing(value)), None)
    if missing is not None:
        raise DataError(
            f"{subject}: {values[missing]!r} at position {missing}; leave out images without label"
        )
    if None not in kinds and len(set(kinds)) == 1:
        if kinds[0] is not str:
            return _from_numbers(np.array(values), subject)
        return np.array([str.__str__(value) for value in values])  # not the name of an Enum member
    position = (
        kinds.index(None)
        if None in kinds
        else next(i for i, kind in enumerate(kinds) if kind is not kinds[0])
    )
    raise DataError(
        f"{subject}: {values[position]!r} at position {position}; should be all integers, all "
        "booleans or all names"
    )


def is_missing(value: Any) -> bool:
    """Return whether this is None, NaN, or NA or NaT of pandas."""
    is_nan = isinstance(value, float | np.floating) and bool(np.isnan(value))
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _kind(value: Any) -> type | None:
    """Return the kind of one label: str, bool, or float for all numbers; None for others."""
    if isinstance(value, BOOLEANS):
        return bool
    return str if isinstance(value, str) else float if isinstance(value, NUMBERS) else None


def _positions(class_names: Sequence[str], *, names: bool) -> dict[str | int, int]:
    """Return the position of each label that can be given, a name or an integer."""
    by_name: dict[str | int, int] = {name: i for i, name in enumerate(class_names)}
    if names:
        return by_name
    if all(_INTEGER.fullmatch(name) for name in class_names):
        by_number: dict[str | int, int] = {int(name): i for i, name in enumerate(class_names)}
        if len(by_number) == len(class_names):
            return by_number
    return {i: i for i in range(len(class_names))}


def _not_a_class(
    label: Any,
    position: int,
    positions: dict[str | int, int],
    class_names: Sequence[str],
    subject: str,
) -> DataError:
    if isinstance(label, str):
        shown, hint = repr(str(label)), nearest(str(label), class_names)
    else:
        shown, hint = str(label), ""
    known = list(positions)
    if isinstance(known[0], int) and known == list(range(len(known))):
        expected = f"0 to {len(known) - 1} ({len(known)} classes)"
    else:
        few = ", ".join(map(str, known[:5]))
        expected = f"one of {few}{' …' if len(known) > 5 else ''}"
    return DataError(f"{subject}: label {shown} at position {position}, expected {expected}{hint}")
