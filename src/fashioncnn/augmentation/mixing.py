"""Mixing of pairs of images: mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899).

The partner of an image is the image at the same position in the reversed batch: the first is mixed
with the last, and so on. Targets are mixed the same way:
``weights * targets + (1 - weights) * targets.flip(0)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fashioncnn.augmentation.grids import rectangle_mask, reshape_per_image


def mix(images: Tensor, parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mix each image with its partner.

    Args:
        images: (b, 1, size, size) float32 in [0, 255].
        parameters: (b,) each: ``mixup_lambda``, or ``cutmix_lambda``, ``cutmix_x``, ``cutmix_y``
            (center of the pasted square), or all of them and ``use_cutmix`` (1 or 0).

    Returns:
        The mixed images, (b, 1, size, size) float32 in [0, 255], and the weight of each image in
        its mixture, (b,) float32 in [0, 1].
    """
    partners = images.flip(0)
    own = _own_fraction(images, parameters)
    return partners + own * (images - partners), own.mean((1, 2, 3))


def _own_fraction(images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """Return the weight of each pixel in the mixture, like `images`, in [0, 1]."""
    if "cutmix_lambda" not in parameters:
        return reshape_per_image(parameters["mixup_lambda"]).expand_as(images)
    side = (1 - parameters["cutmix_lambda"]).sqrt()
    x, y = parameters["cutmix_x"], parameters["cutmix_y"]
    cutmix = 1 - rectangle_mask(x, y, side, side, images.shape[-1])
    if "mixup_lambda" not in parameters:
        return cutmix
    mixup = reshape_per_image(parameters["mixup_lambda"])
    return torch.where(reshape_per_image(parameters["use_cutmix"]) > 0, cutmix, mixup)
