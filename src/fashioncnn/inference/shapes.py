"""Which axes of an array are images, rows, columns and channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.errors import UsageError

CHANNELS_LAST, CHANNELS_FIRST = (1, 3, 4), (1, 3)
"""Lengths of an axis of channels: gray, RGB, and as the last axis RGBA."""
MAX_ASPECT_RATIO = 8
"""An array (rows, columns) that is longer is not an image, but probably several that are
flattened."""
EXPECTED = (
    "(height, width) or (n, height, width) for gray images, (height, width, 3), (n, height, width, "
    "3) or (n, 3, height, width) for color images"
)


def as_stack(array: NDArray[Any], size: int, channels: int = 1) -> NDArray[Any]:
    """Return the images in an array: (n, height, width), or (n, height, width, 3 or 4) in color.

    | shape | read as |
    | --- | --- |
    | (h, w) | one gray image |
    | (n, size²), (size²,) | flattened gray images of the model's size |
    | (n, h, w) | gray images |
    | (h, w, 1), (h, w, 3), (h, w, 4) | one image |
    | (n, h, w, 1), (n, h, w, 3), (n, h, w, 4), (n, 1, h, w), (n, 3, h, w) | images |

    Args:
        array: of any type and shape.
        size: of the model input, in pixels.
        channels: of the model input.

    Raises:
        UsageError: another shape, or one that may mean several of these: (3, h, w) is read as three
            gray images only if they have the size of a model with one channel.
    """
    shape = array.shape
    if array.ndim in (1, 2) and shape[-1] == size * size:
        return _unflatten(array, size)
    if array.ndim == 2:
        stack = array[None]
        if 0 not in shape and max(shape) > MAX_ASPECT_RATIO * min(shape):
            raise _unclear(shape, f"rows are flattened images only if they have {size}² values")
    elif array.ndim == 3 and shape[2] in CHANNELS_LAST:
        stack = array[None]
    elif array.ndim == 3:
        stack = array
        if shape[0] == 3 and not (channels == 1 and shape[1:] == (size, size)):
            remedy = (
                f"(1, {', '.join(map(str, shape))}) is one color image, (3, 1, …) three gray ones"
            )
            raise _unclear(shape, remedy)
    elif array.ndim == 4:
        stack = _channels_last(array)
    else:
        raise UsageError(f"array of shape {shape}: should be {EXPECTED}")
    if 0 in stack.shape[1:]:
        raise UsageError(f"array of shape {shape}: empty; should be {EXPECTED}")
    return stack[..., 0] if stack.ndim == 4 and stack.shape[3] == 1 else stack


def _unflatten(array: NDArray[Any], size: int) -> NDArray[Any]:
    """Return (n, size, size) for rows of size² values."""
    if array.shape == (size * size, size * size):
        raise _unclear(array.shape, f"one image, or {size * size} flattened; reshape it to 3 axes")
    return array.reshape(-1, size, size)


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """Return (n, height, width, channels) for an array of four axes."""
    first, last = array.shape[1] in CHANNELS_FIRST, array.shape[3] in CHANNELS_LAST
    if first and last:
        raise _unclear(array.shape, "channels may be the second or the last axis")
    if not first and not last:
        raise UsageError(f"array of shape {array.shape}: should be {EXPECTED}")
    return array if last else np.moveaxis(array, 1, 3)


def _unclear(shape: tuple[int, ...], reason: str) -> UsageError:
    return UsageError(f"array of shape {shape}: unclear, {reason}; should be {EXPECTED}")
