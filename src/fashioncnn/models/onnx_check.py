"""Comparison of an exported graph, run by ONNX Runtime, with PyTorch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fashioncnn.artifacts.onnx_file import IMAGES, LOGITS, Verification
from fashioncnn.environment import default_threads
from fashioncnn.errors import QualityGateError
from fashioncnn.inference.backend import Backend
from fashioncnn.inference.onnx_backend import open_session

TOLERANCE = 1e-3
"""Limit on the difference of a logit, relative to ``max(1, |logit|)``."""
MIN_MARGIN = 2e-3
"""Difference of the two largest logits above which the class must be the same."""
BATCH_SIZE = 250

Floats = NDArray[np.float32]


class GraphBackend:
    """Computes logits with a graph, exactly as it will be written; for verification."""

    def __init__(self, graph: bytes) -> None:
        self._session = open_session(graph, default_threads(), "exported graph")

    def logits(self, images: NDArray[np.uint8]) -> Floats:
        """Return logits, (n, classes) float32, for (n, size, size[, 3]) uint8 images, n > 0."""
        return self.run(LOGITS, images)

    def run(self, output: str, images: NDArray[np.uint8]) -> Floats:
        """Return an output of the graph, (n, ...) float32, for images as in `logits`."""
        batches = [images[i : i + BATCH_SIZE] for i in range(0, len(images), BATCH_SIZE)]
        values: Floats = np.concatenate(
            [self._session.run([output], {IMAGES: batch})[0] for batch in batches]
        )
        return values


def compare(
    graph: GraphBackend, reference: Backend, batches: Iterable[NDArray[np.uint8]], data: str
) -> tuple[Verification, bool]:
    """Return how the logits of a graph differ, and whether that is within the limits of fp32.

    Args:
        graph: to verify.
        reference: PyTorch.
        batches: of images, (n, size, size[, 3]) uint8, at least one.
        data: name of the images.
    """
    images, agreeing, largest, within = 0, 0, 0.0, True
    for batch in batches:
        expected, logits = reference.logits(batch), graph.logits(batch)
        same = expected.argmax(axis=1) == logits.argmax(axis=1)
        difference = np.abs(logits - expected)
        images, agreeing = images + len(batch), agreeing + int(same.sum())
        largest = max(largest, float(np.nan_to_num(difference, nan=np.inf).max()))
        within = within and is_within_limits(logits, expected)
    verification = Verification(
        data=data,
        images=images,
        max_difference=min(largest, float(np.finfo(np.float32).max)),
        agreement=agreeing / images,
    )
    return verification, within


def is_within_limits(logits: Floats, expected: Floats) -> bool:
    """Return whether logits agree within the limits of fp32; NaN never does.

    The difference of each is at most `TOLERANCE` times ``max(1, |expected|)``, and the class is the
    same wherever the two largest expected logits differ by more than `MIN_MARGIN`.

    Args:
        logits: (n, classes) float32.
        expected: (n, classes) float32.
    """
    close = np.abs(logits - expected) <= TOLERANCE * np.maximum(1, np.abs(expected))
    second, first = np.partition(expected, -2, axis=1)[:, -2:].T
    same = logits.argmax(axis=1) == expected.argmax(axis=1)
    return bool(close.all() and (same | (first - second <= MIN_MARGIN)).all())


def require_within_limits(verification: Verification, within: bool) -> None:
    """Raise `QualityGateError` with the differences unless they are within the limits."""
    if not within:
        raise QualityGateError(
            f"the ONNX file differs from PyTorch on {verification}: a logit by "
            f"{verification.max_difference:.2g}, "
            f"{1 - verification.agreement:.2%} of the classes; it was not written"
        )
