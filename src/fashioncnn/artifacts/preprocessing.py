"""From uint8 images to the input of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fashioncnn.images.views import ViewMode


@dataclass(frozen=True)
class Preprocessing:
    """What is applied to images before they enter the network; saved with its weights.

    Attributes:
        image_size: side in pixels.
        mean: subtracted, in units of [0, 1].
        std: divided by, in units of [0, 1].
        views: how an image file becomes views, see `fashioncnn.images.views`.
    """

    image_size: Annotated[int, Field(ge=1, le=4096)]
    mean: Annotated[float, Field(ge=0, le=1)]
    std: Annotated[float, Field(ge=0.001, le=1)]
    views: ViewMode

    @property
    def scaling(self) -> str:
        """The setting ``data.scaling`` that these values come from."""
        return {(0.0, 1.0): "unit", (0.5, 0.5): "symmetric"}.get((self.mean, self.std), "standard")


def fit_preprocessing(images: NDArray[np.uint8], scaling: str, views: ViewMode) -> Preprocessing:
    """Return the preprocessing for `scaling`, measured on (n, size, size) uint8 images.

    Args:
        images: of the training split.
        scaling: ``unit`` is [0, 1], ``symmetric`` [-1, 1], ``standard`` mean 0 and standard
            deviation 1.
        views: how an image file becomes views.
    """
    mean, std = 0.0, 1.0
    if scaling == "symmetric":
        mean, std = 0.5, 0.5
    elif scaling == "standard":
        # From the histogram: exact, and without a float copy of all images.
        counts = np.bincount(images.reshape(-1), minlength=256)
        values = np.arange(256) / 255
        mean = float(np.average(values, weights=counts))
        std = max(float(np.sqrt(np.average((values - mean) ** 2, weights=counts))), 1 / 255)
    return Preprocessing(images.shape[-1], mean, std, views)
