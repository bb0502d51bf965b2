"""Datasets of IDX files in a folder, named as those of MNIST and Fashion-MNIST."""

from __future__ import annotations

import re
from pathlib import Path

from fashioncnn.data.dataset import (
    FASHION_MNIST,
    FASHION_MNIST_CLASSES,
    Dataset,
    Split,
    custom_dataset_name,
    empty_split,
    validated_split,
)
from fashioncnn.data.download import is_official_file
from fashioncnn.data.idx import read_idx
from fashioncnn.data.options import Notify, ignore
from fashioncnn.errors import DataError
from fashioncnn.images.views import ViewMode
from fashioncnn.reading import CONFIG_BYTES, read_text, reason

SPLITS = {
    "train": "train",
    "t10k": "t10k",
    "test": "t10k",
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
}
"""What the names of files call a split, and its part of a role."""
FILE_NAME = re.compile(rf"({'|'.join(SPLITS)})-(images|labels)[-.]idx[13]-ubyte(\.gz)?$")
CLASSES = "classes.txt"
PREFIXES = tuple(f"{name}-" for name in SPLITS)


def find_idx_files(folder: Path) -> dict[str, Path]:
    """Return the IDX files of a folder by role, such as ``train-images`` or ``t10k-labels``.

    ``test-`` is a synonym of ``t10k-``, and ``val-`` is a validation split. If several files have
    the same role, one whose name starts with it takes precedence over one with another prefix, and
    an uncompressed file over a gzipped one. Hidden files are ignored.
    """
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    # Lowest precedence first: later entries overwrite earlier ones.
    paths.sort(key=lambda path: (not path.name.startswith(PREFIXES), path.name), reverse=True)
    files: dict[str, Path] = {}
    for path in paths:
        match = FILE_NAME.search(path.name)
        if match and path.is_file():
            files[f"{SPLITS[match[1]]}-{match[2]}"] = path
    return files


def _require_one_dataset(folder: Path, files: dict[str, Path]) -> None:
    """Raise `DataError` if a role is that of files with several prefixes, as those of EMNIST."""
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    matches = [match for name in names if (match := FILE_NAME.search(name))]
    for role, path in files.items():
        if path.name.startswith(PREFIXES):
            continue
        found = [m for m in matches if f"{SPLITS[m[1]]}-{m[2]}" == role]
        prefixes = sorted({m.string[: m.start()] for m in found})
        if len(prefixes) > 1:
            raise DataError(
                f"{folder}: several datasets ({', '.join(x.strip('-_. ') for x in prefixes)}); "
                "move the files of one of them into a folder of its own"
            )


def find_idx_folder(folder: Path) -> Path | None:
    """Return the folder of the IDX files: `folder`, or where torchvision puts them below it.

    Raises:
        DataError: there are several such folders below it.
    """
    candidates = [folder, folder / "raw"]
    for candidate in candidates:
        if candidate.is_dir() and find_idx_files(candidate):
            return candidate
    below = sorted(path for path in folder.glob("*/raw") if find_idx_files(path))
    if len(below) > 1:
        raise DataError(
            f"{folder}: several datasets ({', '.join(path.parent.name for path in below)}); name "
            f"one of them, such as {below[0].parent}"
        )
    return below[0] if below else None


def official_folder(path: Path) -> Path | None:
    """Return the folder of Fashion-MNIST's training images at a path, None if there are none.

    As `find_idx_folder`, also below it. The images are recognized by their SHA-256.
    """
    folder = find_idx_folder(path) if path.is_dir() else None
    images = None if folder is None else find_idx_files(folder).get("train-images")
    return folder if images is not None and is_official_file("train-images", images) else None


def read_idx_folder(
    folder: Path, *, must_be_official: bool = False, notify: Notify = ignore
) -> Dataset:
    """Return the dataset of a folder of IDX files.

    If all files are the official ones, the dataset is Fashion-MNIST. If some are, it has the
    classes of Fashion-MNIST and the folder's name, such as other training images beside the
    official test split, or corrupted test images with official labels. If none is, class names come
    from ``classes.txt``, or are ``0`` to ``9``.

    Args:
        folder: of the files: training images and labels, test images and labels, or both.
        must_be_official: reject everything but Fashion-MNIST.
        notify: called with a message if only some of the files are official.

    Raises:
        DataError: a file is missing, damaged, inconsistent or not official.
    """
    files = find_idx_files(folder)
    _require_one_dataset(folder, files)
    _require_complete(folder, files)
    unofficial = [role for role, path in files.items() if not is_official_file(role, path)]
    if unofficial and must_be_official:
        raise _not_official(files[unofficial[0]])
    is_fashion = len(unofficial) < len(files) and not (folder / CLASSES).exists()
    class_names = FASHION_MNIST_CLASSES if is_fashion else _class_names(folder)
    splits = {
        split: _read_split(files, split, len(class_names))
        for split in ("train", "validation", "t10k")
        if f"{split}-images" in files
    }
    train, test = splits.get("train"), splits.get("t10k")
    name = _dataset_name(folder) if unofficial else FASHION_MNIST
    if train is not None and test is not None:
        _check_pair(folder, train, test, is_fashion=is_fashion)
    if 0 < len(unofficial) < len(files):
        notify(_describe_unofficial(folder, files, unofficial, name))
    views: ViewMode = "fashion" if is_fashion else "plain"
    if train is None:
        train = empty_split(next(iter(splits.values())))
    validation = splits.get("validation")
    return Dataset(name, class_names, train, test, views, str(folder), validation)


def _check_pair(folder: Path, train: Split, test: Split, *, is_fashion: bool) -> None:
    if test.images.shape[1:] != train.images.shape[1:]:
        raise DataError(
            f"{folder}: training images are {_size(train)} but test images {_size(test)}; make "
            "them the same size"
        )
    if is_fashion and train.sha256 == test.sha256:
        raise DataError(
            f"{folder}: training and test files have the same content; get the test files again"
        )


def _describe_unofficial(
    folder: Path, files: dict[str, Path], unofficial: list[str], name: str
) -> str:
    changed = ", ".join(files[role].name for role in unofficial)
    message = f"{folder}: not the official Fashion-MNIST files: {changed}; loaded as '{name}'"
    if {"t10k-images", "t10k-labels"} & set(unofficial) or "t10k-images" not in files:
        return message
    return f"{message} with the official test split"


def _dataset_name(folder: Path) -> str:
    return custom_dataset_name(folder.parent if folder.name == "raw" else folder)


def _require_complete(folder: Path, files: dict[str, Path]) -> None:
    splits = ("train", "validation", "t10k")
    prefixes = [split for split in splits if any(role.startswith(split) for role in files)]
    roles = [f"{prefix}-{kind}" for prefix in prefixes for kind in ("images", "labels")]
    missing = [
        f"{role}-idx{3 if 'images' in role else 1}-ubyte" for role in roles if role not in files
    ]
    if missing:
        raise DataError(f"{folder}: missing {' and '.join(missing)}; add the IDX files")


def _not_official(path: Path) -> DataError:
    return DataError(
        f"{path}: not the official file (its SHA-256 differs); download it again with "
        "'fashioncnn data --refresh', or give another folder with --data"
    )


def _class_names(folder: Path) -> tuple[str, ...]:
    """Return the lines of ``classes.txt``, or ``0`` to ``9`` if there is no such file."""
    path = folder / CLASSES
    if not path.exists():
        return tuple(str(label) for label in range(10))
    try:
        lines = read_text(path, CONFIG_BYTES).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({reason(error)})") from None
    names = [line.strip() for line in lines if line.strip()]
    if not 2 <= len(names) <= 256 or len(set(names)) < len(names):
        raise DataError(
            f"{path}: {len(names)} names, {len(set(names))} of them unique; expected 2 to 256 "
            "unique names, one per line"
        )
    return tuple(names)


def _read_split(files: dict[str, Path], split: str, classes: int) -> Split:
    images_path, labels_path = files[f"{split}-images"], files[f"{split}-labels"]
    images = read_idx(images_path, dimensions=3)
    labels = read_idx(labels_path, dimensions=1)
    if images.shape[1] != images.shape[2]:
        raise DataError(
            f"{images_path}: images of {images.shape[1]}×{images.shape[2]} pixels; only square "
            "images are supported"
        )
    return validated_split(images, labels, classes, str(labels_path))


def _size(split: Split) -> str:
    return f"{split.images.shape[1]}×{split.images.shape[2]}"
