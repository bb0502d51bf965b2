"""The images that a run trains on and holds out: validation split, fold, fraction, label noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.dataset import FASHION_MNIST, Dataset, Split
from fashioncnn.data.seeding import label_noise_values
from fashioncnn.data.splits import (
    SPLIT_SEED,
    fold_indices,
    split_validation,
    subset_indices,
    validation_size,
)
from fashioncnn.errors import UsageError
from fashioncnn.settings import DataConfig


def training_splits(dataset: Dataset, config: DataConfig) -> tuple[Split, Split | None]:
    """Return the images to train on, and the validation split or None.

    The validation split is held out first, so it does not depend on `DataConfig.fraction`; label
    noise applies to the images to train on only. The result depends on dataset and settings, not
    on the training seed. All images keep their indices.

    Raises:
        UsageError: there are not enough images.
    """
    train, validation = hold_out(dataset, config)
    if config.fraction < 1:
        train = train.subset(_fraction_indices(train.strata, config.fraction))
    if config.label_noise > 0:
        classes = len(dataset.class_names)
        labels = noisy_labels(train.labels, train.indices, config.label_noise, classes)
        train = replace(train, labels=labels)
    return train, validation


def hold_out(dataset: Dataset, config: DataConfig) -> tuple[Split, Split | None]:
    """Return the rest of the training split, and the fold or the validation split held out.

    Nothing is held out if the source has a validation split: it is returned.

    Raises:
        UsageError: there are not enough images, or the source has a validation split of another
            size than the settings require.
    """
    train = dataset.train
    if dataset.validation is not None:
        _check_given_validation(dataset.source, len(dataset.validation), config)
        return train, dataset.validation
    if config.fold is None:
        few = len(train) < config.hold_out_min * len(dataset.class_names)
        validation = 0 if few and config.validation == "auto" else config.validation
        size = validation_size(validation, len(train))
        return split_validation(train, size, validation)
    number, k = map(int, config.fold.split("/"))
    if k > len(train):
        raise UsageError(f"fold = {config.fold}: there are only {len(train):,} training images")
    rest, fold = fold_indices(train.strata, k, number)
    return train.subset(rest), train.subset(fold)


def _check_given_validation(source: str, n: int, config: DataConfig) -> None:
    """Reject settings of another validation split; 0 is accepted, since most recipes have it."""
    if config.fold is not None or config.validation not in ("auto", 0, n):
        given = f"fold = {config.fold}" if config.fold else f"validation = {config.validation}"
        raise UsageError(
            f"{given}: {source} has a validation split of {n:,} images, which is used; remove the "
            "setting"
        )


def noisy_labels(
    labels: NDArray[np.uint8], indices: NDArray[np.int64], probability: float, classes: int
) -> NDArray[np.uint8]:
    """Return labels with symmetric noise.

    With this probability, a label is replaced by one of the other classes, each of them equally
    likely (Ghosh, Kumar and Sastry, arXiv:1712.09482, section 2). Whether and how a label is
    replaced is a function of `SPLIT_SEED` and the index of the image; with a higher probability,
    the same labels and others are replaced.

    Args:
        labels: (n,).
        indices: (n,) positions in the split that was loaded.
        probability: in [0, 1).
        classes: number of classes, at least 2.

    Returns:
        (n,) uint8.
    """
    uniform, other = label_noise_values(SPLIT_SEED, indices)
    shift = 1 + (other * (classes - 1)).astype(np.int64)
    replaced = (labels + shift) % classes
    return np.where(uniform < probability, replaced, labels).astype(np.uint8)


def training_data_name(name: str, config: DataConfig) -> str:
    """Return the name of the training data of a run, with what was changed.

    >>> training_data_name("fashion-mnist", DataConfig(fraction=0.1, label_noise=0.2))
    'fashion-mnist, 10% of the training images, 20% label noise'
    """
    parts = [name]
    if config.fraction < 1:
        parts.append(f"{100 * config.fraction:.4g}% of the training images")
    if config.label_noise > 0:
        parts.append(f"{100 * config.label_noise:.4g}% label noise")
    if config.rehearsal:
        parts.append(f"rehearsing {FASHION_MNIST}")
    return ", ".join(parts)


def _fraction_indices(labels: NDArray[np.uint8], fraction: float) -> NDArray[np.int64]:
    size, classes = round(fraction * len(labels)), len(np.unique(labels))
    if size < classes:
        raise UsageError(
            f"fraction = {fraction:g}: leaves {size} of {len(labels):,} training images for "
            f"{classes} classes; use at least {classes / len(labels):.2g}"
        )
    return subset_indices(labels, size)
