"""Limits against hostile image files, checked before any decoder sees them.

Nothing is opened that is no regular file, nothing decoded whose first bytes are not those of one of
five formats. A decoder reads through a `MeteredFile`, so that neither its size nor the number of
its parts makes it work for long.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import BinaryIO

from fashioncnn.errors import ImageError

SMALLER = "make it smaller (predict has --max-megapixels)"
"""What to do about an image of too many pixels."""
HEAD_BYTES = 512
BYTES_PER_PIXEL = 8
"""Of the largest pixels there are, four channels of 16 bits: a file may have so many for each."""
SLACK_BYTES = 1 << 20
HEADER_BYTES = 16 << 20
"""What may stand before the pixels: profiles, thumbnails, depth maps, comments."""
MAX_READS = 200_000
"""A PNG of 16 megapixels in the usual pieces of 8 KiB needs a quarter of it."""
MAX_SCANS = 64
"""Of a JPEG. Progressive ones have about 10, and each goes over the whole image."""
CHUNK = 1 << 20

MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
}
OTHERS = {
    b"%!PS": "a PostScript file",
    b"\xc5\xd0\xd3\xc6": "a PostScript file (EPS)",
    b"%PDF": "a PDF",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"II+\0": "a TIFF image",
    b"MM\0+": "a TIFF image",
    b"8BPS": "a Photoshop file",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"\xff\x0a": "a JPEG XL image",
    b"\0\0\0\x0cJXL ": "a JPEG XL image",
    b"\0\0\1\0": "an icon (ICO)",
    b"\0\0\x08\3": "an IDX file",
    b"\x1f\x8b": "a gzip file",
    b"PK\3\4": "a ZIP file",
}
"""What people have for images, by its first bytes, to be called by its name."""
BOXES = {
    b"heic": "a HEIC image",
    b"heix": "a HEIC image",
    b"mif1": "a HEIF image",
    b"msf1": "a HEIF image",
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
}
"""Brands of files that begin with a box ``ftyp`` (ISO 14496-12); others are films."""
FILE_TYPES = {
    stat.S_IFIFO: "a FIFO, which is never read",
    stat.S_IFSOCK: "a socket, which is never read",
    stat.S_IFCHR: "a device, which is never read",
    stat.S_IFBLK: "a device, which is never read",
    stat.S_IFDIR: "a folder that cannot be listed",
}


class MeteredFile:
    """A file for a decoder to read, which ends its work where it reads too much or too often.

    Attributes:
        left: bytes that may still be read; without a limit once the header is read.
    """

    def __init__(self, file: BinaryIO, name: str, header_bytes: int | None) -> None:
        self._file = file
        self._name = name
        self._reads = 0
        self.left = header_bytes

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, all that follow for -1.

        Raises:
            ImageError: there were too many reads, or too much before the pixels.
        """
        self._reads += 1
        content = self._file.read(size)
        if self.left is not None:
            self.left -= len(content)
        if self._reads > MAX_READS or (self.left is not None and self.left < 0):
            raise ImageError(
                f"{self._name}: made of more parts than an image has, or more bytes before it"
            )
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """See `io.IOBase.seek`."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """See `io.IOBase.tell`."""
        return self._file.tell()

    def header_is_read(self) -> None:
        """Let the pixels be read, which the size in the header limits."""
        self.left = None


def open_regular(path: Path, name: str) -> BinaryIO:
    """Open a regular file, or one that a symbolic link leads to.

    Raises:
        OSError: it cannot be opened.
        ImageError: it is anything else, which is never opened: that could wait for ever.
    """
    _check_regular(path.stat().st_mode, name)
    # Should it have become a FIFO since, opening does not wait for anybody.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _check_regular(os.fstat(file.fileno()).st_mode, name)
    except BaseException:
        file.close()
        raise
    return file


def check_header(file: BinaryIO, name: str, max_pixels: int) -> tuple[str, MeteredFile]:
    """Return the image's format, by Pillow's name, and `file` for its decoder to read.

    Raises:
        ImageError: another format, too many bytes, or a header that promises too much.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    kind = _kind_of(head)
    if kind is None:
        raise ImageError(f"{name}: {_what_else(head)}not a JPEG, PNG, WEBP, GIF or BMP image")
    size = file.seek(0, os.SEEK_END)
    if size > max_bytes(max_pixels):
        raise ImageError(
            f"{name}: {size / 1e6:,.0f} MB, more than {max_pixels / 1e6:g} megapixels can need"
        )
    if kind == "WEBP":  # its decoder makes room for all pixels before Pillow knows how many
        width, height = _webp_size(head)
        if width * height > max_pixels:
            raise too_large(name, width, height, max_pixels)
    if kind == "JPEG" and _count_scans(file) > MAX_SCANS:
        raise ImageError(f"{name}: a JPEG of more than {MAX_SCANS} scans, made to be slow")
    file.seek(0)
    return kind, MeteredFile(file, name, None if kind == "WEBP" else HEADER_BYTES)


def max_bytes(max_pixels: int) -> int:
    """Return the most bytes that a file of so many pixels may have."""
    return BYTES_PER_PIXEL * max_pixels + SLACK_BYTES


def too_large(name: str, width: int, height: int, max_pixels: int) -> ImageError:
    """Return the error for an image of too many pixels."""
    return ImageError(
        f"{name}: {width}×{height} pixels, over the limit of {max_pixels / 1e6:g} megapixels; "
        f"{SMALLER}"
    )


def _check_regular(mode: int, name: str) -> None:
    if not stat.S_ISREG(mode):
        what = FILE_TYPES.get(stat.S_IFMT(mode), "no regular file")
        raise ImageError(f"{name}: {what}")


def _kind_of(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)


def _what_else(head: bytes) -> str:
    """Return what a file is, as the beginning of a message; nothing where it is not known."""
    if not head:
        return "an empty file, "
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text:
        return "an SVG drawing, "
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML), "
    if head[4:8] == b"ftyp":
        return f"{BOXES.get(head[8:12], 'a film')}, "
    known = [what for magic, what in OTHERS.items() if head.startswith(magic)]
    return f"{known[0]}, " if known else ""


def _webp_size(head: bytes) -> tuple[int, int]:
    """Return width and height of the canvas (RFC 9649, sections 2.5 to 2.7)."""
    kind, data = head[12:16], head[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        width = int.from_bytes(data[4:7], "little")
        return width + 1, int.from_bytes(data[7:10], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", data[1:5])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _count_scans(file: BinaryIO) -> int:
    """Return how often a JPEG's marker for the start of a scan is there.

    Among the pixels a byte ff is never followed by da. Images within the image count too.
    """
    file.seek(0)
    scans, last = 0, b""
    while chunk := file.read(CHUNK):
        scans += (last + chunk).count(b"\xff\xda")
        last = chunk[-1:] if chunk[-1] == 0xFF else b""
    return scans
