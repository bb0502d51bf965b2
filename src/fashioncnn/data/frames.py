"""Tables with an image per row: CSV files and data frames.

Either all columns but one are the pixels of a square image, as in Kaggle's Fashion-MNIST (label
first) and OpenML's (class last), or a column has the path of an image file.
"""

from __future__ import annotations

import csv
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.image_files import read_images
from fashioncnn.data.labels import as_labels
from fashioncnn.data.options import LoadOptions, Notify, ignore
from fashioncnn.data.pixels import DEFAULT_IMAGE_SIZE, to_images
from fashioncnn.errors import DataError
from fashioncnn.reading import open_regular, reason

LABEL_COLUMNS = ("label", "labels", "class", "target", "y", "category")
PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path")
DELIMITERS = ",;\t"
MAX_CSV_BYTES = 4 * 2**30
MAX_LINE = 1 << 24
"""Characters of a line; an image of 1024×1024 pixels has at most 4 million."""
_PIXEL = re.compile(r"(pixel|px|p|col|x|attr)?_?\d+(x\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what.

    Attributes:
        label: position of the label.
        path: position of the path of an image file; None if there are pixels.
        pixels: positions of the pixels, row by row.
    """

    label: int
    path: int | None
    pixels: tuple[int, ...]


def find_columns(names: Sequence[Any], subject: str, notify: Notify) -> Columns:
    """Return the columns of a table by their names.

    Args:
        names: of all columns.
        subject: what messages call the table.
        notify: called if columns beside labels and paths are not used.

    Raises:
        DataError: there is not exactly one column of labels, or neither a column of paths nor the
            columns of a square image.
    """
    lower = [str(name).strip().strip("'\"").lower() for name in names]
    label = _only(lower, LABEL_COLUMNS, subject)
    if label is None:
        raise DataError(
            f"{subject}: no column named {', '.join(LABEL_COLUMNS[:4])} or the like (columns: "
            f"{', '.join(lower[:3])} …); name the column of labels 'label' in the first line"
        )
    path = _only([n if i != label else "" for i, n in enumerate(lower)], PATH_COLUMNS, subject)
    if path is not None:
        _report_unused([n for i, n in enumerate(lower) if i not in (label, path)], subject, notify)
        return Columns(label, path, ())
    pixels = tuple(i for i, name in enumerate(lower) if i != label)
    other = [names[i] for i in pixels if not _PIXEL.fullmatch(lower[i])]
    if other:
        raise DataError(
            f"{subject}: column '{other[0]}' is neither a label, a path nor a pixel; remove it"
        )
    if not pixels or math.isqrt(len(pixels)) ** 2 != len(pixels):
        raise DataError(
            f"{subject}: {len(pixels):,} columns of pixels, which is no square image; expected "
            "such as 784 beside the label, or a column 'path'"
        )
    return Columns(label, None, pixels)


def read_csv(path: Path, options: LoadOptions) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return the images and labels of a CSV file with a header.

    Paths are relative to the folder of the file.

    Args:
        path: of the file.
        options: `image_size`, `skip_broken` and `notify` apply.

    Returns:
        (n, size, size) uint8 and (n,) labels, integers or names.

    Raises:
        DataError: the columns are not those of images, or a value or image cannot be read.
    """
    try:
        with open_regular(path) as file, TextIOWrapper(file, "utf-8-sig", newline="") as text:
            if os.fstat(file.fileno()).st_size > MAX_CSV_BYTES:
                raise DataError(f"{path}: over the limit of 4 GiB; make a .npz file of it")
            header = text.readline(MAX_LINE)
            delimiter = max(DELIMITERS, key=header.count)
            columns = find_columns(
                next(csv.reader([header], delimiter=delimiter), []), str(path), options.notify
            )
            if columns.path is not None:
                rows = list(_labeled_paths(text, delimiter, columns, path))
            else:
                pixels, labels = _read_pixels(text, delimiter, columns, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a CSV file in UTF-8 ({error})") from None
    if columns.path is None:
        return to_images(pixels, options.image_size, str(path)), _parse_labels(labels, str(path))
    return _read_paths([path.parent / p for p, _ in rows], [y for _, y in rows], path, options)


def read_frame(frame: Any, options: LoadOptions) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return the images and labels of a data frame of pandas or polars; see `read_csv`.

    Paths are relative to the working folder.
    """
    subject = type(frame).__name__
    columns = find_columns(list(frame.columns), subject, options.notify)
    names = list(frame.columns)
    labels = as_labels(frame[names[columns.label]].to_numpy(), f"{subject}: labels")
    if columns.path is not None:
        paths = [Path(str(p)) for p in frame[names[columns.path]].to_numpy()]
        return _read_paths(paths, labels, Path(), options)
    pixels = frame[[names[i] for i in columns.pixels]].to_numpy()
    return to_images(pixels, options.image_size, subject, options.channels), labels


def label_column(frame: Any) -> NDArray[Any]:
    """Return the labels of a data frame that `read_frame` reads."""
    names = list(frame.columns)
    column: NDArray[Any] = frame[
        names[find_columns(names, type(frame).__name__, ignore).label]
    ].to_numpy()
    return column


def _only(names: Sequence[str], known: Sequence[str], subject: str) -> int | None:
    """Return the position of the only name that is known, or None."""
    found = [i for i, name in enumerate(names) if name in known]
    if len(found) > 1:
        raise DataError(
            f"{subject}: columns {' and '.join(names[i] for i in found)} mean the same; keep one"
        )
    return found[0] if found else None


def _lines(text: TextIOWrapper) -> Iterator[str]:
    """Yield lines; of one that is too long to be valid, pieces, which have too few columns."""
    return iter(lambda: text.readline(MAX_LINE), "")


def _report_unused(names: Sequence[str], subject: str, notify: Notify) -> None:
    if "split" in names:
        raise DataError(
            f"{subject}: column 'split' is not supported; make a table for each split, such as "
            "train.csv and test.csv in one folder"
        )
    if names:
        notify(f"{subject}: columns without effect: {', '.join(names[:5])}")


def _labeled_paths(
    text: TextIOWrapper, delimiter: str, columns: Columns, path: Path
) -> Iterable[tuple[str, str]]:
    assert columns.path is not None  # noqa: S101 - for the type checker
    for number, row in enumerate(csv.reader(_lines(text), delimiter=delimiter), start=2):
        if not row:
            continue
        if len(row) <= max(columns.path, columns.label):
            raise DataError(f"{path}: line {number} has only {len(row)} columns")
        yield row[columns.path].strip(), row[columns.label].strip()


def _read_pixels(
    text: TextIOWrapper, delimiter: str, columns: Columns, path: Path
) -> tuple[NDArray[Any], list[str]]:
    """Return (n, pixels) int16, or float32 if some are not integers, and the labels as text."""
    start = text.tell()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # NumPy would truncate a fraction
            return _parse_rows(text, delimiter, columns, path, np.int16)
    except (ValueError, DeprecationWarning):  # reading them as floats takes ten times as long
        text.seek(start)
    try:
        return _parse_rows(text, delimiter, columns, path, np.float32)
    except ValueError as error:
        raise DataError(f"{path}: a pixel is not a number ({error})") from None


def _parse_rows(
    text: TextIOWrapper,
    delimiter: str,
    columns: Columns,
    path: Path,
    dtype: type[np.int16] | type[np.float32],
) -> tuple[NDArray[Any], list[str]]:
    labels: list[str] = []

    def without_label() -> Iterable[str]:
        for line in _lines(text):
            if not line.strip():
                continue
            label, pixels = _take_label(line.rstrip("\r\n"), delimiter, columns)
            count = pixels.count(delimiter) + 1
            if count != len(columns.pixels):
                raise DataError(
                    f"{path}: line {len(labels) + 2} has {count + 1} columns, expected "
                    f"{len(columns.pixels) + 1}"
                )
            labels.append(label.strip().strip("'\""))
            yield pixels

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")
        pixels = np.loadtxt(without_label(), dtype, delimiter=delimiter, ndmin=2)
    if not labels:
        raise DataError(f"{path}: no rows below the first line")
    return pixels, labels


def _take_label(line: str, delimiter: str, columns: Columns) -> tuple[str, str]:
    """Return the label of a row and the rest of the row."""
    if columns.label == 0:
        label, _, pixels = line.partition(delimiter)
    elif columns.label == len(columns.pixels):
        pixels, _, label = line.rpartition(delimiter)
    else:
        cells = line.split(delimiter)
        label = cells.pop(columns.label) if columns.label < len(cells) else ""
        pixels = delimiter.join(cells)
    return label, pixels


def _parse_labels(labels: list[str], subject: str) -> NDArray[Any]:
    """Return labels as integers if all are, else as names."""
    if "" in labels:
        raise DataError(f"{subject}: line {labels.index('') + 2} has no label")
    try:
        return as_labels([int(label) for label in labels])
    except ValueError:
        return as_labels(labels)


def _read_paths(
    paths: list[Path], labels: Sequence[str] | NDArray[Any], table: Path, options: LoadOptions
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    if not paths:
        raise DataError(f"{table}: no rows below the first line")
    if options.views != "plain":
        raise DataError(
            f"{table}: files of a table are read as 'plain' images, but data.views = "
            f"'{options.views}'; use a folder per class"
        )
    views, kept = read_images(paths, options)
    parsed = _parse_labels(list(labels), str(table)) if isinstance(labels, list) else labels
    images = [of_image[0] for of_image in views]
    size = options.image_size or DEFAULT_IMAGE_SIZE
    stacked = np.stack(images) if images else np.empty((0, size, size), np.uint8)
    return stacked, np.asarray(parsed)[kept]
