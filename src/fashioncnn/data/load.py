"""Load the dataset that ``--data`` names."""

from __future__ import annotations

from pathlib import Path

from fashioncnn.data.class_folders import read_class_folders
from fashioncnn.data.dataset import SKETCHES, Dataset
from fashioncnn.data.download import fetch_fashion_mnist
from fashioncnn.data.idx_folders import find_idx_files, read_idx_folder
from fashioncnn.data.sketches import draw_sketches
from fashioncnn.errors import UsageError, nearest
from fashioncnn.files import expand_user

DEFAULT_IMAGE_SIZE = 28
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 8, 256


def load_dataset(
    source: str | None, *, image_size: int | None = None, offline: bool = False
) -> Dataset:
    """Return the dataset at `source`.

    Args:
        source: ``sketches``; a folder of IDX files; a folder with a subfolder of images per
            class; or None for Fashion-MNIST from the cache, downloaded if it is not there.
        image_size: side in pixels to which images of class folders are resized, by default 28;
            ignored for other sources.
        offline: never download.

    Raises:
        UsageError: `source` is not a folder, or `image_size` is out of range.
        DataError: the data is damaged or incomplete, or the download failed.
    """
    if source == SKETCHES:
        return draw_sketches()
    if not source:
        return read_idx_folder(fetch_fashion_mnist(offline=offline), must_be_official=True)
    folder = _existing_folder(source)
    if find_idx_files(folder):
        return read_idx_folder(folder)
    if image_size is not None and not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
        raise UsageError(
            f"image_size = {image_size}: must be from {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE} pixels"
        )
    return read_class_folders(folder, image_size or DEFAULT_IMAGE_SIZE)


def _existing_folder(source: str) -> Path:
    folder = expand_user(source, "data")
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UsageError(
            f"data = {source}: a file, not a dataset; supported are a folder of IDX files, a "
            f"folder with a subfolder of images per class, and '{SKETCHES}'"
        )
    hint = nearest(source, [SKETCHES])
    raise UsageError(
        f"data = {source}: no such folder{hint or f'; give an existing one, or {SKETCHES!r}'}"
    )
