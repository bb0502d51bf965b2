"""Photographs of several garments: find the largest one.

Parts of the mask count as garments if they are of similar size and a straight line of background
separates them. Nothing separates garments that overlap; they stay one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fashioncnn.images.components import label_components

MIN_SIZE_RATIO = 0.5
"""Pixels of the second largest garment relative to the largest."""
MIN_GAP = 0.02
"""Distance between the bounding boxes of both, relative to the longer side of the image. Of 1,240
photographs of one garment, none has such a second part (docs/LOG.md)."""

Box = tuple[int, int, int, int]
"""Top, left, bottom and right; the last two are exclusive."""


def box_of_largest(mask: NDArray[np.bool_]) -> Box | None:
    """Return the surroundings of the largest of several garments, None if there are not several.

    They extend half way to the second largest.

    Args:
        mask: (rows, columns).
    """
    labels = label_components(mask)
    sizes = np.bincount(labels.ravel(), minlength=3)
    sizes[0] = 0
    second, first = np.argsort(sizes, kind="stable")[-2:]
    if sizes[second] < max(1, MIN_SIZE_RATIO * sizes[first]):
        return None
    box, other = _bounding_box(labels == first), _bounding_box(labels == second)
    gap = _gap(box, other)
    if gap < MIN_GAP * max(mask.shape):
        return None
    top, left, bottom, right = box
    margin = gap // 2
    rows, columns = mask.shape
    top, left = max(0, top - margin), max(0, left - margin)
    return top, left, min(rows, bottom + margin), min(columns, right + margin)


def _bounding_box(mask: NDArray[np.bool_]) -> Box:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _gap(a: Box, b: Box) -> int:
    """Return the rows or columns between two boxes, whichever are more; negative if they meet."""
    down = max(a[0], b[0]) - min(a[2], b[2])
    across = max(a[1], b[1]) - min(a[3], b[3])
    return max(down, across)
