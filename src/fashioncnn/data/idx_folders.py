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
    validated_split,
)
from fashioncnn.data.download import is_official_file
from fashioncnn.data.idx import read_idx
from fashioncnn.errors import DataError
from fashioncnn.reading import CONFIG_BYTES, read_text, reason

FILE_NAME = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?$")
PREFIXES = "train-", "t10k-", "test-"


def find_idx_files(folder: Path) -> dict[str, Path]:
    """Return the IDX files of a folder by role, such as ``train-images`` or ``t10k-labels``.

    ``test-`` is a synonym of ``t10k-``. If several files have the same role, one whose name starts
    with it takes precedence over one with another prefix, and an uncompressed file over a gzipped
    one. Hidden files are ignored.
    """
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    # Lowest precedence first: later entries overwrite earlier ones.
    paths.sort(key=lambda path: (not path.name.startswith(PREFIXES), path.name), reverse=True)
    files: dict[str, Path] = {}
    for path in paths:
        match = FILE_NAME.search(path.name)
        if match and path.is_file():
            split = "train" if match[1] == "train" else "t10k"
            files[f"{split}-{match[2]}"] = path
    return files


def read_idx_folder(folder: Path, *, must_be_official: bool = False) -> Dataset:
    """Return the dataset of a folder of IDX files.

    If all files are the official ones, the dataset is Fashion-MNIST. If none is, it is a user's
    dataset with the folder's name, and class names from ``classes.txt`` or ``0`` to ``9``. A
    mixture of both is Fashion-MNIST with a damaged file, and is rejected.

    Args:
        folder: of the files.
        must_be_official: reject everything but Fashion-MNIST.

    Raises:
        DataError: a file is missing, damaged, inconsistent or not official.
    """
    files = find_idx_files(folder)
    _require_complete(folder, files)
    unofficial = [role for role, path in files.items() if not is_official_file(role, path)]
    if unofficial and must_be_official:
        raise _not_official(files[unofficial[0]])
    if 0 < len(unofficial) < len(files):
        role = unofficial[0]
        read_idx(files[role], dimensions=3 if "images" in role else 1)  # a more specific error
        raise _not_official(files[role])
    class_names = _class_names(folder) if unofficial else FASHION_MNIST_CLASSES
    train = _read_split(files, "train", len(class_names))
    test = _read_split(files, "t10k", len(class_names)) if "t10k-images" in files else None
    if test is not None and test.images.shape[1:] != train.images.shape[1:]:
        raise DataError(
            f"{folder}: training images are {_size(train)} but test images {_size(test)}; make "
            "them the same size"
        )
    if unofficial:
        name = custom_dataset_name(folder)
        return Dataset(name, class_names, train, test, "plain", str(folder))
    return Dataset(FASHION_MNIST, class_names, train, test, "fashion", str(folder))


def _require_complete(folder: Path, files: dict[str, Path]) -> None:
    roles = ["train-images", "train-labels"]
    if any(role.startswith("t10k") for role in files):
        roles += ["t10k-images", "t10k-labels"]
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
    path = folder / "classes.txt"
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
