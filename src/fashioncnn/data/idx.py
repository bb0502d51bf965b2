"""Read the IDX format of the MNIST family, plain or gzipped.

Format: two zero bytes, a type byte (8 = uint8), the number of dimensions, each dimension as a
big-endian uint32, then the values (http://yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fashioncnn.errors import DataError

UINT8 = 8
MAX_BYTES = 4 * 2**30
MAX_IMAGE_SIDE = 16_000_000
"""Pixels of an image, where images are read one by one."""
CHUNK = 1 << 20


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the uint8 array in `path`, of exactly `dimensions` dimensions.

    The header is checked before anything is allocated, and no more is ever held than the file
    really contains, whatever its header claims.

    Raises:
        DataError: the file is missing, damaged, or not what its header claims.
    """
    with _told_of(path), _open(path) as file:
        shape = _read_header(file, path, dimensions)
        size = math.prod(shape)
        values = _read_up_to(file, size)
        if len(values) < size:
            raise DataError(
                f"{path}: cut short, the header promises {size:,} values and "
                f"{len(values):,} are there; get the file again"
            )
        if file.read(1):
            raise DataError(f"{path}: bytes follow after the {size:,} values of the header")
    return np.frombuffer(values, np.uint8).reshape(shape)


def is_idx(path: Path) -> bool:
    """Whether a regular file begins as an IDX file of bytes does, gzipped or not."""
    try:
        if not path.is_file():  # whatever else it is, opening it might wait for ever
            return False
        with _open(path) as file:
            return file.read(3) == bytes((0, 0, UINT8))
    except (OSError, EOFError, zlib.error):
        return False


def count_idx_images(path: Path) -> int:
    """Return how many images the header of an IDX file promises.

    Raises:
        DataError: it is missing or damaged, or holds no images.
    """
    with _told_of(path), _open(path) as file:
        return _read_header(file, path, 3)[0]


def stream_idx_images(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield each image, (height, width) uint8, of an IDX file of any length.

    Raises:
        DataError: the file is missing, or not what its header claims; after its last image where
            that is found out at its end.
    """
    with _told_of(path), _open(path) as file:
        n, *shape = _read_header(file, path, 3)
        size = math.prod(shape)
        if size > MAX_IMAGE_SIDE:
            raise DataError(f"{path}: images of {shape[0]}×{shape[1]} pixels, over 16 megapixels")
        at_once = max(1, CHUNK // size)
        for first in range(0, n, at_once):
            wanted = min(at_once, n - first)
            values = _read_up_to(file, wanted * size)
            whole = len(values) // size
            yield from np.frombuffer(values, np.uint8, whole * size).reshape(whole, *shape)
            if whole < wanted:
                raise DataError(
                    f"{path}: cut short, the header promises {n:,} images and {first + whole:,} "
                    "are there; get the file again"
                )
        if file.read(1):
            raise DataError(f"{path}: bytes follow after the {n:,} images of the header")


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Raise what can go wrong with a file as a `DataError`."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}); get the file again") from None


def _open(path: Path) -> gzip.GzipFile | BinaryIO:
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if is_gzip else path.open("rb")


def _read_header(file: gzip.GzipFile | BinaryIO, path: Path, dimensions: int) -> tuple[int, ...]:
    magic = file.read(4)
    if magic.lstrip()[:1] == b"<":
        raise DataError(f"{path}: a web page (HTML), not an IDX file; get the file again")
    expected = bytes((0, 0, UINT8, dimensions))
    if magic != expected:
        raise DataError(
            f"{path}: not an IDX file of {dimensions}-dimensional uint8 values "
            f"(starts with {magic.hex() or 'nothing'}, expected {expected.hex()})"
        )
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DataError(f"{path}: cut short within its header; get the file again")
    shape: tuple[int, ...] = struct.unpack(f">{dimensions}I", header)
    if 0 in shape:
        raise DataError(f"{path}: empty, its header says {'×'.join(map(str, shape))}")
    if math.prod(shape) > MAX_BYTES:
        raise DataError(
            f"{path}: its header claims {'×'.join(map(str, shape))} values, over the limit of 4 GiB"
        )
    return shape


def _read_up_to(file: gzip.GzipFile | BinaryIO, size: int) -> bytearray:
    values = bytearray()
    while len(values) < size:
        chunk = file.read(min(CHUNK, size - len(values)))
        if not chunk:
            break
        values += chunk
    return values
