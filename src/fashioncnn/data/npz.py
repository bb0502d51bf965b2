"""Arrays of images and labels in a NumPy archive, ``.npz``."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.npy import parse_npy
from fashioncnn.data.options import Notify
from fashioncnn.errors import DataError
from fashioncnn.reading import open_regular, reason

MAX_BYTES = 4 * 2**30
"""Limit on the arrays of a file, uncompressed."""
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
PATTERNS = ("x_{0} y_{0}", "{0}_images {0}_labels", "X_{0} y_{0}", "images_{0} labels_{0}")
"""Names of images and labels of a split, as Keras, MedMNIST and scikit-learn's documentation call
them."""
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


def read_npz(path: Path, notify: Notify) -> tuple[dict[str, Pair], tuple[str, ...] | None]:
    """Return images and labels by split, `ALL` for data without splits, and any class names.

    Images and labels without the name of a split, beside other splits, are those of training.

    Args:
        path: of the file.
        notify: called if it has other arrays.

    Raises:
        DataError: the file is damaged or too large, or has no such arrays.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            size = sum(info.file_size for info in archive.infolist())
            if size > MAX_BYTES:
                raise DataError(f"{path}: {size:,} bytes of arrays, over the limit of 4 GiB")
            return _find_pairs(archive, path, notify), _class_names(archive)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from None
    except DAMAGED as error:
        first_line = (str(error).splitlines() or ["damaged"])[0]
        raise DataError(f"{path}: not a readable .npz file ({first_line})") from None


def _find_pairs(archive: zipfile.ZipFile, path: Path, notify: Notify) -> dict[str, Pair]:
    names = {name.removesuffix(".npy") for name in archive.namelist()}
    found: dict[str, tuple[str, str]] = {}
    for split, pair in _known_pairs():
        if names.issuperset(pair):
            if split in found:
                raise DataError(
                    f"{path}: {found[split][0]} and {pair[0]} are both the {split} split; keep one "
                    "of them"
                )
            found[split] = pair
    whole = next((pair for pair in WHOLE if names.issuperset(pair)), None)
    if whole is not None and "train" not in found:
        found = {"train" if found else ALL: whole, **found}
    if not found:
        shown = _shown(sorted(names)[:4])
        raise DataError(
            f"{path}: no images and labels among its arrays ({shown}); "
            "expected images and labels, or x_train, y_train, x_test and y_test"
        )
    others = sorted(names - {CLASS_NAMES}.union(*found.values()))
    if others:
        notify(f"{path}: arrays without effect: {_shown(others[:5])}")
    return {
        split: (_read_array(archive, images), _read_array(archive, labels))
        for split, (images, labels) in found.items()
    }


def _known_pairs() -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield every split with the names of its images and labels."""
    for split, words in SPLIT_NAMES.items():
        for word in words:
            for pattern in PATTERNS:
                images, labels = pattern.format(word).split()
                yield split, (images, labels)


def _shown(names: list[str]) -> str:
    return ", ".join(names).encode("unicode_escape").decode()


def _class_names(archive: zipfile.ZipFile) -> tuple[str, ...] | None:
    if f"{CLASS_NAMES}.npy" not in archive.namelist():
        return None
    names = np.atleast_1d(_read_array(archive, CLASS_NAMES))
    if names.dtype.kind == "S":
        names = np.char.decode(names, "utf-8")
    return tuple(map(str, names.ravel()))


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    return parse_npy(archive.read(f"{name}.npy"))
