"""Limits for untrusted image files, checked before a decoder reads them.

Only the supported formats are decoded. The decoder reads through a `MeteredFile`, which bounds its
work on files with huge metadata or endless chunks.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from fashioncnn.errors import ImageError
from fashioncnn.images.formats import (
    FORMATS,
    HEAD_BYTES,
    START_OF_SCAN,
    TEXT_PPM,
    describe_unsupported,
    detect_format,
    jpeg_markers,
    webp_size,
)
from fashioncnn.images.tiff import read_structure

BYTES_PER_PIXEL = 8
"""File size allowed per pixel: four channels of 16 bits, uncompressed."""
EXTRA_BYTES = 1 << 20
"""File size allowed on top of that, for metadata."""
METADATA_BYTES = 16 << 20
"""Limit on bytes read before the pixels: color profiles, thumbnails, depth maps, comments."""
MAX_READS = 200_000
"""Four times the reads that a PNG of 16 megapixels in chunks of 8 KiB needs."""
MAX_SCANS = 64
"""Scans of a JPEG. A progressive one has about 10, and each is a pass over the whole image."""
MAX_SEGMENTS = 10_000
"""Segments of a JPEG, all scans and tables included. Phones write about 50."""
MAX_TIFF_BLOCKS = 100_000
"""Strips or tiles of a TIFF; Pillow keeps an object for each. Strips have one row or more."""
MAX_TEXT_BYTES, MAX_COMMENTS = 16 << 20, 1000
"""Limits on a PBM, PGM or PPM file that is text: Pillow parses it slowly, comments very slowly."""
MAX_SLOW_PIXELS = 4_000_000
"""Limit on the pixels of PGM and PPM files whose levels Pillow scales one by one."""
WHOLE_FILE_FORMATS = frozenset({"WEBP", "AVIF", "HEIF"})
"""Formats whose decoders read the whole file at once, so that there is no limit on metadata."""
HOW_TO_REDUCE = "resize the image"
"""What to do about an image over a limit, where the limit is not an option."""


class MeteredFile:
    """A binary file that raises when a decoder reads too much metadata or too often."""

    def __init__(self, file: BinaryIO, name: str, metadata_bytes: int | None) -> None:
        """Wrap `file`.

        Args:
            file: open for reading.
            name: used in messages.
            metadata_bytes: limit until `end_metadata` is called; None for no limit.
        """
        self._file = file
        self._name = name
        self._reads = 0
        self._metadata_left = metadata_bytes

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, or all remaining bytes for -1.

        Raises:
            ImageError: more than `MAX_READS` reads, or more metadata than allowed.
        """
        self._reads += 1
        if self._reads > MAX_READS:
            raise ImageError(
                f"{self._name}: more than {MAX_READS:,} chunks; save it again with an image editor"
            )
        content = self._file.read(size)
        if self._metadata_left is not None:
            self._metadata_left -= len(content)
            if self._metadata_left < 0:
                raise ImageError(
                    f"{self._name}: more than {METADATA_BYTES >> 20} MiB of metadata; save it "
                    "again without metadata"
                )
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """See `io.IOBase.seek`."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """See `io.IOBase.tell`."""
        return self._file.tell()

    def end_metadata(self) -> None:
        """Lift the metadata limit: from here on, the size in the header limits what is read."""
        self._metadata_left = None


def check_header(
    file: BinaryIO, name: str, max_pixels: int, remedy: str = HOW_TO_REDUCE
) -> tuple[str, MeteredFile]:
    """Return Pillow's name of the format, and `file` wrapped for the decoder.

    Args:
        file: open for reading, seekable.
        name: used in messages.
        max_pixels: limit on width × height.
        remedy: what to do about an image that is too large.

    Raises:
        ImageError: an unsupported format, too many bytes, or a structure that a decoder would need
            too much time or memory for.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    image_format = detect_format(head)
    if image_format is None:
        raise _unsupported(name, head)
    size = file.seek(0, os.SEEK_END)
    if size > max_bytes(max_pixels):
        raise ImageError(
            f"{name}: {size:,} bytes, over the limit of {max_bytes(max_pixels):,} bytes for "
            f"{max_pixels / 1e6:g} megapixels; {remedy}"
        )
    if image_format == "WEBP":  # its decoder allocates all pixels before Pillow knows the size
        width, height = webp_size(head)
        check_pixels(name, width, height, max_pixels, remedy)
    elif image_format == "JPEG":
        _check_scans(file, name)
    elif image_format == "TIFF":
        _check_tiff(file, name, max_pixels)
    elif head.startswith(TEXT_PPM):
        _check_text(file, name, size)
    file.seek(0)
    metadata_bytes = None if image_format in WHOLE_FILE_FORMATS else METADATA_BYTES
    return image_format, MeteredFile(file, name, metadata_bytes)


def max_bytes(max_pixels: int) -> int:
    """Return the largest file size accepted for an image of `max_pixels` pixels."""
    return BYTES_PER_PIXEL * max_pixels + EXTRA_BYTES


def check_pixels(
    name: str, width: int, height: int, max_pixels: int, remedy: str = HOW_TO_REDUCE
) -> None:
    """Raise `ImageError` if an image has more than `max_pixels` pixels."""
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width}×{height} pixels, over the limit of {max_pixels / 1e6:g} megapixels; "
            f"{remedy}"
        )


def _check_scans(file: BinaryIO, name: str) -> None:
    scans = 0
    for segments, marker in enumerate(jpeg_markers(file), 1):
        scans += marker == START_OF_SCAN[1]
        if scans > MAX_SCANS or segments > MAX_SEGMENTS:
            raise ImageError(
                f"{name}: more than {MAX_SCANS} JPEG scans or {MAX_SEGMENTS:,} segments; save it "
                "again with an image editor"
            )


def _check_tiff(file: BinaryIO, name: str, max_pixels: int) -> None:
    """Reject tiles larger than an image may be, which libtiff decodes whole, and tiny strips."""
    structure = read_structure(file)
    if structure.blocks > MAX_TIFF_BLOCKS or structure.tile_pixels > max_pixels:
        raise ImageError(
            f"{name}: a TIFF of {structure.blocks:,} strips or tiles, or of huge tiles; save it "
            "again with an image editor"
        )


def _check_text(file: BinaryIO, name: str, size: int) -> None:
    if size <= MAX_TEXT_BYTES:
        file.seek(0)
        if file.read(size).count(b"#") <= MAX_COMMENTS:
            return
    raise ImageError(
        f"{name}: {size:,} bytes of text, over the limit of {MAX_TEXT_BYTES:,}, or more than "
        f"{MAX_COMMENTS:,} comments; save it again in binary form"
    )


def _unsupported(name: str, head: bytes) -> ImageError:
    description = describe_unsupported(head)
    prefix = f"{description}, " if description else ""
    return ImageError(f"{name}: {prefix}not a {FORMATS} image; convert or remove it")
