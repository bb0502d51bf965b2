"""Load a dataset by name, from files, or from objects in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fashioncnn.config import source_from_environment
from fashioncnn.data.alignment import (
    align_classes,
    check_names,
    mapped_names,
    without_missing,
)
from fashioncnn.data.class_folders import read_class_folders
from fashioncnn.data.dataset import IN_MEMORY, SKETCHES, Dataset
from fashioncnn.data.download import fetch_fashion_mnist
from fashioncnn.data.idx import is_idx
from fashioncnn.data.idx_folders import find_idx_folder, official_folder, read_idx_folder
from fashioncnn.data.options import (
    CheckClasses,
    ClassMap,
    LoadOptions,
    Notify,
    Track,
    accept_classes,
    warn,
    without_progress,
)
from fashioncnn.data.pixels import check_image_size, to_images
from fashioncnn.data.sketches import draw_sketches
from fashioncnn.data.tables import (
    TABLES,
    find_tables,
    read_objects,
    read_table_file,
    read_tables,
)
from fashioncnn.errors import DataError, UsageError, nearest
from fashioncnn.files import expand_user
from fashioncnn.images.views import ViewMode
from fashioncnn.reading import is_url, missing

SUPPORTED = (
    "a folder of IDX files, a folder with a subfolder of images per class, a .csv or .npz file, "
    f"and '{SKETCHES}'"
)


def load_data(
    source: Any = None,
    *,
    image_size: int | None = None,
    offline: bool = False,
    skip_broken: bool = False,
    notify: Notify = warn,
    views: ViewMode = "plain",
    channels: int = 1,
    hold_out_min: int = 0,
    class_map: ClassMap | None = None,
) -> Dataset:
    """Return the dataset of a source of any supported kind.

    >>> dataset = load_data("closet/")
    >>> dataset = load_data((X, y))
    >>> dataset.class_names, len(dataset.train)

    Args:
        source: a path or name as for `load_dataset`; images and labels, a data frame, or a dataset
            of another library as for `fashioncnn.data.tables.read_objects`; or a `Dataset`, which
            is returned unchanged.
        image_size: side in pixels to which images are resized.
        offline: never download.
        skip_broken: leave out image files that cannot be read, with a warning.
        notify: called with messages about what was skipped; by default Python warnings.
        views: see `LoadOptions`.
        channels: 1 for grayscale, 3 for color.
        hold_out_min: see `LoadOptions`.
        class_map: see `with_class_map`.

    Raises:
        UsageError: the source does not exist or is of another type.
        DataError: the data is damaged or incomplete, or the download failed.
    """
    if isinstance(source, Dataset):
        return source
    if source is None or isinstance(source, str | Path):
        return load_dataset(
            None if source is None else str(source),
            image_size=image_size,
            offline=offline,
            skip_broken=skip_broken,
            notify=notify,
            views=views,
            channels=channels,
            hold_out_min=hold_out_min,
            class_map=class_map,
        )
    check_image_size(image_size)
    options = LoadOptions(
        image_size,
        skip_broken=skip_broken,
        notify=notify,
        views=views,
        channels=channels,
        check_classes=_check_of(class_map),
    )
    dataset = read_objects(source, options)
    return with_class_map(dataset, class_map, offline=offline, notify=notify)


def load_dataset(
    source: str | None,
    *,
    image_size: int | None = None,
    offline: bool = False,
    for_evaluation: bool = False,
    skip_broken: bool = False,
    class_names: tuple[str, ...] = (),
    notify: Notify = warn,
    views: ViewMode = "plain",
    channels: int = 1,
    hold_out_min: int = 0,
    class_map: ClassMap | None = None,
    check_classes: CheckClasses = accept_classes,
    track: Track = without_progress,
) -> Dataset:
    """Return the dataset at `source`.

    Args:
        source: ``sketches``; a folder of IDX files, also as torchvision nests it; a folder with a
            subfolder of images per class, perhaps within folders of splits; a CSV file, or a folder
            of one for each split; a NumPy archive; or None for Fashion-MNIST from the cache,
            downloaded if it is not there.
        image_size: side in pixels to which images are resized: image files to 28 by default; images
            of IDX files are not resized.
        offline: never download.
        for_evaluation: see `LoadOptions`.
        skip_broken: see `LoadOptions`.
        class_names: see `LoadOptions`.
        notify: see `LoadOptions`.
        views: see `LoadOptions`.
        channels: see `LoadOptions`.
        hold_out_min: see `LoadOptions`.
        class_map: see `with_class_map`.
        check_classes: see `LoadOptions`; with a `class_map`, its own check.
        track: see `LoadOptions`.

    Raises:
        UsageError: `source` does not exist or is not a dataset, or `image_size` is out of range.
        DataError: the data is damaged or incomplete, or the download failed.
    """
    options = LoadOptions(
        image_size,
        for_evaluation,
        skip_broken,
        class_names,
        notify,
        views,
        channels,
        hold_out_min,
        check_classes if class_map is None else _check_of(class_map),
        track,
    )
    dataset = load_with(source, options, offline=offline)
    return with_class_map(dataset, class_map, offline=offline, notify=notify)


def with_class_map(
    dataset: Dataset, class_map: ClassMap | None, *, offline: bool = False, notify: Notify = warn
) -> Dataset:
    """Return the dataset with other classes, and with images for rehearsal.

    Args:
        dataset: with its own classes.
        class_map: what to change; None for nothing.
        offline: never download.
        notify: called with messages about classes.

    Raises:
        UsageError: a class that is mapped does not exist, and is required.
        DataError: a class is not one of the model's, or Fashion-MNIST has other classes.
    """
    if class_map is None:
        return dataset
    mapping, missing = without_missing(class_map.mapping, dataset.class_names, class_map.required)
    if missing:
        notify(f"{dataset.source}: has no class {', '.join(missing)}, which data.map names")
    names = class_map.classes or mapped_names(dataset.class_names, mapping)
    dataset = align_classes(dataset, names, mapping, notify)
    if not class_map.rehearsal:
        return dataset
    rehearsal = _load_rehearsal(class_map, offline=offline, notify=notify)
    if rehearsal.class_names != dataset.class_names:
        raise DataError(
            f"data.rehearsal: {rehearsal.name} has the classes "
            f"{', '.join(rehearsal.class_names[:3])} …, but the model "
            f"{', '.join(dataset.class_names[:3])} …; map the classes of the data to those"
        )
    train = rehearsal.require_train()
    images = to_images(train.images, dataset.image_size)
    if dataset.channels != 1:
        images = np.repeat(images[..., None], dataset.channels, axis=-1)
    return replace(dataset, rehearsal=replace(train, images=images))


def fetch_rehearsal(
    class_map: ClassMap | None, *, offline: bool, notify: Notify, progress: bool = False
) -> str | None:
    """Return the folder of the images for rehearsal; download them if they are missing.

    Args:
        class_map: of the data.
        offline: never download.
        notify: called before a download.
        progress: show a progress bar on stderr.

    Returns:
        None for the cache, or without rehearsal.

    Raises:
        DataError: they are not available.
    """
    if class_map is None or not class_map.rehearsal or class_map.rehearsal_source:
        return None if class_map is None else class_map.rehearsal_source
    source = source_from_environment()
    if source is not None and official_folder(expand_user(source, "FASHIONCNN_DATA")):
        return source
    remedy = "set FASHIONCNN_DATA or data.rehearsal_source to its folder"
    fetch_fashion_mnist(offline=offline, notify=notify, progress=progress, remedy=remedy)
    return None


def _load_rehearsal(class_map: ClassMap, *, offline: bool, notify: Notify) -> Dataset:
    source = fetch_rehearsal(class_map, offline=offline, notify=notify)
    return load_dataset(source, offline=True, notify=notify)


def _check_of(class_map: ClassMap | None) -> CheckClasses:
    """Return the check of class names that `with_class_map` will accept."""
    if class_map is None:
        return accept_classes

    def check(names: Sequence[str], source: str) -> None:
        mapping, _ = without_missing(class_map.mapping, names, class_map.required)
        check_names(names, class_map.classes or mapped_names(names, mapping), mapping, source)

    return check


def load_with(source: str | None, options: LoadOptions, *, offline: bool = False) -> Dataset:
    """Return the dataset at `source`; see `load_dataset`."""
    if source == SKETCHES:
        return draw_sketches()
    if not source:
        return read_idx_folder(fetch_fashion_mnist(offline=offline), must_be_official=True)
    if source == IN_MEMORY:
        raise DataError("the data was given as arrays in Python; name it as a file or folder")
    path = _existing_path(source)
    idx_folder = find_idx_folder(path) if path.is_dir() else None
    if idx_folder is not None:
        dataset = read_idx_folder(idx_folder, notify=options.notify)
        # Images are model input already, whatever image files are converted to.
        return replace(dataset, views=options.views) if dataset.views == "plain" else dataset
    check_image_size(options.image_size)
    if path.is_file():
        return read_table_file(path, options)
    if tables := find_tables(path):
        return read_tables(path, tables, options)
    return read_class_folders(path, options)


def _existing_path(source: str) -> Path:
    path = expand_user(source, "data")
    if path.is_dir() or (path.is_file() and path.suffix.lower() in (*TABLES, ".npz")):
        return path
    if path.exists():
        what = "an IDX file; give its folder" if is_idx(path) else f"supported are {SUPPORTED}"
        raise UsageError(f"data = {source}: a file, not a dataset; {what}")
    if is_url(source):
        raise UsageError(f"data = {missing(source)}")
    hint = nearest(source, [SKETCHES])
    raise UsageError(
        f"data = {source}: no such file or folder"
        f"{hint or f'; give an existing one, or {SKETCHES!r}'}"
    )
