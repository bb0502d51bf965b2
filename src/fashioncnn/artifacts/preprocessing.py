"""From uint8 images to what a network is fed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from fashioncnn.images.views import ViewMode


@dataclass(frozen=True)
class Preprocessing:
    """What is done to images before they enter the network; kept with its weights.

    Attributes:
        image_size: side in pixels.
        mean: subtracted, in units of [0, 1].
        std: divided by, in units of [0, 1].
        views: how files become arrays, see `fashioncnn.images.views`.
    """

    image_size: Annotated[int, Field(ge=1, le=4096)]
    mean: Annotated[float, Field(allow_inf_nan=False)]
    std: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    views: ViewMode

    @property
    def scaling(self) -> str:
        """The setting ``data.scaling`` that it came from."""
        return {(0.0, 1.0): "unit", (0.5, 0.5): "symmetric"}.get((self.mean, self.std), "standard")

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 input for images (n, 1, size, size), uint8 or float in [0, 255]."""
        values = images.to(torch.float32, copy=True)  # what was float32 before is others' as well
        return values.mul_(1 / (255 * self.std)).sub_(self.mean / self.std)


def fit_preprocessing(images: NDArray[np.uint8], scaling: str, views: ViewMode) -> Preprocessing:
    """Return the preprocessing that `scaling` stands for, measured on (n, size, size) images.

    Args:
        images: uint8.
        scaling: ``unit`` is [0, 1], ``symmetric`` [-1, 1], ``standard`` mean 0 and deviation 1.
        views: how photographs become such images.
    """
    mean, std = 0.0, 1.0
    if scaling == "symmetric":
        mean, std = 0.5, 0.5
    elif scaling == "standard":
        # From the histogram: exact, and no float copy of all images.
        counts = np.bincount(images.reshape(-1), minlength=256)
        values = np.arange(256) / 255
        mean = float(np.average(values, weights=counts))
        std = max(float(np.sqrt(np.average((values - mean) ** 2, weights=counts))), 1 / 255)
    return Preprocessing(images.shape[-1], mean, std, views)
