"""Connected components of a mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def label_components(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (rows, columns) labels: 0 outside of the mask, else the number of the component.

    Pixels are connected to their four neighbors. Components are numbered from 1 by their first
    pixel. Whole runs of pixels in a row are joined, so that the time depends on their number.

    Args:
        mask: (rows, columns).
    """
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    row_of, starts = np.nonzero(np.diff(padded, axis=1) == 1)
    stops = np.nonzero(np.diff(padded, axis=1) == -1)[1]
    roots = _join_runs(row_of.tolist(), starts.tolist(), stops.tolist())
    numbers = np.unique(roots, return_inverse=True)[1] + 1
    labels = np.zeros(mask.shape, np.int64)
    labels[mask] = np.repeat(numbers, stops - starts)
    return labels


def _join_runs(row_of: list[int], starts: list[int], stops: list[int]) -> NDArray[np.int64]:
    """Return for each run the first run of its component."""
    parents = list(range(len(row_of)))

    def find(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    above = 0  # the first run that may touch the current one from the row above
    for run, row in enumerate(row_of):
        while row_of[above] < row - 1 or (row_of[above] == row - 1 and stops[above] <= starts[run]):
            above += 1
        touching = above
        while row_of[touching] == row - 1 and starts[touching] < stops[run]:
            low, high = sorted((find(run), find(touching)))
            parents[high] = low
            touching += 1
    return np.array([find(run) for run in range(len(parents))], np.int64)
