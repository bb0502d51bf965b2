"""The gray levels that the values of an array mean.

NumPy arrays and Pillow's modes ``I`` and ``F`` do not say which value is white. The rules here are
the only place that decides it; what they do not cover is rejected, never guessed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.errors import UsageError

WHITE_8_BIT, WHITE_16_BIT = 255, 65535
MIN_FLOAT_LEVELS = 8.0
"""Floats whose highest value is below this and above 1 are rejected: they may be fractions that
overshot or were normalized, and as gray levels the image would be black."""


class PixelValueError(UsageError):
    """It is not clear which gray levels the values of an array mean."""


def to_levels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the values of one or more images as gray levels from 0 to 255, in the same shape.

    | type | values | read as |
    | --- | --- | --- |
    | bool | | black and white |
    | integers | [0, 255], but not [0, 1] | levels |
    | uint16 | [0, 65535], highest above 255 | 16-bit levels |
    | float | [0, 1] | fractions of white |
    | float | [0, 255], highest at least 8 | levels |

    Args:
        values: of any shape. The range is that of all values together, so that a dark image is read
            like the others in its batch.

    Raises:
        PixelValueError: another type or range, NaN or infinity, or masked values.
    """
    if isinstance(values, np.ma.MaskedArray):
        values = _without_mask(values)
    kind = values.dtype.kind
    if kind not in "buif":
        raise PixelValueError(f"values of {values.dtype}: should be uint8, or float in [0, 1]")
    if not values.size:
        return values.astype(np.uint8)
    if kind == "b":
        return np.where(values, WHITE_8_BIT, 0).astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PixelValueError(f"values of {values.dtype} contain NaN or infinity; should be finite")
    if low < 0:
        raise _out_of_range(values, low, high, "undo the normalization")
    if kind == "f":
        return _from_floats(values, low, high)
    return _from_integers(values, low, high)


def from_16_bit(values: NDArray[Any], white: int = WHITE_16_BIT) -> NDArray[np.uint8]:
    """Return levels in [0, `white`], of any numeric type, as 8-bit levels, rounded."""
    scaled = values.astype(np.float32) * np.float32(WHITE_8_BIT / white)
    levels: NDArray[np.uint8] = np.clip(scaled + 0.5, 0, WHITE_8_BIT).astype(np.uint8)
    return levels


def _from_floats(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    if high <= 1:
        levels: NDArray[np.uint8] = np.round(values * WHITE_8_BIT).astype(np.uint8)
        return levels
    if MIN_FLOAT_LEVELS <= high <= WHITE_8_BIT:
        return np.round(values).astype(np.uint8)
    raise _out_of_range(values, low, high)


def _from_integers(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    if high == 1:
        raise _out_of_range(values, low, high, "multiply a mask by 255")
    if high <= WHITE_8_BIT:
        levels: NDArray[np.uint8] = values.astype(np.uint8, copy=False)
        return levels
    if values.dtype.itemsize == 2 and values.dtype.kind == "u":
        return from_16_bit(values)
    raise _out_of_range(values, low, high)


def _without_mask(values: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    if np.ma.is_masked(values):
        raise PixelValueError("masked array with masked values; replace them with .filled(0)")
    return np.asarray(values)


def _out_of_range(
    values: NDArray[Any], low: float, high: float, remedy: str = "scale the values"
) -> PixelValueError:
    return PixelValueError(
        f"values of {values.dtype} in [{low:g}, {high:g}]: should be uint8 in [0, 255] or float in "
        f"[0, 1]; {remedy}"
    )
