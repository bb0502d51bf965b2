"""Datasets of arrays and tables: CSV files, NumPy archives, and what Python code passes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fashioncnn.data.dataset import (
    IN_MEMORY,
    Dataset,
    Split,
    custom_dataset_name,
    empty_split,
)
from fashioncnn.data.frames import label_column, read_csv, read_frame
from fashioncnn.data.items import first_label, is_item_dataset, read_items
from fashioncnn.data.labels import MIN_CLASSES, distinct_labels, encode_labels
from fashioncnn.data.npz import ALL, read_npz
from fashioncnn.data.options import LoadOptions
from fashioncnn.data.pixels import to_images
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
        pairs, names = read_npz(path)
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
    """Return the dataset of Python objects: arrays, frames, or datasets of other libraries.

    Without named splits, all images are training images, or test images if they are to be
    evaluated.

    Args:
        data: (images, labels); ((images, labels), (test images, test labels)) as of Keras; a data
            frame with the columns of a CSV file; or an object for `read_items`.
        options: all apply.

    Raises:
        UsageError: `data` is of another type.
        DataError: it cannot be used; see `Dataset.from_arrays`.
    """
    names = None
    pairs: Pairs
    if _is_frame(data):
        pairs = {ALL: read_frame(data, options)}
    elif _is_pair(data):
        nested = _is_nested(data)
        pairs = {"train": data[0], "test": data[1]} if nested else {ALL: (data[0], data[1])}
    elif is_item_dataset(data):
        images, labels, names = read_items(data, options)
        pairs = {ALL: (images, labels)}
    else:
        raise UsageError(
            f"data of type {type(data).__name__}: should be a path, a Dataset, (images, labels), a "
            "data frame, or a torch.utils.data.Dataset with items (image, label)"
        )
    if ALL in pairs:
        pairs = {"test" if options.for_evaluation else "train": pairs[ALL]}
    return _assemble(pairs, names, "arrays", IN_MEMORY, options)


def given_labels(data: Any) -> Any | None:
    """Return labels of what `read_objects` accepts, at least one, as they are given.

    None if they are positions in class names that the data has.
    """
    if _is_frame(data):
        return label_column(data)
    if _is_pair(data):
        return data[0][1] if _is_nested(data) else data[1]
    label = first_label(data)
    return None if label is None else [label]


def _is_frame(data: Any) -> bool:
    return hasattr(data, "columns") and hasattr(data, "to_numpy")


def _is_pair(data: Any) -> bool:
    """Return whether this is (images, labels), or two of them."""
    return isinstance(data, tuple | list) and len(data) == 2 and all(map(_has_length, data))


def _is_nested(data: Any) -> bool:
    """Return whether a pair is one of training and one of test images, as of Keras."""
    nested = all(isinstance(one, tuple | list) and len(one) == 2 for one in data)
    return nested and all(hasattr(one[0], "shape") for one in data)


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
    splits = {
        role: _split(*pair, names, f"{source}: {role}", options) for role, pair in pairs.items()
    }
    train, test = splits.get("train"), splits.get("test")
    if whole and train is not None:
        train, test = hold_out_test(train, options.hold_out_min * len(names))
    return Dataset(
        name,
        names,
        train or empty_split(splits[first]),
        test,
        "plain",
        source,
        splits.get("validation"),
    )


def _split(
    images: Any, labels: Any, names: tuple[str, ...], subject: str, options: LoadOptions
) -> Split:
    pixels = to_images(images, options.image_size, f"{subject} images", options.channels)
    encoded = encode_labels(labels, names, f"{subject} labels")
    if len(pixels) != len(encoded):
        raise DataError(f"{subject}: {len(pixels):,} images but {len(encoded):,} labels")
    return Split(pixels, encoded)
