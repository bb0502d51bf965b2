"""What a data set is, once it is in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fashioncnn.errors import DataError, UsageError

FASHION_MNIST = "fashion-mnist"
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
ViewMode = Literal["fashion", "plain", "photo", "cutout", "pad", "stretch", "crop"]
"""How files become arrays, see `fashioncnn.images.views`."""
SKETCHES = "sketches"
SPLIT_SEED = 20170825
"""Seed of every split, so that all runs hold out the same images (the data's release date)."""


@dataclass(frozen=True)
class Split:
    """Labelled images.

    Attributes:
        images: (n, height, width) uint8, 0 is the empty background.
        labels: (n,) uint8, each below the number of classes.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Split:
        """Return the images at `indices`, in that order."""
        return Split(self.images[indices], self.labels[indices])

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over shape, pixels and labels: the identity of these images."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A training part, a test part where there is one, and the names of the classes.

    Attributes:
        name: ``fashion-mnist`` (only for the official files), ``sketches``, or the folder's name.
        class_names: by label.
        train: what may be learnt from and chosen by.
        test: what is only ever judged; None where the source has none.
        views: how images of files become arrays: ``fashion`` (garment light on black) or
            ``plain`` (grey and padded to a square).
        source: where it was found.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split | None
    views: ViewMode
    source: str

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 by split."""
        parts = {"train": self.train, "test": self.test}
        return {name: part.sha256 for name, part in parts.items() if part is not None}

    def require_test(self) -> Split:
        """Return the test part, or raise `DataError` where there is none."""
        if self.test is None:
            raise DataError(
                f"{self.source}: has no test part to judge on; train with --no-track-test"
            )
        return self.test


def custom_dataset_name(folder: Path) -> str:
    """Return a name for the data of a folder that no built-in data set has."""
    name = folder.resolve().name
    return f"own {name}" if name in (FASHION_MNIST, SKETCHES) else name


def validated_split(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], classes: int, name: str
) -> Split:
    """Return the split, or raise `DataError` that says how images and labels disagree."""
    if len(images) != len(labels):
        raise DataError(f"{name}: {len(images):,} images but {len(labels):,} labels")
    if int(labels.max()) >= classes:
        at = int(np.argmax(labels >= classes))
        raise DataError(
            f"{name}: label {labels[at]} at position {at}, but there are {classes} classes (0 to "
            f"{classes - 1})"
        )
    return Split(images, labels)


def stratified_split_indices(
    labels: NDArray[np.uint8], held_out: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split positions into a kept and a held-out part with the same share of every class.

    Classes whose share is not whole are rounded by largest remainder, so that exactly `held_out`
    are held out. The choice depends on the labels and `SPLIT_SEED` alone.

    Returns:
        (kept, held): (n - held_out,) and (held_out,) int64 positions, ascending.

    Raises:
        UsageError: `held_out` leaves nothing to learn from.
    """
    n = len(labels)
    if not 0 <= held_out < n:
        raise UsageError(
            f"validation = {held_out}: must be from 0 to under the {n:,} training images"
        )
    counts = np.bincount(labels)
    exact = counts * held_out / n
    quota = np.floor(exact).astype(int)
    by_remainder = np.argsort(quota - exact, kind="stable")
    quota[by_remainder[: held_out - quota.sum()]] += 1
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(n)
    chosen = np.zeros(n, bool)
    for label, wanted in enumerate(quota):
        chosen[shuffled[labels[shuffled] == label][:wanted]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def validation_size(validation: int | str, n: int) -> int:
    """Return how many of `n` images the setting holds out; ``auto`` is one sixth."""
    return n // 6 if validation == "auto" else int(validation)


def split_validation(train: Split, held_out: int) -> tuple[Split, Split | None]:
    """Return what is learnt from and the `held_out` images that are chosen by.

    The second part is None where nothing is held out.
    """
    kept, held = stratified_split_indices(train.labels, held_out)
    return (train.take(kept), train.take(held)) if held_out else (train, None)
