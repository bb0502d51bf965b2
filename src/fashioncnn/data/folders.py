"""A person's own images: a folder for each class, or ``train`` and ``test`` with such folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.dataset import Dataset, Split, custom_dataset_name, stratified_split_indices
from fashioncnn.errors import DataError
from fashioncnn.images.decoding import SUFFIXES, plain_view, read_image

MAX_PIXELS = 64_000_000
"""Of one image: what telephones take, where nobody is served whom a small file could stop."""

MAX_CLASSES = 256


def read_class_folders(folder: Path, image_size: int) -> Dataset:
    """Return the data set of ``folder/<class>/*`` or ``folder/{train,test}/<class>/*``.

    The classes are the folders of the training part, in alphabetical order. Without a ``test``
    folder, one sixth is held out as the test part, stratified, always the same images.

    Raises:
        DataError: no or too many classes, a class without images, a class that only the test
            part has, or an image that cannot be read.
    """
    has_parts = (folder / "train").is_dir()
    train_folder = folder / "train" if has_parts else folder
    names = tuple(path.name for path in _class_folders(train_folder))
    if not names:
        raise DataError(
            f"{folder}: holds neither IDX files (train-images-idx3-ubyte …) nor a folder of "
            "images for each class"
        )
    if not 2 <= len(names) <= MAX_CLASSES:
        raise DataError(f"{train_folder}: {len(names)} class folders; from 2 to 256 can be learnt")
    train = _read_part(train_folder, names, image_size)
    test = None
    if (folder / "test").is_dir() and has_parts:
        unknown = [p.name for p in _class_folders(folder / "test") if p.name not in names]
        if unknown:
            raise DataError(f"{folder / 'test' / unknown[0]}: a class that the training part lacks")
        test = _read_part(folder / "test", names, image_size)
    elif not has_parts:
        kept, held = stratified_split_indices(train.labels, len(train) // 6)
        train, test = train.take(kept), train.take(held) if len(held) else None
    return Dataset(custom_dataset_name(folder), names, train, test, "plain", str(folder))


def _class_folders(folder: Path) -> list[Path]:
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    for path in folders:
        if not path.name.isprintable():
            raise DataError(
                f"{str(path)!r}: a class name that cannot be printed; rename the folder"
            )
    return folders


def _read_part(folder: Path, names: tuple[str, ...], image_size: int) -> Split:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = find_images(folder / name) if (folder / name).is_dir() else []
        if not found and (folder / name).is_dir():
            raise DataError(f"{folder / name}: a class folder without an image")
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise DataError(f"{folder}: holds no class folder, such as {names[0]}, with an image")
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda path: _plain(path, image_size), paths))
    return Split(np.stack(images), np.array(labels, np.uint8))


def _plain(path: Path, image_size: int) -> NDArray[np.uint8]:
    return plain_view(read_image(path, max_pixels=MAX_PIXELS), image_size)


def find_images(folder: Path) -> list[Path]:
    """Return what `walk_images` finds."""
    return list(walk_images(folder))


def walk_images(folder: Path) -> Iterator[Path]:
    """Yield the image files under `folder`, sorted, known by their suffixes.

    Hidden files and folders are left out, and no link to a folder is followed, so that none can
    lead round in a circle. What has an image's suffix and cannot be read, or a folder that cannot
    be listed, is yielded too: whoever reads it is told.
    """
    waiting = [_listed(folder)]  # not recursive: folders can lie in each other by the thousand
    while waiting:
        here, names, folders = waiting[-1]
        if not names:
            waiting.pop()
            continue
        name = names.pop()
        if name in folders:
            waiting.append(_listed(here / name))
        else:
            yield here / name


def _listed(folder: Path) -> tuple[Path, list[str], set[str]]:
    """Return a folder, the names wanted of it, last first, and which of them are folders."""
    names, folders = [], set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:  # of which nothing but its name is held
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.add(entry.name)
                elif not _is_image(entry):
                    continue
                names.append(entry.name)
    except OSError:
        return folder, [""], set()  # itself
    names.sort(reverse=True)
    return folder, names, folders


def _is_image(entry: os.DirEntry[str]) -> bool:
    if os.path.splitext(entry.name)[1].lower() not in SUFFIXES:  # noqa: PTH122, a Path takes longer
        return False
    return not (entry.is_symlink() and Path(entry).is_dir())
