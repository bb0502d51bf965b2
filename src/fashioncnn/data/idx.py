"""Read the IDX format of MNIST, plain or gzipped.

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
from fashioncnn.reading import open_regular, reason

UINT8 = 8
MAX_BYTES = 4 * 2**30
"""Limit on the values of a file: 5 million images of 28×28 pixels."""
MAX_IMAGE_PIXELS = 16_000_000
"""Limit per image in `stream_idx_images`."""
CHUNK_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the uint8 array in `path`.

    The header is checked before anything is allocated, and memory grows only with the content of
    the file, whatever the header declares.

    Args:
        path: of the file, gzipped or not.
        dimensions: required number of dimensions.

    Raises:
        DataError: the file is missing, damaged, or its content does not match its header.
    """
    with _data_errors(path), _open(path) as file:
        shape = _read_header(file, path, dimensions)
        size = math.prod(shape)
        values = _read_up_to(file, size)
        if len(values) < size:
            raise _truncated(path, f"{len(values):,} of {size:,} values")
        if file.read(1):
            raise _too_long(path, f"{size:,} values")
    return np.frombuffer(values, np.uint8).reshape(shape)


def is_idx(path: Path) -> bool:
    """Whether `path` is a regular file that starts as an IDX file of uint8, gzipped or not."""
    try:
        with _open(path) as file:
            return file.read(3) == bytes((0, 0, UINT8))
    except (OSError, EOFError, zlib.error):
        return False


def count_idx_images(path: Path) -> int:
    """Return the number of images that the header of an IDX file declares.

    Raises:
        DataError: the file is missing or damaged, or does not contain images.
    """
    with _data_errors(path), _open(path) as file:
        return _read_header(file, path, 3)[0]


def stream_idx_images(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield each image, (height, width) uint8, of an IDX file in constant memory.

    Raises:
        DataError: the file is missing, damaged, or its content does not match its header. Intact
            images before a damaged position are yielded first.
    """
    with _data_errors(path), _open(path) as file:
        n, *shape = _read_header(file, path, 3)
        size = math.prod(shape)
        if size > MAX_IMAGE_PIXELS:
            raise DataError(
                f"{path}: images of {shape[0]}×{shape[1]} pixels, over the limit of "
                f"{MAX_IMAGE_PIXELS / 1e6:g} megapixels; resize them"
            )
        batch = max(1, CHUNK_BYTES // size)
        for start in range(0, n, batch):
            count = min(batch, n - start)
            values = _read_up_to(file, count * size)
            complete = len(values) // size
            yield from np.frombuffer(values, np.uint8, complete * size).reshape(complete, *shape)
            if complete < count:
                raise _truncated(path, f"{start + complete:,} of {n:,} images")
        if file.read(1):
            raise _too_long(path, f"{n:,} images")


@contextmanager
def _data_errors(path: Path) -> Iterator[None]:
    """Convert errors of the file system and of gzip to `DataError`."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except gzip.BadGzipFile as error:
        raise DataError(f"{path}: damaged ({error}); get the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from None
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}); get the file again") from None


def _truncated(path: Path, found: str) -> DataError:
    return DataError(f"{path}: truncated, contains {found}; get the file again")


def _too_long(path: Path, declared: str) -> DataError:
    return DataError(f"{path}: more bytes than the {declared} in its header; get the file again")


@contextmanager
def _open(path: Path) -> Iterator[gzip.GzipFile | BinaryIO]:
    """Open a regular file, decompressed if it is gzipped."""
    with open_regular(path) as file:
        is_gzip = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if is_gzip:
            with gzip.GzipFile(fileobj=file) as content:
                yield content
        else:
            yield file


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
        raise DataError(f"{path}: truncated in its header; get the file again")
    shape: tuple[int, ...] = struct.unpack(f">{dimensions}I", header)
    if 0 in shape:
        raise DataError(f"{path}: empty, {'×'.join(map(str, shape))} values in its header")
    if math.prod(shape) > MAX_BYTES:
        raise DataError(
            f"{path}: {'×'.join(map(str, shape))} values in its header, over the limit of 4 GiB; "
            "get the file again"
        )
    return shape


def _read_up_to(file: gzip.GzipFile | BinaryIO, size: int) -> bytearray:
    """Return the next `size` bytes, or fewer at the end of the file."""
    values = bytearray()
    while len(values) < size:
        chunk = file.read(min(CHUNK_BYTES, size - len(values)))
        if not chunk:
            break
        values += chunk
    return values
