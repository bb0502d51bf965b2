"""Settings of the augmentation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fashioncnn.settings.section import Section


class AugmentationConfig(Section):
    """Augmentation of training images, drawn anew in every epoch; 0 switches one off.

    "Up to" means that a value is drawn uniformly for each image.
    """

    flip: float = Field(0.0, ge=0, le=1)
    """Probability of a horizontal flip."""
    shift: int = Field(0, ge=0, le=64)
    """Translation by up to this many whole pixels in each direction, as by padding and cropping."""
    crop: float = Field(0.0, ge=0, lt=1)
    """A random square crop is resized to the image size; its side is smaller by up to this
    fraction."""
    rotation: float = Field(0.0, ge=0, le=180)
    """Rotation by up to this many degrees in either direction."""
    scale: float = Field(0.0, ge=0, le=4)
    """Scaling by up to the factor 1 + scale or its inverse, log-uniform."""
    shear: float = Field(0.0, ge=0, le=60)
    """Horizontal shear by up to this many degrees in either direction."""
    brightness: float = Field(0.0, ge=0, le=1)
    """Pixels are multiplied by 1 - brightness to 1 + brightness."""
    contrast: float = Field(0.0, ge=0, le=1)
    """Differences to the image mean are multiplied by 1 - contrast to 1 + contrast."""
    blur: float = Field(0.0, ge=0, le=5)
    """Gaussian blur with a standard deviation of up to this many pixels."""
    noise: float = Field(0.0, ge=0, le=1)
    """Gaussian noise with a standard deviation of up to this fraction of the value range."""
    erasing: float = Field(0.0, ge=0, le=1)
    """Probability of random erasing (arXiv:1708.04896)."""
    erasing_fill: Literal["noise", "zero"] = "noise"
    """Fill of erased rectangles: random values per pixel, or 0 (the background)."""
    cutout: float = Field(0.0, ge=0, lt=1)
    """Side of a black square, as a fraction of the image side (arXiv:1708.04552)."""
    mixup: float = Field(0.0, ge=0, le=100)
    """Mixup with λ drawn from Beta(mixup, mixup) (arXiv:1710.09412)."""
    cutmix: float = Field(0.0, ge=0, le=100)
    """CutMix with λ drawn from Beta(cutmix, cutmix) (arXiv:1905.04899); together with mixup, each
    is applied to half of the images."""
    photograph: float = Field(0.0, ge=0, le=1)
    """Probability that an image is rendered as a photograph: other pose, cloth and light, shoes in
    pairs, imperfect segmentation; applied before everything above."""
    outlier_exposure: float = Field(0.0, ge=0, lt=1)
    """Probability that an image is replaced by an out-of-distribution one, whose target is the
    uniform distribution (arXiv:1812.04606); applied first."""

    @property
    def is_off(self) -> bool:
        """Whether no augmentation is applied."""
        return self == AugmentationConfig(erasing_fill=self.erasing_fill)
