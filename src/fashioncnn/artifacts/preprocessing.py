"""From uint8 images to the input of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

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
        channels: 1 for grayscale, 3 for color.
    """

    image_size: Annotated[int, Field(ge=1, le=4096)]
    mean: Annotated[float, Field(ge=0, le=1)]
    std: Annotated[float, Field(ge=0.001, le=1)]
    views: ViewMode
    channels: Literal[1, 3] = 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a view: (size, size), or (size, size, 3) in color."""
        size = self.image_size
        return (size, size) if self.channels == 1 else (size, size, self.channels)

    @property
    def scaling(self) -> str:
        """The setting ``data.scaling`` that these values come from."""
        return {(0.0, 1.0): "unit", (0.5, 0.5): "symmetric"}.get((self.mean, self.std), "standard")


def fit_preprocessing(images: NDArray[np.uint8], scaling: str, views: ViewMode) -> Preprocessing:
    """Return the preprocessing for `scaling`, measured on images.

    Args:
        images: (n, size, size) or (n, size, size, 3) uint8, of the training split. Mean and
            standard deviation are those of all channels together.
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
    return Preprocessing(images.shape[1], mean, std, views, 1 if images.ndim == 3 else 3)
