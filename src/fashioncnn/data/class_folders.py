"""Datasets of image files in one subfolder per class, optionally within ``train`` and ``test``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.dataset import Dataset, Split, custom_dataset_name
from fashioncnn.data.splits import stratified_split_indices
from fashioncnn.errors import DataError
from fashioncnn.images.decoding import read_image
from fashioncnn.images.files import walk_images
from fashioncnn.images.views import plain_view

MAX_PIXELS = 64_000_000
"""Limit per image: higher than for prediction, since a user's own photographs are trusted more."""
MIN_CLASSES, MAX_CLASSES = 2, 256


def read_class_folders(folder: Path, image_size: int) -> Dataset:
    """Return the dataset of ``folder/<class>/*`` or ``folder/{train,test}/<class>/*``.

    The classes are the folders of the training split, in alphabetical order. Without a folder
    ``train``, one sixth of the images is held out as the test split, stratified and deterministic;
    with it, there is a test split only if there is a folder ``test``.

    Args:
        folder: of the dataset.
        image_size: side in pixels to which every image is resized.

    Raises:
        DataError: fewer than 2 or more than 256 classes, a class without images, a class that is
            only in the test split, or an image that cannot be read.
    """
    has_splits = (folder / "train").is_dir()
    train_folder = folder / "train" if has_splits else folder
    class_names = tuple(path.name for path in _class_folders(train_folder))
    if not class_names:
        raise DataError(
            f"{folder}: contains neither IDX files (train-images-idx3-ubyte …) nor a subfolder "
            "of images per class; add them, or give another folder"
        )
    if not MIN_CLASSES <= len(class_names) <= MAX_CLASSES:
        raise DataError(
            f"{train_folder}: {len(class_names)} class folders, expected {MIN_CLASSES} to "
            f"{MAX_CLASSES}"
        )
    train = _read_split(train_folder, class_names, image_size)
    if has_splits:
        test = _read_test(folder / "test", class_names, image_size)
    else:
        train, test = _hold_out_test(train)
    return Dataset(custom_dataset_name(folder), class_names, train, test, "plain", str(folder))


def _class_folders(folder: Path) -> list[Path]:
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    for path in folders:
        if not path.name.isprintable():
            raise DataError(
                f"{str(path)!r}: class name with unprintable characters; rename the folder"
            )
    return folders


def _read_test(folder: Path, class_names: tuple[str, ...], image_size: int) -> Split | None:
    if not folder.is_dir():
        return None
    for path in _class_folders(folder):
        if path.name not in class_names:
            raise DataError(
                f"{path}: class is not in the training split; add training images of it, or "
                "remove the folder"
            )
    return _read_split(folder, class_names, image_size)


def _hold_out_test(split: Split) -> tuple[Split, Split | None]:
    """Return the training split and one sixth as the test split, each with its own indices."""
    train, test = stratified_split_indices(split.labels, len(split) // 6)
    test_split = Split(split.images[test], split.labels[test]) if len(test) else None
    return Split(split.images[train], split.labels[train]), test_split


def _read_split(folder: Path, class_names: tuple[str, ...], image_size: int) -> Split:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        class_folder = folder / name
        if not class_folder.is_dir():
            continue
        images = list(walk_images(class_folder))
        if not images:
            raise DataError(f"{class_folder}: no images; add some, or remove the folder")
        paths += images
        labels += [label] * len(images)
    if not paths:
        raise DataError(
            f"{folder}: no class folders; add folders of images such as {folder / class_names[0]}"
        )
    with ThreadPoolExecutor() as pool:
        arrays = list(pool.map(lambda path: _read_array(path, image_size), paths))
    return Split(np.stack(arrays), np.array(labels, np.uint8))


def _read_array(path: Path, image_size: int) -> NDArray[np.uint8]:
    return plain_view(read_image(path, max_pixels=MAX_PIXELS), image_size)
