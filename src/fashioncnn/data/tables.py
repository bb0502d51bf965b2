"""Datasets of arrays and tables: CSV files, NumPy archives, and what Python code passes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fashioncnn.data.dataset import (
    IN_MEMORY,
    Dataset,
    Split,
    custom_dataset_name,
    empty_split,
)
from fashioncnn.data.frames import read_csv, read_frame
from fashioncnn.data.image_files import read_images, readable, split_of_views
from fashioncnn.data.items import is_item_dataset, read_items
from fashioncnn.data.labels import MIN_CLASSES, distinct_labels, encode_labels
from fashioncnn.data.npz import ALL, read_npz
from fashioncnn.data.options import LoadOptions
from fashioncnn.data.pixels import (
    ConvertedImages,
    are_paths,
    as_list,
    default_size,
    is_list_of_images,
    read_list,
    to_images,
    to_views,
)
from fashioncnn.data.split_folders import ROLES, loose_files, split_role, subfolders
from fashioncnn.data.splits import hold_out_test
from fashioncnn.errors import DataError, UsageError

TABLES = (".csv", ".tsv")

Pairs = Mapping[str, tuple[Any, Any]]
"""Images and labels by split: ``train``, ``validation``, ``test``, or `ALL`."""


def read_table_file(path: Path, options: LoadOptions) -> Dataset:
    """Return the dataset of a CSV file or NumPy archive.

    Without named splits, one sixth is held out as the test split, as of class folders.

    Raises:
        DataError: it cannot be read, or is not a table of images and labels.
        UsageError: its values are not those of images.
    """
    names = None
    if path.suffix.lower() == ".npz":
        pairs, names = read_npz(path, options.notify)
    else:
        pairs = {ALL: read_csv(path, options)}
    return _assemble(pairs, names, custom_dataset_name(Path(path.stem)), str(path), options)


def find_tables(folder: Path) -> dict[str, Path]:
    """Return the CSV files in a folder without subfolders by split; of a single one, by `ALL`."""
    if subfolders(folder):
        return {}
    files = [path for path in loose_files(folder) if path.suffix.lower() in TABLES]
    if len(files) == 1:
        return {ALL: files[0]}
    by_role = {split_role(path.stem): path for path in files}
    if files and (None in by_role or len(by_role) < len(files)):
        raise DataError(
            f"{folder}: {len(files)} CSV files that are not one for each split; name one of them, "
            f"such as {files[0]}"
        )
    return {role: by_role[role] for role in ROLES if role in by_role}


def read_tables(folder: Path, tables: Mapping[str, Path], options: LoadOptions) -> Dataset:
    """Return the dataset of CSV files by split; see `find_tables`."""
    pairs = {role: read_csv(path, options) for role, path in tables.items()}
    return _assemble(pairs, None, custom_dataset_name(folder), str(folder), options)


def read_objects(data: Any, options: LoadOptions) -> Dataset:
    """Return the dataset of Python objects; see `objects_by_split`.

    Without named splits, all images are training images, or test images if they are to be
    evaluated.

    Args:
        data: see `objects_by_split`.
        options: all apply.

    Raises:
        UsageError: `data` is of another type.
        DataError: it cannot be used; see `Dataset.from_arrays`.
    """
    return dataset_of_objects(*objects_by_split(data, options), options)


def objects_by_split(data: Any, options: LoadOptions) -> tuple[Pairs, tuple[str, ...] | None]:
    """Return the images and labels in Python objects by split, and any class names.

    Args:
        data: (images, labels); ((images, labels), (test images, test labels)) as of Keras; a data
            frame with the columns of a CSV file; an object for `read_items`; or a dictionary of
            these by the name of their split, as of Hugging Face.
        options: see `read_items`.

    Raises:
        UsageError: `data` is of another type.
        DataError: a frame or item is not one of images with labels.
    """
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return {ALL: read_frame(data, options)}, None
    if isinstance(data, Mapping):
        return _named_splits(data, options)
    if _is_pair(data):
        if all(map(_is_dataset_of_pairs, data)):
            raise UsageError("data of two datasets: name the splits, as in {'train': …, 'test': …}")
        nested = all(isinstance(one, tuple | list) and len(one) == 2 for one in data)
        nested = nested and all(hasattr(one[0], "shape") for one in data)
        return {"train": data[0], "test": data[1]} if nested else {ALL: (data[0], data[1])}, None
    if is_item_dataset(data):
        images, labels, names = read_items(data, options)
        return {ALL: (images, labels)}, names
    raise UsageError(
        f"data of type {type(data).__name__}: should be a path, a Dataset, (images, labels), a "
        "data frame, a torch.utils.data.Dataset with items (image, label), or a dictionary of "
        "splits"
    )


def dataset_of_objects(
    pairs: Pairs, names: tuple[str, ...] | None, options: LoadOptions
) -> Dataset:
    """Return the dataset of what `objects_by_split` returns; see `read_objects`."""
    if ALL in pairs:
        pairs = {"test" if options.for_evaluation else "train": pairs[ALL]}
    return _assemble(pairs, names, "arrays", IN_MEMORY, options)


def _named_splits(
    data: Mapping[Any, Any], options: LoadOptions
) -> tuple[Pairs, tuple[str, ...] | None]:
    pairs: dict[str, tuple[Any, Any]] = {}
    names = None
    for name, one in data.items():
        role = split_role(name) if isinstance(name, str) else None
        if role is None or role in pairs:
            raise UsageError(
                f"data of type {type(data).__name__} with the key {name!r}: should be a dataset "
                "for each split, called train, validation and test"
            )
        of_split, found = objects_by_split(one, options)
        if set(of_split) != {ALL}:
            raise UsageError(f"data['{name}']: has splits of its own; should be one split")
        if None not in (names, found) and names != found:
            raise DataError(f"data['{name}']: other class names than the other splits")
        pairs[role], names = of_split[ALL], names or found
    if not pairs:
        raise UsageError(
            f"data of type {type(data).__name__} is empty: should have a split called train"
        )
    return pairs, names


def _is_dataset_of_pairs(data: Any) -> bool:
    """Return whether this is a dataset of another library, and no sequence of images or labels."""
    if hasattr(data, "shape") or not is_item_dataset(data) or not len(data):
        return False
    first = data[0]
    return isinstance(first, Mapping) or (isinstance(first, tuple) and len(first) == 2)


def _is_pair(data: Any) -> bool:
    """Return whether this is (images, labels), or two of them."""
    if not isinstance(data, tuple | list) or len(data) != 2 or not _has_length(data[1]):
        return False
    return _has_length(data[0]) or (isinstance(data[0], Iterator) and not hasattr(data[0], "read"))


def _has_length(data: Any) -> bool:
    return hasattr(data, "__len__") and not isinstance(data, str | bytes)


def _assemble(
    pairs: Pairs, names: tuple[str, ...] | None, name: str, source: str, options: LoadOptions
) -> Dataset:
    whole = ALL in pairs
    if whole:
        pairs = {"test" if options.for_evaluation else "train": pairs[ALL]}
    first = next(role for role in ROLES if role in pairs)
    if names is None:
        minimum = MIN_CLASSES if first == "train" else 1
        names = distinct_labels(pairs[first][1], f"{source}: {first} labels", minimum)
        if set(names) == set(options.class_names):
            names = options.class_names
    options.check_classes(names, source)
    splits = {
        role: split_of_images(*pair, names, f"{source}: {role}", options)
        for role, pair in pairs.items()
    }
    train, test = splits.get("train"), splits.get("test")
    if whole and train is not None:
        train, test = hold_out_test(train, options.hold_out_min * len(names))
    return Dataset(
        name,
        names,
        train or empty_split(splits[first]),
        test,
        options.views,
        source,
        splits.get("validation"),
    )


def split_of_images(
    images: Any, labels: Any, names: tuple[str, ...], subject: str, options: LoadOptions
) -> Split:
    """Return the split of images and labels.

    Args:
        images: `ConvertedImages`; or see `to_images`.
        labels: see `encode_labels`.
        names: of the classes.
        subject: what messages call the split.
        options: all apply.

    Raises:
        DataError: they do not match or cannot be read, or a class has no readable images.
        UsageError: a type or value range is not supported.
    """
    codes = encode_labels(labels, names, f"{subject} labels".strip())
    where = f"{subject}: " if subject else ""
    images = as_list(images)
    is_counted = isinstance(images, list | tuple) or hasattr(images, "shape")
    if is_counted and len(images) != len(codes):
        raise DataError(f"{where}{len(images):,} images but {len(codes):,} labels")
    if isinstance(images, ConvertedImages):
        return split_of_views(images, codes)
    if is_list_of_images(images, options.image_size):
        files = [Path(os.fsdecode(one)) for one in images] if are_paths(images) else None
        if files is not None:
            views, kept = read_images(files, options)
        else:
            side = options.image_size or default_size(images)
            views, kept = readable(
                read_list(images, options.views, side, options.channels), options
            )
        missing = np.setdiff1d(codes, codes[kept])
        if len(missing):
            raise DataError(f"{where}no readable images of class '{names[missing[0]]}'; add some")
        file_names = None if files is None else [str(files[i]) for i in kept]
        return split_of_views(views, codes[kept], file_names)
    what, size, channels = f"{subject} images".strip(), options.image_size, options.channels
    if options.views != "plain" and len(codes):
        return split_of_views(to_views(images, options.views, size, what, channels), codes)
    return Split(to_images(images, size, what, channels), codes)
