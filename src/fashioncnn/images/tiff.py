"""The structure of a TIFF file, as far as limits need it (TIFF 6.0, section 2; BigTIFF)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

STRIP_OFFSETS, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS = 273, 322, 323, 324
"""Tags."""
SHORT = 3
"""Type of a value: an unsigned 16-bit integer."""
BYTE_ORDERS = {b"II": "<", b"MM": ">"}
BIG = 43
"""Version of a BigTIFF, whose offsets have 64 bits; 42 otherwise."""
MAX_ENTRIES = 1 << 16


@dataclass(frozen=True)
class TiffStructure:
    """How the pixels of the first image are stored.

    Attributes:
        blocks: number of strips or tiles.
        tile_pixels: width × height of a tile; 0 without tiles.
    """

    blocks: int
    tile_pixels: int


def read_structure(file: BinaryIO) -> TiffStructure:
    """Return the structure of the first image; of repeated tags, the highest values.

    Args:
        file: seekable.

    Raises:
        struct.error: the first directory is truncated.
        ValueError: it is not a TIFF file, or has more entries than `MAX_ENTRIES`.
    """
    file.seek(0)
    head = file.read(16)
    order = BYTE_ORDERS.get(head[:2])
    if order is None:
        raise ValueError("not a TIFF file")
    (version,) = struct.unpack_from(f"{order}H", head, 2)
    is_big = version == BIG
    (start,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", head, 8 if is_big else 4)
    file.seek(start)
    count_format = f"{order}{'Q' if is_big else 'H'}"
    (entries,) = struct.unpack(count_format, file.read(struct.calcsize(count_format)))
    if entries > MAX_ENTRIES:
        raise ValueError(f"{entries:,} entries in a directory")
    entry_format = f"{order}HH{'QQ' if is_big else 'II'}"
    directory = file.read(entries * struct.calcsize(entry_format))
    blocks = width = length = 0
    for tag, kind, count, value in struct.iter_unpack(entry_format, directory):
        if tag in (STRIP_OFFSETS, TILE_OFFSETS):
            blocks = max(blocks, count)
        elif tag == TILE_WIDTH:
            width = max(width, _inline(kind, value, order, is_big))
        elif tag == TILE_LENGTH:
            length = max(length, _inline(kind, value, order, is_big))
    return TiffStructure(blocks, width * length)


def _inline(kind: int, value: int, order: str, is_big: bool) -> int:
    """Return the number in a value field, which is left-justified in the file's byte order."""
    if kind != SHORT:
        return value
    field = struct.pack(f"{order}{'Q' if is_big else 'I'}", value)
    return int(struct.unpack_from(f"{order}H", field)[0])
