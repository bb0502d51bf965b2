"""Arrays of images and labels in a NumPy archive, ``.npz``."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fashioncnn.data.npy import parse_npy
from fashioncnn.errors import DataError
from fashioncnn.reading import open_regular, reason

MAX_BYTES = 4 * 2**30
"""Limit on the arrays of a file, uncompressed."""
PAIRS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("X_train", "y_train")),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels"), ("X_val", "y_val")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels"), ("X_test", "y_test")),
}
"""Names of images and labels, as Keras, MedMNIST and scikit-learn's documentation call them."""
WHOLE = (("images", "labels"), ("x", "y"), ("X", "y"), ("data", "target"), ("arr_0", "arr_1"))
"""Names where there is one split; NumPy calls arrays without a name ``arr_0`` …"""
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    EOFError,
    RuntimeError,
    struct.error,
)
"""Exceptions of `zipfile` and NumPy for malformed files; encrypted ones raise RuntimeError."""
CLASS_NAMES = "class_names"
ALL = "all"
"""Key of images and labels that are not split."""

Pair = tuple[NDArray[Any], NDArray[Any]]


def read_npz(path: Path) -> tuple[dict[str, Pair], tuple[str, ...] | None]:
    """Return images and labels by split, `ALL` for data without splits, and any class names.

    Raises:
        DataError: the file is damaged or too large, or has no such arrays.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            size = sum(info.file_size for info in archive.infolist())
            if size > MAX_BYTES:
                raise DataError(f"{path}: {size:,} bytes of arrays, over the limit of 4 GiB")
            return _find_pairs(archive, path), _class_names(archive)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from None
    except DAMAGED as error:
        first_line = (str(error).splitlines() or ["damaged"])[0]
        raise DataError(f"{path}: not a readable .npz file ({first_line})") from None


def _find_pairs(archive: zipfile.ZipFile, path: Path) -> dict[str, Pair]:
    names = {name.removesuffix(".npy") for name in archive.namelist()}
    found = {
        split: pair for split, pairs in PAIRS.items() for pair in pairs if names.issuperset(pair)
    }
    whole = next((pair for pair in WHOLE if names.issuperset(pair)), None)
    if not found and whole is not None:
        found = {ALL: whole}
    if not found:
        shown = ", ".join(sorted(names)[:4]).encode("unicode_escape").decode()
        raise DataError(
            f"{path}: no images and labels among its arrays ({shown}); "
            "expected images and labels, or x_train, y_train, x_test and y_test"
        )
    return {
        split: (_read_array(archive, images), _read_array(archive, labels))
        for split, (images, labels) in found.items()
    }


def _class_names(archive: zipfile.ZipFile) -> tuple[str, ...] | None:
    if f"{CLASS_NAMES}.npy" not in archive.namelist():
        return None
    return tuple(map(str, _read_array(archive, CLASS_NAMES)))


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    return parse_npy(archive.read(f"{name}.npy"))
