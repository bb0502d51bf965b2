"""Load a dataset by name, from files, or from objects in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fashioncnn.data.class_folders import read_class_folders
from fashioncnn.data.dataset import IN_MEMORY, SKETCHES, Dataset
from fashioncnn.data.download import fetch_fashion_mnist
from fashioncnn.data.idx import is_idx
from fashioncnn.data.idx_folders import find_idx_folder, read_idx_folder
from fashioncnn.data.options import LoadOptions, Notify, warn
from fashioncnn.data.pixels import check_image_size
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
        )
    check_image_size(image_size)
    options = LoadOptions(
        image_size, skip_broken=skip_broken, notify=notify, views=views, channels=channels
    )
    return read_objects(source, options)


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

    Raises:
        UsageError: `source` does not exist or is not a dataset, or `image_size` is out of range.
        DataError: the data is damaged or incomplete, or the download failed.
    """
    if source == SKETCHES:
        return draw_sketches()
    if not source:
        return read_idx_folder(fetch_fashion_mnist(offline=offline), must_be_official=True)
    if source == IN_MEMORY:
        raise DataError("the data was given as arrays in Python; name it as a file or folder")
    path = _existing_path(source)
    idx_folder = find_idx_folder(path) if path.is_dir() else None
    if idx_folder is not None:
        return read_idx_folder(idx_folder, notify=notify)
    check_image_size(image_size)
    options = LoadOptions(
        image_size,
        for_evaluation,
        skip_broken,
        class_names,
        notify,
        views,
        channels,
        hold_out_min,
    )
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
    hint = nearest(source, [SKETCHES])
    raise UsageError(
        f"data = {source}: no such file or folder"
        f"{hint or f'; give an existing one, or {SKETCHES!r}'}"
    )
