"""What `predict` is asked about: files, folders, globs, standard input, IDX files.

Everything is a stream: of a folder no more is held than its own list of names.
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
from fashioncnn.images.files import walk_images
from fashioncnn.images.formats import SUFFIXES

STDIN = "-"
MAGIC = frozenset("*?[")
LONGEST_NAME = 300
"""Characters of a name that names nothing, as they are told."""
CHUNK = 1 << 16


@dataclass(frozen=True)
class ImageSource:
    """One image to be looked at, not decoded yet.

    Attributes:
        name: what answers and messages call it.
        content: a file, or the bytes of one, or a grey image (height, width) uint8; or why there
            is none: a `UsageError` where the source named nothing, else a `DataError`.
    """

    name: str
    content: Path | bytes | NDArray[np.uint8] | FashionCNNError


def find_sources(sources: Iterable[str], stdin: BinaryIO, max_bytes: int) -> Iterator[ImageSource]:
    """Yield the images that `sources` name, in their order.

    A file is taken as it is, of a folder every image, of an IDX file every image under the name
    ``file[index]``; a name that is no file's may be a pattern with ``*``, ``?``, ``[…]`` or ``**``.

    Args:
        sources: names; ``-`` is an image on standard input.
        stdin: standard input.
        max_bytes: the most that is read of it.
    """
    for source in sources:
        if source == STDIN:
            yield ImageSource(STDIN, stdin.read(max_bytes + 1))
            continue
        paths = iter(_paths_of(source))
        first = next(paths, None)
        if first is None:
            shown = source if len(source) <= LONGEST_NAME else f"{source[:LONGEST_NAME]}…"
            yield ImageSource(source, UsageError(f"{shown}: {_why_nothing(source)}"))
            continue
        yield from _images_of(first)
        for path in paths:
            yield from _images_of(path)


def count_sources(sources: Iterable[str]) -> int:
    """Return how many images `find_sources` yields, without reading any."""
    return sum(max(1, sum(_count(path) for path in _paths_of(source))) for source in sources)


def only_idx(sources: Iterable[str]) -> bool:
    """Whether every source is an IDX file."""
    return all(_may_be_idx(Path(source)) and is_idx(Path(source)) for source in sources)


def read_list(file: BinaryIO) -> Iterator[str]:
    """Yield the names in a list: one a line, or ended by a zero byte as by ``find -print0``."""
    rest = file.read(CHUNK)
    end = b"\0" if b"\0" in rest else b"\n"
    while rest:
        *names, rest = rest.split(end)
        chunk = file.read(CHUNK)
        if not chunk:
            names, rest = [*names, rest], b""
        rest += chunk
        for name in names:
            if stripped := name.rstrip(b"\r") if end == b"\n" else name:
                yield os.fsdecode(stripped)


def _paths_of(source: str) -> Iterable[Path]:
    """Return the files that a name stands for; none where it names nothing."""
    path = Path(source)
    try:
        if path.is_dir():
            return walk_images(path)
        if path.exists() or path.is_symlink():
            return (path,)
    except (OSError, ValueError):  # longer than names can be, or with a zero byte
        return ()
    return _matches(path) if MAGIC & set(source) else ()


def _matches(pattern: Path) -> Iterator[Path]:
    """Yield what a pattern matches, sorted; of folders that it matches, their images.

    As a shell does, ``*`` leaves hidden names out; unlike some, ``**`` follows no link, so that
    none can lead round in a circle.
    """
    parts = pattern.parts
    plain = next(i for i, part in enumerate(parts) if MAGIC & set(part))
    base, rest = Path(*parts[:plain]), list(parts[plain:])
    if rest[-1] == "**":
        rest.append("*")
    try:
        found = sorted(base.glob("/".join(rest)))
    except (ValueError, OSError):  # no pattern after all, or of a folder that cannot be listed
        return
    may_be_hidden = any(part.startswith(".") for part in rest)
    for path in found:
        inner = path.parts[len(base.parts) :]
        if not may_be_hidden and any(part.startswith(".") for part in inner):
            continue
        if not path.is_dir():
            yield path
        elif "**" not in rest:  # which matches what is in them, too
            yield from walk_images(path)


def _why_nothing(source: str) -> str:
    try:
        if Path(source).is_dir():
            return "a folder without an image (JPEG, PNG, WEBP, GIF, BMP)"
    except (OSError, ValueError) as error:
        return f"no name of a file ({getattr(error, 'strerror', None) or error})"
    return "no file matches" if MAGIC & set(source) else "no such file"


def _images_of(path: Path) -> Iterator[ImageSource]:
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
