"""What computes the logits of a network."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Backend(Protocol):
    """A network that is ready to compute, such as `fashioncnn.models.backend.TorchBackend`."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return logits, (n, classes) float32, for (n, size, size) uint8 images; n may be 0."""

    def activation_maps(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return class activation maps, (n, rows, columns) float32, at least 0.

        Args:
            images: (n, size, size) uint8.
            labels: (n,) the class to explain for each image.
        """
