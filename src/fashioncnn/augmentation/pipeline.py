"""Augmentation of batches of images, on the device that holds them.

The result for an image is a pure function of (seed, epoch, index), so it does not depend on the
batch that the image is in, and training can resume anywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fashioncnn.augmentation import mixing
from fashioncnn.augmentation.geometry import transform_affine
from fashioncnn.augmentation.grids import WHITE
from fashioncnn.augmentation.occlusion import cutout, erase
from fashioncnn.augmentation.outlier_exposure import WHOLE, generate_outliers
from fashioncnn.augmentation.parameters import draw_parameters
from fashioncnn.augmentation.photographs import ClassTraits, render_photographs
from fashioncnn.augmentation.photometric import (
    add_gaussian_noise,
    adjust_brightness,
    adjust_contrast,
    gaussian_blur,
)
from fashioncnn.augmentation.sampling import Sampler
from fashioncnn.settings import AugmentationConfig


class Augmentation:
    """Augments the images of one data set as configured.

    `parameters` looks up the random parameters of a batch; `apply` and
    `fashioncnn.augmentation.mixing.mix` are pure functions of tensors. They do not branch on values
    or synchronize with the host, so they can be compiled or captured in a CUDA graph, unless
    `photograph` or `outlier_exposure` is enabled: these select a subset of the batch.

    Attributes:
        config: the transforms and their strengths.
        seed: seed of all random values.
        n: number of images in the data set.
    """

    def __init__(
        self,
        config: AugmentationConfig,
        seed: int,
        n: int,
        traits: ClassTraits | None = None,
        partial_garments: Tensor | None = None,
    ) -> None:
        """Create the augmentation of a data set.

        Args:
            config: the transforms and their strengths.
            seed: seed of all random values.
            n: number of images in the data set.
            traits: properties of each image for `photograph`; by default all False.
            partial_garments: (n,) int64, see `fashioncnn.augmentation.outlier_exposure`; by
                default `WHOLE` for all.
        """
        self.config, self.seed, self.n = config, seed, n
        if traits is None:
            traits = ClassTraits(*(torch.zeros(n, dtype=torch.bool) for _ in range(3)))
        if partial_garments is None:
            partial_garments = torch.full((n,), WHOLE)
        self._constants: dict[str, Tensor] = {}
        if config.photograph > 0:
            self._constants["has_pair"] = traits.has_pair
            self._constants["has_sleeves"] = traits.has_sleeves
            self._constants["drapes"] = traits.drapes
        if config.outlier_exposure > 0:
            self._constants["partial_garment"] = partial_garments
        self._cached: tuple[int, torch.device, dict[str, Tensor]] | None = None

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Apply all transforms except mixing.

        Args:
            images: (b, 1, size, size) uint8; not modified.
            indices: (b,) int64, positions of the images in the data set, on the same device.
            epoch: counted from 0.

        Returns:
            (b, 1, size, size) float32 in [0, 255], on the same device.
        """
        return self.apply(images, self.parameters(indices, epoch))

    def parameters(self, indices: Tensor, epoch: int) -> dict[str, Tensor]:
        """Return the parameters of a batch, those that the configuration needs.

        Args:
            indices: (b,) int64, positions of the images in the data set.
            epoch: counted from 0. The first call of an epoch draws the parameters of all images.

        Returns:
            Tensors by name, (b,) or (b, SAMPLES_PER_IMAGE), on the device of `indices`: see
            `fashioncnn.augmentation.parameters.COLUMNS`; and the traits that they need.
        """
        table = self._table(epoch, indices.device)
        return {name: column[indices] for name, column in table.items()}

    def apply(self, images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        """Apply all transforms except mixing, with given parameters.

        Args:
            images: (b, 1, size, size) uint8; not modified.
            parameters: of these images, from `parameters`.

        Returns:
            (b, 1, size, size) float32 in [0, 255].
        """
        images = images.to(torch.float32, copy=True)
        if "is_outlier" in parameters:
            images = _replace_by_outliers(images, parameters)
        if "photograph" in parameters:
            images = _replace_by_photographs(images, parameters)
        images = transform_affine(images, parameters)
        images = self._apply_photometric(images, parameters)
        if "erasing" in parameters:
            images = erase(images, parameters, self.config.erasing_fill)
        if "cutout_x" in parameters:
            x, y = parameters["cutout_x"], parameters["cutout_y"]
            images = cutout(images, x, y, self.config.cutout)
        return images

    def _apply_photometric(self, images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        if "brightness" in parameters:
            images = adjust_brightness(images, parameters["brightness"])
        if "contrast" in parameters:
            images = adjust_contrast(images, parameters["contrast"])
        if "blur_sigma" in parameters:
            images = gaussian_blur(images, parameters["blur_sigma"], self.config.blur)
        if "noise_std" in parameters:
            images = add_gaussian_noise(images, parameters["noise_std"], parameters["noise_key"])
        return images.clamp_(0, WHITE)

    def is_outlier(self, indices: Tensor, epoch: int) -> Tensor | None:
        """Return which images of a batch `__call__` replaces by out-of-distribution images.

        Args:
            indices: (b,) int64, positions of the images in the data set.
            epoch: counted from 0.

        Returns:
            (b,) bool, or None without `outlier_exposure`.
        """
        column = self._table(epoch, indices.device).get("is_outlier")
        return None if column is None else column[indices] > 0

    @property
    def mixes(self) -> bool:
        """Whether mixup or CutMix is enabled."""
        return self.config.mixup > 0 or self.config.cutmix > 0

    def mix(self, images: Tensor, indices: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Mix each image with its partner, see `fashioncnn.augmentation.mixing`.

        Args:
            images: (b, 1, size, size) float32 in [0, 255].
            indices: (b,) int64, positions of the images in the data set.
            epoch: counted from 0.

        Returns:
            The mixed images, (b, 1, size, size) float32 in [0, 255], and the weight of each image
            in its mixture, (b,) float32 in [0, 1].
        """
        return mixing.mix(images, self.parameters(indices, epoch))

    def _table(self, epoch: int, device: torch.device) -> dict[str, Tensor]:
        """Return the parameters of all images in an epoch; those of the last call are cached."""
        if self._cached is None or self._cached[:2] != (epoch, device):
            drawn = draw_parameters(self.config, self.seed, epoch, self.n)
            table = {name: torch.from_numpy(column) for name, column in drawn.items()}
            table |= self._constants
            table = {name: column.to(device) for name, column in table.items()}
            self._cached = epoch, device, table
        return self._cached[2]


def _replace_by_outliers(images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """Replace the flagged images in place by out-of-distribution images."""
    rows = parameters["is_outlier"].nonzero().squeeze(1)
    if len(rows):
        sampler = Sampler.of_rows(parameters, "outlier_params", rows, images.shape[-1])
        partial_garments = parameters["partial_garment"][rows]
        images[rows] = generate_outliers(images[rows], partial_garments, sampler)
    return images


def _replace_by_photographs(images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """Render the flagged images in place as photographs."""
    rows = parameters["photograph"].nonzero().squeeze(1)
    if len(rows):
        sampler = Sampler.of_rows(parameters, "photograph_params", rows, images.shape[-1])
        images[rows] = render_photographs(images[rows], _traits(parameters, rows), sampler)
    return images


def _traits(parameters: dict[str, Tensor], rows: Tensor) -> ClassTraits:
    """Return the traits of some images of a batch; outliers may drape and have no other trait."""
    has_pair, has_sleeves, drapes = (
        parameters[name][rows] for name in ("has_pair", "has_sleeves", "drapes")
    )
    if "is_outlier" not in parameters:
        return ClassTraits(has_pair, has_sleeves, drapes)
    is_outlier = parameters["is_outlier"][rows] > 0
    return ClassTraits(has_pair & ~is_outlier, has_sleeves & ~is_outlier, drapes | is_outlier)
