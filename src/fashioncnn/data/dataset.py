"""Datasets in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fashioncnn.errors import DataError
from fashioncnn.images.views import ViewMode

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
SKETCHES = "sketches"


@dataclass(frozen=True, eq=False)
class Split:
    """Labeled images.

    Attributes:
        images: (n, height, width) uint8, grayscale; 0 is the empty background.
        labels: (n,) uint8, each below the number of classes.
        indices: (n,) int64, the position of each image in the split that was loaded; by default
            0 to n - 1. `subset` keeps them.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    indices: NDArray[np.int64] = None  # type: ignore[assignment]  # replaced by __post_init__

    def __post_init__(self) -> None:
        if self.indices is None:
            object.__setattr__(self, "indices", np.arange(len(self.labels), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, positions: NDArray[np.int64]) -> Split:
        """Return the images at `positions` of this split, in that order.

        Args:
            positions: (m,) int64, from 0 to n - 1.
        """
        return Split(self.images[positions], self.labels[positions], self.indices[positions])

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of shape, pixels and labels, in hexadecimal; independent of `indices`."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A training split, an optional test split, and the class names.

    Attributes:
        name: ``fashion-mnist`` (only for the official files), ``sketches``, or the folder's name.
        class_names: by label.
        train: for training and for every choice; the validation split is cut from it.
        test: for evaluation only; None if the source has none.
        views: how image files become arrays of this kind, see `fashioncnn.images.views`.
        source: ``sketches``, or the folder it was loaded from.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split | None
    views: ViewMode
    source: str

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name: ``train`` and, if there is one, ``test``."""
        splits = {"train": self.train, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 by the name of the split."""
        return {name: split.sha256 for name, split in self.splits.items()}

    def require_test(self) -> Split:
        """Return the test split.

        Raises:
            DataError: there is none.
        """
        if self.test is None:
            raise DataError(f"{self.source}: no test split; add one, or train with --no-track-test")
        return self.test


def is_dataset(name: str, built_in: str) -> bool:
    """Return whether a name is that of a built-in dataset, or of a modification of it.

    >>> is_dataset("fashion-mnist, 10% of the training images", FASHION_MNIST)
    True
    """
    return name == built_in or name.startswith(f"{built_in}, ")


def custom_dataset_name(folder: Path) -> str:
    """Return the name of a user's dataset: the folder's, but never that of a built-in dataset."""
    name = folder.resolve().name
    is_taken = is_dataset(name, FASHION_MNIST) or is_dataset(name, SKETCHES)
    return f"own {name}" if is_taken else name


def validated_split(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], classes: int, name: str
) -> Split:
    """Return a split of images and labels that are consistent.

    Args:
        images: (n, height, width).
        labels: (n,).
        classes: the number of classes.
        name: used in messages, such as the path of the labels.

    Raises:
        DataError: their numbers differ, or a label is out of range.
    """
    if len(images) != len(labels):
        raise DataError(f"{name}: {len(images):,} images but {len(labels):,} labels")
    invalid = np.flatnonzero(labels >= classes)
    if len(invalid):
        position = invalid[0]
        raise DataError(
            f"{name}: label {labels[position]} at position {position}, expected 0 to {classes - 1} "
            f"({classes} classes)"
        )
    return Split(images, labels)
