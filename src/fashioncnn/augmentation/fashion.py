"""Augmentation of data sets whose class names are those of Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fashioncnn.augmentation.outlier_exposure import LOWER, UPPER, WHOLE
from fashioncnn.augmentation.photographs import ClassTraits
from fashioncnn.augmentation.pipeline import Augmentation
from fashioncnn.settings import AugmentationConfig

SHOES = frozenset({"Sandal", "Sneaker", "Ankle boot"})
"""Classes of garments that come in pairs."""
SLEEVED = frozenset({"T-shirt/top", "Pullover", "Coat", "Shirt"})
"""Classes whose sleeves can be spread. Dresses are left out: their skirts extend beyond the trunk
too and would be cut off as sleeves."""
DRAPED = frozenset({"Dress"})
"""Classes of garments that hang in folds."""
PARTIAL_GARMENTS = {"Trouser": UPPER, "Dress": LOWER}
"""Classes of garments of which one half belongs to no class: shorts and skirts."""


def create_augmentation(
    config: AugmentationConfig,
    labels: NDArray[np.uint8],
    class_names: Sequence[str],
    seed: int,
    device: torch.device,
) -> Augmentation | None:
    """Create the augmentation of a training split.

    Args:
        config: the transforms and their strengths.
        labels: (n,) uint8, indices of `class_names`. Classes that Fashion-MNIST does not have are
            augmented without assumptions about their garments.
        class_names: names of the classes.
        seed: seed of all random values.
        device: device of the tables of parameters.

    Returns:
        The augmentation, or None if `config` enables none.
    """
    if config.is_off:
        return None
    by_class = {
        "has_pair": [name in SHOES for name in class_names],
        "has_sleeves": [name in SLEEVED for name in class_names],
        "drapes": [name in DRAPED for name in class_names],
        "partial_garment": [PARTIAL_GARMENTS.get(name, WHOLE) for name in class_names],
    }
    by_image = {
        name: torch.from_numpy(np.array(values)[labels]).to(device)
        for name, values in by_class.items()
    }
    partial_garments = by_image.pop("partial_garment")
    return Augmentation(config, seed, len(labels), ClassTraits(**by_image), partial_garments)
