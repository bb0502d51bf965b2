"""The sources of `predict`: files, folders, globs, standard input and IDX files.

Sources are streamed: of a folder, only the list of its names is in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.idx import count_idx_images, is_idx, stream_idx_images
from fashioncnn.errors import DataError, FashionCNNError, UsageError
from fashioncnn.images.files import OnSkip, walk_images
from fashioncnn.images.formats import FORMATS, SUFFIXES
from fashioncnn.reading import is_url, why_missing

STDIN = "-"
GLOB_CHARACTERS = frozenset("*?[")
MAX_NAME_LENGTH = 300
"""Characters of a source that does not exist, as shown in messages."""
CHUNK = 1 << 16
MAX_NAME_BYTES = 1 << 15
"""Limit on a name in a list; the longest path is 4,096 bytes on Linux, 32,767 on Windows."""


@dataclass(frozen=True)
class ImageSource:
    """One image that has not been decoded yet.

    Attributes:
        name: shown in predictions and messages.
        content: a file, its content, or a grey image (height, width) uint8; else the error: a
            `UsageError` if the source does not exist, else a `DataError`.
    """

    name: str
    content: Path | bytes | NDArray[np.uint8] | FashionCNNError


def find_sources(
    sources: Iterable[str], stdin: BinaryIO, max_bytes: int, on_skip: OnSkip | None = None
) -> Iterator[ImageSource]:
    """Yield the images of all `sources`, in order.

    A folder yields its images, an IDX file each of its images as ``file[index]``. A name that does
    not exist may be a glob with ``*``, ``?``, ``[…]`` or ``**``.

    Args:
        sources: names; ``-`` is one image on standard input.
        stdin: standard input.
        max_bytes: the most that is read from it.
        on_skip: called with each file in a folder that is not an image.
    """
    for source in sources:
        if source == STDIN:
            yield ImageSource(STDIN, stdin.read(max_bytes + 1))
            continue
        paths = iter(_paths(source, on_skip))
        first = next(paths, None)
        if first is None:
            short = source if len(source) <= MAX_NAME_LENGTH else f"{source[:MAX_NAME_LENGTH]}…"
            yield ImageSource(source, UsageError(f"{short}: {_why_empty(source)}"))
            continue
        yield from _images_in(first)
        for path in paths:
            yield from _images_in(path)


def count_sources(sources: Iterable[str]) -> int:
    """Return how many images `find_sources` yields, without reading them."""
    return sum(max(1, sum(_count(path) for path in _paths(source))) for source in sources)


def only_idx(sources: Iterable[str]) -> bool:
    """Return whether every source is an IDX file."""
    return all(_may_be_idx(Path(source)) and is_idx(Path(source)) for source in sources)


def read_list(file: BinaryIO) -> Iterator[str]:
    """Yield the names in a list: one per line, or NUL-terminated as by ``find -print0``.

    Raises:
        UsageError: a name is longer than `MAX_NAME_BYTES`, so that this is not a list of files.
    """
    number = 0
    rest = file.read(CHUNK)
    separator = b"\0" if b"\0" in rest else b"\n"
    while rest:
        *names, rest = rest.split(separator)
        chunk = file.read(CHUNK)
        if not chunk:
            names, rest = [*names, rest], b""
        rest += chunk
        for name in names:
            number += 1
            _require_short(name, number)
            if stripped := name.rstrip(b"\r") if separator == b"\n" else name:
                yield os.fsdecode(stripped)
        _require_short(rest.partition(separator)[0], number + 1)


def _require_short(name: bytes, number: int) -> None:
    if len(name) > MAX_NAME_BYTES:
        raise UsageError(
            f"entry {number:,} of the list of sources: longer than {MAX_NAME_BYTES:,} bytes; list "
            "one file per line"
        )


def _paths(source: str, on_skip: OnSkip | None = None) -> Iterable[Path]:
    """Return the files of a source; empty if it does not exist."""
    path = Path(source)
    try:
        if path.is_dir():
            return walk_images(path, on_skip)
        if path.exists() or path.is_symlink():
            return (path,)
    except (OSError, ValueError):  # name too long, or with a NUL byte
        return ()
    return _glob(path, on_skip) if GLOB_CHARACTERS & set(source) else ()


def _glob(pattern: Path, on_skip: OnSkip | None) -> Iterator[Path]:
    """Yield the matches of a pattern, sorted; a matching folder yields its images.

    As in a shell, ``*`` does not match hidden names; ``**`` follows no links and so ends.
    """
    parts = pattern.parts
    fixed = next(i for i, part in enumerate(parts) if GLOB_CHARACTERS & set(part))
    base, rest = Path(*parts[:fixed]), list(parts[fixed:])
    if rest[-1] == "**":
        rest.append("*")
    try:
        matches = sorted(base.glob("/".join(rest)))
    except (ValueError, OSError):  # an invalid pattern, or a folder that cannot be listed
        return
    include_hidden = any(part.startswith(".") for part in rest)
    for path in matches:
        relative = path.parts[len(base.parts) :]
        if not include_hidden and any(part.startswith(".") for part in relative):
            continue
        if not path.is_dir():
            yield path
        elif "**" not in rest:  # which matches the files of the folder, too
            yield from walk_images(path, on_skip)


def _why_empty(source: str) -> str:
    if is_url(source):
        return why_missing(source)
    try:
        if Path(source).is_dir():
            return f"a folder without images ({FORMATS})"
    except (OSError, ValueError) as error:
        return f"not a valid file name ({getattr(error, 'strerror', None) or error})"
    return "no matching file" if GLOB_CHARACTERS & set(source) else "no such file"


def _images_in(path: Path) -> Iterator[ImageSource]:
    if not (_may_be_idx(path) and is_idx(path)):
        yield ImageSource(str(path), path)
        return
    try:
        for index, image in enumerate(stream_idx_images(path)):
            yield ImageSource(f"{path}[{index}]", image)
    except DataError as error:
        yield ImageSource(str(path), error)


def _may_be_idx(path: Path) -> bool:
    return path.suffix.lower() not in SUFFIXES


def _count(path: Path) -> int:
    if not (_may_be_idx(path) and is_idx(path)):
        return 1
    try:
        return count_idx_images(path)
    except DataError:
        return 1
