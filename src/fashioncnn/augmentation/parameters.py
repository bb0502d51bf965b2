"""Parameters of the augmentations, drawn for all images of a data set once per epoch.

The values are a pure function of (seed, epoch, image index). They are drawn with NumPy on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.seeding import augmentation_generator
from fashioncnn.settings import AugmentationConfig

SAMPLES_PER_IMAGE = 96
"""Length of a row that feeds a `Sampler`; more than any renderer takes."""
ERASING_AREA = (0.02, 0.4)
"""Range of the erased fraction of the image (Zhong et al. 2020, arXiv:1708.04896)."""
ERASING_MAX_ASPECT = 1 / 0.3
"""Largest height / width, or width / height, of the erased rectangle (same source)."""

Draw = Callable[[np.random.Generator, int, AugmentationConfig], NDArray[Any]]


def _symmetric(generator: np.random.Generator, n: int, bound: float) -> NDArray[np.float64]:
    return generator.uniform(-bound, bound, n)


def _log_uniform(generator: np.random.Generator, n: int, bound: float) -> NDArray[np.float64]:
    """Draw factors from [1 / (1 + `bound`), 1 + `bound`], uniform in their logarithm."""
    return np.exp(_symmetric(generator, n, math.log1p(bound)))


COLUMNS: dict[str, tuple[str, Draw]] = {
    "flip": ("flip", lambda g, n, c: g.random(n) < c.flip),
    "shift_x": ("shift", lambda g, n, c: g.integers(-c.shift, c.shift, n, endpoint=True)),
    "shift_y": ("shift", lambda g, n, c: g.integers(-c.shift, c.shift, n, endpoint=True)),
    "crop_scale": ("crop", lambda g, n, c: g.uniform(1 - c.crop, 1, n)),
    "crop_x": ("crop", lambda g, n, _: g.uniform(-1, 1, n)),
    "crop_y": ("crop", lambda g, n, _: g.uniform(-1, 1, n)),
    "rotation": ("rotation", lambda g, n, c: _symmetric(g, n, math.radians(c.rotation))),
    "scale": ("scale", lambda g, n, c: _log_uniform(g, n, c.scale)),
    "shear": ("shear", lambda g, n, c: np.tan(_symmetric(g, n, math.radians(c.shear)))),
    "brightness": ("brightness", lambda g, n, c: 1 + _symmetric(g, n, c.brightness)),
    "contrast": ("contrast", lambda g, n, c: 1 + _symmetric(g, n, c.contrast)),
    "blur_sigma": ("blur", lambda g, n, c: g.uniform(0, c.blur, n)),
    "noise_std": ("noise", lambda g, n, c: g.uniform(0, c.noise, n)),
    "erasing": ("erasing", lambda g, n, c: g.random(n) < c.erasing),
    "erasing_area": ("erasing", lambda g, n, _: g.uniform(*ERASING_AREA, n)),
    "erasing_aspect": ("erasing", lambda g, n, _: _log_uniform(g, n, ERASING_MAX_ASPECT - 1)),
    "erasing_x": ("erasing", lambda g, n, _: g.random(n)),
    "erasing_y": ("erasing", lambda g, n, _: g.random(n)),
    "cutout_x": ("cutout", lambda g, n, _: g.random(n)),
    "cutout_y": ("cutout", lambda g, n, _: g.random(n)),
    "mixup_lambda": ("mixup", lambda g, n, c: g.beta(c.mixup, c.mixup, n)),
    "cutmix_lambda": ("cutmix", lambda g, n, c: g.beta(c.cutmix, c.cutmix, n)),
    "cutmix_x": ("cutmix", lambda g, n, _: g.random(n)),
    "cutmix_y": ("cutmix", lambda g, n, _: g.random(n)),
    "use_cutmix": ("cutmix", lambda g, n, c: g.random(n) < (0.5 if c.mixup else 1)),
    "photograph": ("photograph", lambda g, n, c: g.random(n) < c.photograph),
    "photograph_params": (
        "photograph",
        lambda g, n, _: g.random((n, SAMPLES_PER_IMAGE), np.float32),
    ),
    "is_outlier": ("outlier_exposure", lambda g, n, c: g.random(n) < c.outlier_exposure),
    "outlier_params": (
        "outlier_exposure",
        lambda g, n, _: g.random((n, SAMPLES_PER_IMAGE), np.float32),
    ),
}
"""Parameter name → (setting that enables it, function that draws `n` values).

A parameter's position is the number of its random stream: append new ones, never reorder them.
Angles are in radians; positions and lengths are fractions of the image side, except `shift_x` and
`shift_y` (pixels), `crop_x` and `crop_y` (-1 and 1 align the crop with an edge).
"""
NOISE_KEY_STREAM = 1000
NOISE_SETTINGS = ("noise", "erasing", "photograph", "outlier_exposure")
"""Settings that need `noise_key`, the key of an image's random fields."""


def draw_parameters(
    config: AugmentationConfig, seed: int, epoch: int, n: int
) -> dict[str, NDArray[Any]]:
    """Draw the parameters of `n` images for an epoch.

    Each parameter has its own random stream, so its values do not depend on the other settings.

    Returns:
        The parameters in `COLUMNS` that `config` enables, (n,) or (n, SAMPLES_PER_IMAGE) float32,
        flags as 0 and 1; and `noise_key`, (n,) int64 in [0, 2³²), if `config` needs it.
    """
    table: dict[str, NDArray[Any]] = {}
    for stream, (name, (setting, draw)) in enumerate(COLUMNS.items()):
        if getattr(config, setting) > 0:
            generator = augmentation_generator(seed, epoch, stream)
            table[name] = draw(generator, n, config).astype(np.float32, copy=False)
    if any(getattr(config, setting) > 0 for setting in NOISE_SETTINGS):
        generator = augmentation_generator(seed, epoch, NOISE_KEY_STREAM)
        table["noise_key"] = generator.integers(0, 2**32, n)
    return table
