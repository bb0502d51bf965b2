"""Datasets of image files in one subfolder per class, optionally within folders of the splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fashioncnn.data.dataset import Dataset, Split, custom_dataset_name, empty_split
from fashioncnn.data.image_files import read_images, split_of_views
from fashioncnn.data.labels import MAX_CLASSES, MIN_CLASSES
from fashioncnn.data.options import LoadOptions
from fashioncnn.data.split_folders import ROLES, find_split_folders, loose_files, subfolders
from fashioncnn.data.splits import hold_out_test
from fashioncnn.errors import DataError
from fashioncnn.images.files import SHOWN_NAMES, SkippedFiles, walk_images


@dataclass(frozen=True)
class LabeledFiles:
    """The image files of one split, with the label of each."""

    folder: Path
    paths: list[Path]
    labels: list[int]


def read_class_folders(folder: Path, options: LoadOptions) -> Dataset:
    """Return the dataset of ``folder/<class>/*`` or ``folder/<split>/<class>/*``.

    The classes are the folders of the training split, in natural order. Names of splits are those
    of `fashioncnn.data.split_folders`. Without them, one sixth of the images is held out as the
    test split, stratified and deterministic, unless all are to be evaluated.

    Args:
        folder: of the dataset.
        options: all apply.

    Raises:
        DataError: fewer than 2 or more than 256 classes, a class without images, a class that is
            not in the training split, or image files that cannot be read; all are listed.
    """
    folders = find_split_folders(folder, options.notify)
    _report_loose_files([folder, *folders.values()], options)
    if not folders:
        folders = {"test" if options.for_evaluation else "train": folder}
    first = next(role for role in ROLES if role in folders)
    class_names = _class_names(folders[first], options, MIN_CLASSES if first == "train" else 1)
    options.check_classes(class_names, str(folder))
    skipped = SkippedFiles()
    files = {role: _find_files(path, class_names, first, skipped) for role, path in folders.items()}
    if message := skipped.describe():
        options.notify(message)
    splits = _read_splits(files, class_names, options)
    train, test = splits.get("train"), splits.get("test")
    if train is not None and folders["train"] == folder:
        train, test = hold_out_test(train, options.hold_out_min * len(class_names))
    return Dataset(
        custom_dataset_name(folder),
        class_names,
        train or empty_split(splits[first]),
        test,
        options.views,
        str(folder),
        splits.get("validation"),
    )


def _class_names(folder: Path, options: LoadOptions, minimum: int) -> tuple[str, ...]:
    names = tuple(path.name for path in _class_folders(folder))
    if not names:
        raise DataError(f"{folder}: {_why_no_classes(folder)}")
    if not minimum <= len(names) <= MAX_CLASSES:
        inner = subfolders(folder / names[0])
        hint = f"; did you mean {folder / names[0]}?" if len(names) == 1 and inner else ""
        raise DataError(
            f"{folder}: {len(names)} class folders, expected {MIN_CLASSES} to {MAX_CLASSES}{hint}"
        )
    return options.class_names if set(names) == set(options.class_names) else names


def _why_no_classes(folder: Path) -> str:
    images = [path for path in walk_images(folder) if path != folder]
    if images:
        return (
            f"{len(images):,} images, but no subfolder of images per class; move the images of "
            "each class into a folder with its name"
        )
    return (
        "contains neither IDX files (train-images-idx3-ubyte …) nor a subfolder of images per "
        "class; add them, or give another folder"
    )


def _class_folders(folder: Path) -> list[Path]:
    folders = subfolders(folder)
    for path in folders:
        if not path.name.isprintable():
            raise DataError(
                f"{str(path)!r}: class name with unprintable characters; rename the folder"
            )
    return folders


def _find_files(
    folder: Path, class_names: tuple[str, ...], first: str, skipped: SkippedFiles
) -> LabeledFiles:
    """Return the images of a split, by class; `first` is the split that defines the classes."""
    unknown = [path for path in _class_folders(folder) if path.name not in class_names]
    if unknown:
        split = "training" if first == "train" else first
        raise DataError(
            f"{unknown[0]}: class is not in the {split} split; add {split} images of it, or remove "
            "the folder"
        )
    files = LabeledFiles(folder, [], [])
    for label, name in enumerate(class_names):
        class_folder = folder / name
        if not class_folder.is_dir():
            continue
        images = list(walk_images(class_folder, skipped))
        if not images:
            raise DataError(f"{class_folder}: no images; add some, or remove the folder")
        files.paths.extend(images)
        files.labels.extend([label] * len(images))
    return files


def _read_splits(
    files: dict[str, LabeledFiles], class_names: tuple[str, ...], options: LoadOptions
) -> dict[str, Split]:
    """Read the files of all splits together, so that all unreadable ones are reported at once."""
    views, kept = read_images([p for of_split in files.values() for p in of_split.paths], options)
    splits: dict[str, Split] = {}
    start = 0
    for role, of_split in files.items():
        stop = start + len(of_split.paths)
        first, last = np.searchsorted(kept, [start, stop])
        positions = kept[first:last] - start
        labels = np.array(of_split.labels, np.uint8)[positions]
        missing = sorted(set(of_split.labels) - set(labels.tolist()))
        if missing:
            empty = of_split.folder / class_names[missing[0]]
            raise DataError(f"{empty}: no readable images; add some, or remove the folder")
        names = [str(of_split.paths[i].relative_to(of_split.folder)) for i in positions]
        splits[role] = split_of_views(views[first:last], labels, names)
        start = stop
    return splits


def _report_loose_files(folders: list[Path], options: LoadOptions) -> None:
    """Report files that are beside the class folders, whatever they are."""
    files = [path for folder in folders for path in loose_files(folder)]
    if files:
        what = "1 file" if len(files) == 1 else f"{len(files):,} files"
        names = ", ".join(map(str, files[:SHOWN_NAMES]))
        more = ", …" if len(files) > SHOWN_NAMES else ""
        options.notify(f"skipped {what} outside the class folders: {names}{more}")
