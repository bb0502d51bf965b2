"""Stratified and deterministic partitions of a split: validation and cross-validation folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.dataset import Split
from fashioncnn.errors import UsageError

SPLIT_SEED = 20170825
"""Seed of every partition, so that all runs hold out the same images (the dataset's release date).
"""

Indices = NDArray[np.int64]


def stratified_split_indices(labels: NDArray[np.uint8], held_out: int) -> tuple[Indices, Indices]:
    """Partition positions into a training and a held-out set with the same class proportions.

    Class counts that are not whole are rounded by the largest remainder method, so that exactly
    `held_out` images are held out. The last image of a class is held out only if there is no other
    image left. The result depends on the labels and `SPLIT_SEED` only.

    Args:
        labels: (n,).
        held_out: number of images to hold out, from 0 to n - 1.

    Returns:
        (n - held_out,) and (held_out,) int64 positions, ascending.

    Raises:
        UsageError: `held_out` is out of range.
    """
    n = len(labels)
    if not 0 <= held_out < n:
        raise UsageError(
            f"validation = {held_out}: must be from 0 to {n - 1}, below the {n:,} training images"
        )
    totals = np.bincount(labels)
    exact = totals * held_out / n
    counts = np.floor(exact).astype(int)
    for _ in range(held_out - counts.sum()):
        is_last = counts + 1 >= totals
        remainder = np.where(is_last & ~is_last.all(), -np.inf, exact - counts)
        counts[np.where(counts < totals, remainder, -np.inf).argmax()] += 1
    shuffled = _shuffled_positions(n)
    is_held_out = np.zeros(n, bool)
    for label, count in enumerate(counts):
        is_held_out[shuffled[labels[shuffled] == label][:count]] = True
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def folds(labels: NDArray[np.uint8], k: int) -> list[tuple[Indices, Indices]]:
    """Partition positions into `k` stratified folds for cross-validation.

    Each position is held out in exactly one fold. Sizes of folds, and counts of each class in
    them, differ by at most 1. The result depends on the labels, `k` and `SPLIT_SEED` only.

    Args:
        labels: (n,).
        k: number of folds, from 2 to n.

    Returns:
        `k` pairs of training and held-out int64 positions, each ascending.

    Raises:
        UsageError: `k` is out of range.
    """
    _check_folds(k, len(labels))
    return [fold_indices(labels, k, number) for number in range(1, k + 1)]


def fold_indices(labels: NDArray[np.uint8], k: int, number: int) -> tuple[Indices, Indices]:
    """Return one of the pairs that `folds` returns.

    Args:
        labels: (n,).
        k: number of folds, from 2 to n.
        number: of the fold, from 1 to k.

    Raises:
        UsageError: `k` is out of range.
    """
    n = len(labels)
    _check_folds(k, n)
    shuffled = _shuffled_positions(n)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold_of = np.empty(n, np.int64)
    fold_of[by_class] = np.arange(n) % k + 1
    return np.flatnonzero(fold_of != number), np.flatnonzero(fold_of == number)


def subset_indices(labels: NDArray[np.uint8], size: int) -> Indices:
    """Return the positions of a stratified subset that contains every smaller one.

    All images are put into one order: the shuffled images of a class are spread over it uniformly,
    and the first image of every class comes first. A subset is the beginning of this order, which
    depends on the labels and `SPLIT_SEED` only.

    Args:
        labels: (n,).
        size: of the subset, from 0 to n.

    Returns:
        (size,) int64, ascending.
    """
    # Another order than that of held-out images, so that a subset is not a validation split.
    shuffled = np.random.default_rng([SPLIT_SEED, 1]).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    rank = np.concatenate([np.arange(count) / count for count in counts if count] or [[]])
    return np.sort(by_class[np.argsort(rank, kind="stable")][:size])


def hold_out_test(split: Split, min_images: int = 0) -> tuple[Split, Split | None]:
    """Return the training split and one sixth as the test split, each with its own indices.

    Args:
        split: all images.
        min_images: with fewer, there is no test split.
    """
    at_most = len(split) - len(np.unique(split.labels))  # one of each class is trained on
    held_out = 0 if len(split) < min_images else min(len(split) // 6, at_most)
    train, test = stratified_split_indices(split.labels, held_out)
    if not len(test):
        return split, None
    return _renumbered(split.subset(train)), _renumbered(split.subset(test))


def _renumbered(split: Split) -> Split:
    """Return a split whose indices are its own positions."""
    return replace(split, indices=np.arange(len(split), dtype=np.int64))


def validation_size(validation: float | str, n: int) -> int:
    """Return the number of `n` images that the setting holds out; ``auto`` is one sixth.

    Args:
        validation: ``auto``, a number of images, or a fraction between 0 and 1.
        n: images of the training split.

    Raises:
        UsageError: the fraction is less than one image.
    """
    if validation == "auto":
        return n // 6
    if isinstance(validation, float):
        size = round(validation * n)
        if not size:
            raise UsageError(
                f"validation = {validation:g}: no whole image of {n:,}; use a larger fraction"
            )
        return size
    return int(validation)


def split_validation(
    train: Split, held_out: int, given: float | str | None = None
) -> tuple[Split, Split | None]:
    """Return the images to train on and the validation split, stratified.

    Args:
        train: the training split.
        held_out: size of the validation split; with 0 it is None.
        given: the setting that it comes from, for messages; by default the size itself.

    Raises:
        UsageError: `held_out` is out of range, or leaves no image of a class to train on.
    """
    setting = f"validation = {held_out if given is None else given}"
    if held_out >= len(train):
        raise UsageError(
            f"{setting}: holds out {held_out:,} images, but there are only {len(train):,} training "
            "images; hold out fewer"
        )
    train_indices, held_out_indices = stratified_split_indices(train.strata, held_out)
    if not held_out:
        return train, None
    classes = len(np.unique(train.strata))
    if len(np.unique(train.strata[train_indices])) < classes:
        raise UsageError(
            f"{setting}: leaves {len(train_indices):,} of {len(train):,} training "
            f"images for {classes} classes; hold out at most {len(train) - classes:,}"
        )
    return train.subset(train_indices), train.subset(held_out_indices)


def _check_folds(k: int, n: int) -> None:
    if not 2 <= k <= n:
        raise UsageError(f"folds = {k}: must be from 2 to {n:,}, the number of images")


def _shuffled_positions(n: int) -> Indices:
    return np.random.default_rng(SPLIT_SEED).permutation(n)
