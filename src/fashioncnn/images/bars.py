"""Bars above, below and beside a photograph: letterboxes, the controls in a screenshot, frames."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WORKING_SIDE = 160
"""Longer side of the copy that is searched, in pixels."""
TOLERANCE = 4
"""Levels by which each channel of a pixel may differ from the color of a bar. Screenshots are drawn
in exact colors, and JPEG changes them little; a plain wall varies more."""
MIN_THICKNESS = 0.04
"""Thickness of a bar relative to the image's height or width."""
MIN_BAR_FRACTION, MAX_PHOTO_FRACTION = 0.6, 0.1
"""A line of a bar has at least the first fraction of pixels of the bar's color, so that icons and
text may be in it. Where the photograph begins, at most the second fraction is left at once; across
a garment on a plain background it falls gradually."""
EDGE_LINES = 2
"""Lines between the last of a bar and the first that is surely of the photograph."""
MIN_PHOTO_FRACTION = 0.25
"""Of the image's height and width that the photograph has at least."""


def crop_bars(image: Image.Image) -> Image.Image:
    """Return the photograph within bars of one color, or the image itself if it has no bars.

    Args:
        image: mode `L` or `RGB`. Images smaller than `WORKING_SIDE` are no screenshots.
    """
    factor = max(image.size) // WORKING_SIDE
    if factor == 0:
        return image
    channels = np.stack([np.asarray(c) for c in image.reduce(factor).convert("RGB").split()])
    _, rows, columns = channels.shape
    left, top, right, bottom = _outside(channels)
    if not (top or bottom or left or right):
        return image
    box = (
        left * factor,
        top * factor,
        image.width if not right else (columns - right) * factor,
        image.height if not bottom else (rows - bottom) * factor,
    )
    return image.crop(box)


def _outside(channels: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return the thickness of the bars on the left, top, right and bottom, in lines.

    Args:
        channels: (3, rows, columns).
    """
    _, rows, columns = channels.shape
    top, bottom = _bars(channels)
    left, right = _bars(_transposed(channels[:, top : rows - bottom]))
    if top or bottom or left or right:
        return left, top, right, bottom
    # In a frame, each bar has the ends of two others in the first line of the photograph.
    left, right = _bars(_transposed(channels[:, rows // 4 : rows - rows // 4]))
    top, bottom = _bars(channels[:, :, left : columns - right])
    photo = channels[:, top : rows - bottom, left : columns - right]
    edges = (
        photo[:, :1],
        photo[:, -1:],
        _transposed(photo[:, :, :1]),
        _transposed(photo[:, :, -1:]),
    )
    color = np.median(channels[:, 0], axis=1)
    is_frame = left and right and top and bottom
    if is_frame and all(_fractions(edge, color)[0] <= MAX_PHOTO_FRACTION for edge in edges):
        return left, top, right, bottom
    return 0, 0, 0, 0


def _transposed(channels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return channels.transpose(0, 2, 1)


def _bars(channels: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the number of lines of a bar before and after the photograph.

    Args:
        channels: (3, lines, pixels of a line).
    """
    before, after = _bar(channels), _bar(channels[:, ::-1])
    lines = channels.shape[1]
    remaining = lines - before - after
    return (before, after) if remaining >= MIN_PHOTO_FRACTION * lines else (0, 0)


def _bar(channels: NDArray[np.uint8]) -> int:
    """Return the number of lines of a bar before the photograph, 0 if there is none."""
    color = np.median(channels[:, 0], axis=1)
    thinnest = math.ceil(MIN_THICKNESS * channels.shape[1])
    first = channels[:, : max(1, thinnest - EDGE_LINES)]
    if (_fractions(first, color) < MIN_BAR_FRACTION).any():
        return 0
    fractions = _fractions(channels, color)
    ends = np.flatnonzero(fractions < MIN_BAR_FRACTION)
    if not len(ends):
        return 0
    start = int(ends[0])
    edge = np.flatnonzero(fractions[start : start + EDGE_LINES + 1] <= MAX_PHOTO_FRACTION)
    thickness = start + int(edge[0]) if len(edge) else 0
    return thickness if thickness >= thinnest else 0


def _fractions(channels: NDArray[np.uint8], color: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (lines,) fractions of pixels of a color.

    Bytes are compared, which takes a tenth of the time of distances.
    """
    lowest = np.ceil(np.maximum(color - TOLERANCE, 0)).astype(np.uint8)
    highest = np.floor(np.minimum(color + TOLERANCE, 255)).astype(np.uint8)
    is_near = np.ones(channels.shape[1:], bool)
    for channel, low, high in zip(channels, lowest, highest, strict=True):
        is_near &= channel >= low
        is_near &= channel <= high
    fractions: NDArray[np.float64] = np.count_nonzero(is_near, axis=1) / channels.shape[2]
    return fractions
