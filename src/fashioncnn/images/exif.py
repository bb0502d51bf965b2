"""The EXIF orientation of an image, and the transposition that makes it upright."""

from __future__ import annotations

import struct

from PIL import Image

ORIENTATION = 0x0112
"""Tag of the camera's orientation (CIPA DC-008, section 4.6.4)."""
SHORT = 3
"""Type of its value: one unsigned 16-bit integer."""
ENTRY_BYTES = 12
UPRIGHT = 1
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By orientation: the operation that makes the image upright."""


def orientation_of(image: Image.Image) -> int:
    """Return the orientation in the metadata of a loaded image; 1 where there is none.

    Pillow has already applied that of a TIFF, pillow-heif that of a HEIC.
    """
    exif = image.info.get("exif")
    return read_orientation(exif) if isinstance(exif, bytes) else UPRIGHT


def read_orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block; 1 (upright) where it is missing or malformed.

    Only the first directory is scanned. Pillow would parse every entry, which is slow and raises
    on malformed ones.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    byte_order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if byte_order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(f"{byte_order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{byte_order}H", exif, start)
        for at in range(start + 2, start + 2 + ENTRY_BYTES * entries, ENTRY_BYTES):
            tag, kind, count, value = struct.unpack_from(f"{byte_order}HHIH", exif, at)
            if (tag, kind, count) == (ORIENTATION, SHORT, 1):
                return int(value)
    except struct.error:  # the block is truncated; the pixels may still be intact
        return UPRIGHT
    return UPRIGHT
