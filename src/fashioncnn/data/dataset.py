"""Datasets in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.checks import check_labels, checked_class_names
from fashioncnn.data.labels import MIN_CLASSES, distinct_labels, encode_labels
from fashioncnn.data.pixels import to_images
from fashioncnn.data.split import Split
from fashioncnn.errors import DataError, UsageError
from fashioncnn.images.views import VIEW_FUNCTIONS, ViewMode

__all__ = [
    "FASHION_MNIST",
    "FASHION_MNIST_CLASSES",
    "IN_MEMORY",
    "MODIFIED",
    "OFFICIAL_SPLITS",
    "SKETCHES",
    "Dataset",
    "Split",
    "custom_dataset_name",
    "empty_split",
    "is_dataset",
    "validated_split",
]

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
OFFICIAL_SPLITS = {
    "train": "d0aa9129c294bdec27e4752ae9cde8aefb740edaee9033747b9b480715cd972c",
    "test": "b1bf94e2a44c923cebadb1d454111a73e5d6eb5dd7c23459308c93f2bbeccee9",
}
"""`Split.sha256` of the splits of Fashion-MNIST."""
MODIFIED = f"{FASHION_MNIST}, modified"
"""Name of a dataset that was Fashion-MNIST before a split was replaced."""
SKETCHES = "sketches"
IN_MEMORY = "arrays in memory"
"""Source of a dataset that was not read from files."""


@dataclass(frozen=True)
class Dataset:
    """A training split, optional validation and test splits, and the class names.

    `from_arrays` creates one from arrays of any supported type, with labels of any kind.

    Attributes:
        name: ``fashion-mnist`` (only if all splits are the official ones, else the name becomes
            ``fashion-mnist, modified``), ``sketches``, or a user's name such as the folder's.
        class_names: by label.
        train: for training and for every choice; the validation split is cut from it if the source
            has none. It has no images if the source has only other splits.
        test: for evaluation only; None if the source has none.
        views: how image files become arrays of this kind, see `fashioncnn.images.views`.
        source: ``sketches``, or where it was loaded from.
        validation: given by the source; None if it has none.
        rehearsal: images of another dataset with the same classes, trained on beside `train`; None
            for none.

    Raises:
        DataError: the splits have no images, other image sizes than each other, or labels without
            a class name; or the class names are not 2 to 256 different names.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split | None
    views: ViewMode
    source: str
    validation: Split | None = None
    rehearsal: Split | None = None

    def __post_init__(self) -> None:
        _check_types(self)
        minimum = MIN_CLASSES if len(self.train) else 1
        names = checked_class_names(self.class_names, self.source, minimum)
        object.__setattr__(self, "class_names", names)
        _check_splits(self)
        if self.name == FASHION_MNIST and not self.is_official:
            object.__setattr__(self, "name", MODIFIED)

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        *,
        class_names: Sequence[str] | None = None,
        test: tuple[Any, Any] | None = None,
        validation: tuple[Any, Any] | None = None,
        name: str = "arrays",
        image_size: int | None = None,
        channels: int = 1,
        views: ViewMode = "plain",
    ) -> Dataset:
        """Return the dataset of images and labels in memory.

        Examples:
            >>> dataset = Dataset.from_arrays(X_train, y_train, test=(X_test, y_test))

        Args:
            images: of the training split, see `fashioncnn.data.pixels.to_images`.
            labels: (n,) integers or names, see `fashioncnn.data.labels.encode_labels`.
            class_names: by label. By default the distinct labels of the training split: integers
                by value, names in natural order.
            test: images and labels of the test split.
            validation: images and labels of the validation split; by default it is cut from the
                training split.
            name: of the dataset.
            image_size: side in pixels to which images are resized.
            channels: 1 converts color images to grayscale, 3 keeps their colors.
            views: how image files become arrays of this kind when the model predicts.

        Raises:
            DataError: lengths differ, or a shape, value range or label is not supported.
            UsageError: a type is not supported.
        """
        if type(channels) is not int or channels not in (1, 3):
            raise UsageError(f"channels = {channels!r}: should be 1 or 3")
        names = (
            distinct_labels(labels)
            if class_names is None
            else checked_class_names(class_names, "class_names")
        )
        given = {"train": (images, labels), "test": test, "validation": validation}
        splits = {
            split: _split_of_arrays(
                pair, names, image_size, channels, "" if split == "train" else split
            )
            for split, pair in given.items()
            if pair is not None
        }
        return cls(
            name,
            names,
            splits["train"],
            splits.get("test"),
            views,
            IN_MEMORY,
            splits.get("validation"),
        )

    def __repr__(self) -> str:
        splits = ", ".join(f"{name}: {len(split):,}" for name, split in self.splits.items())
        size, classes = self.image_size, len(self.class_names)
        return f"Dataset({self.name}, {splits}, {size}×{size} pixels, {classes} classes)"

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that have images by name: ``train``, ``validation``, ``test``."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None and len(split)}

    @property
    def training_sha256(self) -> str:
        """SHA-256 of all that a training sees: of `train`, and any `validation` and `rehearsal`."""
        others = [split.sha256 for split in (self.validation, self.rehearsal) if split is not None]
        if not others:
            return self.train.sha256
        return hashlib.sha256(" ".join([self.train.sha256, *others]).encode()).hexdigest()

    @property
    def image_size(self) -> int:
        """Side of the images, in pixels."""
        return int(self.train.images.shape[1])

    @property
    def channels(self) -> Literal[1, 3]:
        """Channels of the images: 1 for grayscale, 3 for color."""
        return 1 if self.train.images.ndim == 3 else 3

    @property
    def is_official(self) -> bool:
        """Whether all splits are those of Fashion-MNIST, by their SHA-256."""
        return all(map(self.is_official_split, self.splits))

    def is_official_split(self, split: str) -> bool:
        """Whether the split of that name is the one of Fashion-MNIST, by its SHA-256."""
        digest = self.hashes.get(split)
        return digest is not None and digest == OFFICIAL_SPLITS.get(split)

    def name_of(self, split: str) -> str:
        """Return the name of the data in a split, ``fashion-mnist`` if it is the official one.

        That is so for the official test split beside modified training images.
        """
        return FASHION_MNIST if self.is_official_split(split) else self.name

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 by the name of the split."""
        return {name: split.sha256 for name, split in self.splits.items()}

    def require_train(self) -> Split:
        """Return the training split.

        Raises:
            DataError: it has no images.
        """
        if not len(self.train):
            raise DataError(
                f"{self.source}: no training split, only {' and '.join(self.splits)}; add one"
            )
        return self.train

    def require_test(self) -> Split:
        """Return the test split.

        Raises:
            DataError: there is none.
        """
        if self.test is None:
            available = " and ".join(self.splits)
            raise DataError(f"{self.source}: no test split, only {available}; add one")
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
    check_labels(labels, classes, name)
    return Split(images, labels)


def empty_split(like: Split) -> Split:
    """Return a split without images, of the image size of another split."""
    return Split(like.images[:0], like.labels[:0])


def _split_of_arrays(
    pair: Any, class_names: tuple[str, ...], image_size: int | None, channels: int, prefix: str
) -> Split:
    """Return a split of images and labels; `prefix` names it in messages."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DataError(f"{prefix} of type {type(pair).__name__}: should be (images, labels)")
    images = to_images(pair[0], image_size, f"{prefix} images".strip(), channels)
    labels = encode_labels(pair[1], class_names, f"{prefix} labels".strip())
    if len(images) != len(labels):
        where = f"{prefix}: " if prefix else ""
        raise DataError(f"{where}{len(images):,} images but {len(labels):,} labels")
    return Split(images, labels)


def _check_types(dataset: Dataset) -> None:
    source = dataset.source
    for name in ("name", "source"):
        value = getattr(dataset, name)
        if not isinstance(value, str):
            raise DataError(f"{name} of type {type(value).__name__}: should be a string")
    if not isinstance(dataset.views, str) or dataset.views not in VIEW_FUNCTIONS:
        raise DataError(f"{source}: views {dataset.views!r}; should be in {list(VIEW_FUNCTIONS)}")
    optional = (dataset.validation, dataset.test, dataset.rehearsal)
    for split in (dataset.train, *(s for s in optional if s is not None)):
        if not isinstance(split, Split):
            raise DataError(f"{source}: a split of type {type(split).__name__}; should be a Split")


def _check_splits(dataset: Dataset) -> None:
    source, expected = dataset.source, dataset.train.images.shape[1:]
    if not dataset.splits:
        raise DataError(f"{source}: no images")
    for name, split in dataset.splits.items():
        check_labels(split.labels, len(dataset.class_names), f"{source}: {name} split")
        if split.allowed is not None and split.allowed.shape[1] != len(dataset.class_names):
            raise DataError(
                f"{source}: {name} split: allowed has {split.allowed.shape[1]} columns, expected "
                f"{len(dataset.class_names)}, one per class"
            )
        if split.images.shape[1:] != expected:
            raise DataError(
                f"{source}: training images are {_shape(expected)} but {name} images "
                f"{_shape(split.images.shape[1:])}; make them the same size"
            )


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
