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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from fashioncnn.data.containers import plain_images
from fashioncnn.data.labels import as_labels, is_missing
from fashioncnn.data.options import LoadOptions, Notify
from fashioncnn.errors import DataError
from fashioncnn.images.contents import Content
from fashioncnn.reading import is_url, open_regular, reason

LABEL_COLUMNS = ("label", "labels", "class", "target", "y", "category")
PATH_COLUMNS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"),
    *("image_file", "image_name", "img", "img_path"),
)
MISSING = frozenset({"nan", "na", "n/a", "<na>", "null", "none"})
"""Labels, in lower case, by which programs mark missing numbers."""
DELIMITERS = ",;\t"
MAX_CSV_BYTES = 4 * 2**30
MAX_SHOWN = 40
"""Characters of the name of a column in a message."""
MAX_LINE = 1 << 24
"""Characters of a line; an image of 1024×1024 pixels has at most 4 million."""
_A_URL = "a URL, which is not read; download the images, and give their paths"
_PIXEL = re.compile(r"(pixel|px|p|col|x|attr)?_?\d+(x\d+)?", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)


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
        one = ", and separate columns by commas, semicolons or tabs"
        separated = one if len(names) == 1 else ""
        raise DataError(
            f"{subject}: no column named {', '.join(LABEL_COLUMNS[:4])} or the like (columns: "
            f"{', '.join(map(_short, lower[:3]))} …); name the column of labels 'label' in the "
            f"first line{separated}"
        )
    path = _only([n if i != label else "" for i, n in enumerate(lower)], PATH_COLUMNS, subject)
    if path is not None:
        _report_unused([n for i, n in enumerate(lower) if i not in (label, path)], subject, notify)
        return Columns(label, path, ())
    pixels = tuple(i for i, name in enumerate(lower) if i != label)
    other = [i for i in pixels if not _PIXEL.fullmatch(lower[i])]
    if other:
        raise DataError(f"{subject}: {_why_no_pixel(names[other[0]], other[0])}")
    if not pixels or math.isqrt(len(pixels)) ** 2 != len(pixels):
        raise DataError(
            f"{subject}: {len(pixels):,} columns of pixels, which is no square image; expected "
            "such as 784 beside the label, or a column 'path'"
        )
    _require_order([lower[i] for i in pixels], subject)
    return Columns(label, None, pixels)


def _why_no_pixel(name: Any, position: int) -> str:
    if not str(name).strip() or str(name).startswith("Unnamed: "):
        return (
            f"column {position + 1} has no name, as the index of a data frame; remove it, or write "
            "the table with index=False"
        )
    return (
        f"column '{_short(name)}' is neither a label, a path nor a pixel; remove it, or "
        "call it 'path' if it has paths of image files"
    )


def _short(name: Any) -> str:
    """Return the beginning of a name, which has all columns of a table with other separators."""
    text = str(name)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _require_order(names: Sequence[str], subject: str) -> None:
    """Raise `DataError` unless the numbers in the names of pixels increase, row by row.

    Columns in another order, such as that of the alphabet, would be images of noise.
    """
    numbers = [tuple(map(int, re.findall(r"\d+", name))) for name in names]
    for i in range(1, len(names)):
        if numbers[i] <= numbers[i - 1]:
            raise DataError(
                f"{subject}: column '{names[i]}' follows '{names[i - 1]}'; put the columns of "
                "pixels into the order of their numbers, row by row"
            )


def read_csv(path: Path, options: LoadOptions) -> tuple[Any, NDArray[Any]]:
    """Return the images and labels of a CSV file with a header.

    Args:
        path: of the file.
        options: `notify` applies.

    Returns:
        (n, size · size) levels, or n paths of image files, which are relative to the folder of the
        table; and (n,) labels, integers or names.

    Raises:
        DataError: the columns are not those of images, or a value cannot be read.
    """
    table: tuple[Any, list[str]]
    try:
        with open_regular(path) as file, TextIOWrapper(file, "utf-8-sig", newline="") as text:
            if os.fstat(file.fileno()).st_size > MAX_CSV_BYTES:
                raise DataError(f"{path}: over the limit of 4 GiB; make a .npz file of it")
            header = text.readline(MAX_LINE)
            delimiter = max(DELIMITERS, key=header.count)
            names = next(csv.reader([header], delimiter=delimiter), [])
            columns = find_columns(names, str(path), options.notify)
            if columns.path is not None:
                table = _labeled_paths(text, delimiter, columns, len(names), path)
            else:
                table = _read_pixels(text, delimiter, columns, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a CSV file in UTF-8 ({error})") from None
    images, labels = table
    return images, _parse_labels(labels, str(path))


def read_frame(frame: Any, options: LoadOptions) -> tuple[Any, NDArray[Any]]:
    """Return the images and labels of a data frame of pandas or polars; see `read_csv`.

    Paths are relative to the working folder. In the place of paths there may be PIL images, arrays,
    or contents of image files, also as Hugging Face stores them, ``{"bytes": …, "path": …}``.
    Labels are of the type that they have in the frame.
    """
    subject = type(frame).__name__
    columns = find_columns(list(frame.columns), subject, options.notify)
    names = list(frame.columns)
    labels = frame[names[columns.label]].to_numpy()
    as_labels(labels, f"{subject}: labels")  # raises
    if columns.path is not None:
        values = list(frame[names[columns.path]].to_numpy())
        return [_require_image(one, row, subject) for row, one in enumerate(values)], labels
    return plain_images(frame[[names[i] for i in columns.pixels]]), labels


def _require_image(value: Any, row: int, subject: str) -> Any:
    """Return what a cell has of an image: its path, the content of its file, or itself."""
    if isinstance(value, Mapping):
        content = value.get("bytes")
        value = value.get("path") if content is None else content
    is_image = isinstance(value, Content | Image) or hasattr(value, "shape")
    if is_image and not isinstance(value, np.generic):  # numbers of NumPy have a shape
        return value
    if isinstance(value, str | Path) and str(value).strip():
        if is_url(value):
            raise DataError(f"{subject}: row {row} has {_A_URL}")
        return Path(value)
    found = "" if is_missing(value) else f" but {type(value).__name__}"
    raise DataError(f"{subject}: row {row} has no path{found}; leave it out")


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
    text: TextIOWrapper, delimiter: str, columns: Columns, width: int, path: Path
) -> tuple[list[Path], list[str]]:
    """Return the paths and labels in the rows of a table with `width` columns."""
    assert columns.path is not None  # noqa: S101 - for the type checker
    paths, labels = [], []
    reader = csv.reader(_lines(text), delimiter=delimiter)
    for row in reader:
        number = reader.line_num + 1  # of the header is 1
        if not row:
            continue
        if len(row) != width:
            raise DataError(
                f"{path}: line {number} has {_columns(len(row))}, expected {width}; names that "
                f"contain '{delimiter}' need quotes"
            )
        name = row[columns.path].strip()
        if not name:
            raise DataError(f"{path}: line {number} has no path; leave it out")
        if is_url(name):
            raise DataError(f"{path}: line {number} has {_A_URL}")
        paths.append(_local_path(path.parent, name))
        labels.append(row[columns.label].strip())
    if not paths:
        raise DataError(f"{path}: no rows below the first line")
    return paths, labels


def _local_path(folder: Path, name: str) -> Path:
    """Return the path of a file; of a table that was written on Windows, with slashes."""
    path = folder / name
    if os.sep == "/" and "\\" in name and not path.exists():
        return folder / PureWindowsPath(name).as_posix()
    return path


def _columns(number: int) -> str:
    return "1 column" if number == 1 else f"{number:,} columns"


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
        for number, line in enumerate(_lines(text), start=2):
            if not line.strip():
                continue
            label, pixels = _take_label(line.rstrip("\r\n"), delimiter, columns)
            count = pixels.count(delimiter) + 1
            if count != len(columns.pixels):
                raise DataError(
                    f"{path}: line {number} has {count + 1} columns, expected "
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
    if '"' in line:
        cells = next(csv.reader([line], delimiter=delimiter))
        label = cells.pop(columns.label) if columns.label < len(cells) else ""
        return label, delimiter.join(cells)
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
    """Return labels as integers if all are, also as in ``3.0``, else as names.

    Raises:
        DataError: a label is missing, or all are numbers and some of them fractions.
    """
    if "" in labels:
        raise DataError(f"{subject}: line {labels.index('') + 2} has no label")
    for pattern, number in ((_INTEGER, int), (_NUMBER, float)):
        if all(map(pattern.fullmatch, labels)):
            return as_labels([number(label) for label in labels], f"{subject}: labels")
    missing = next((i for i, label in enumerate(labels) if label.lower() in MISSING), None)
    others = (label for label in labels if label.lower() not in MISSING)
    if missing is not None and all(map(_NUMBER.fullmatch, others)):  # else it may be a class
        raise DataError(
            f"{subject}: line {missing + 2} has the label {labels[missing]} beside numbers; leave "
            "out images without a label"
        )
    return as_labels(labels, f"{subject}: labels")
