"""Image formats, identified by the first bytes of a file and not by its name."""

from __future__ import annotations

import struct
from typing import BinaryIO

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
"""File name suffixes of the supported formats, lower case."""
HEAD_BYTES = 512
"""Bytes from the start of a file that the functions below need."""
SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
}
"""Supported formats besides WEBP, named as in Pillow."""
UNSUPPORTED_SIGNATURES = {
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
"""Common formats that are not supported, so that messages can name them."""
FTYP_BRANDS = {
    b"heic": "a HEIC image",
    b"heix": "a HEIC image",
    b"mif1": "a HEIF image",
    b"msf1": "a HEIF image",
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
}
"""Brands of files that start with an ``ftyp`` box (ISO 14496-12); all others are videos."""
START_OF_SCAN = b"\xff\xda"
CHUNK_BYTES = 1 << 20


def detect_format(head: bytes) -> str | None:
    """Return Pillow's name of a supported format, or None.

    Args:
        head: the first `HEAD_BYTES` bytes of the file.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in SIGNATURES.items() if head.startswith(magic)), None)


def describe_unsupported(head: bytes) -> str | None:
    """Return a description of an unsupported file, such as ``a PDF``, or None if unknown.

    Args:
        head: the first `HEAD_BYTES` bytes of the file.
    """
    if not head:
        return "an empty file"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()  # without the byte order mark
    if b"<svg" in text:
        return "an SVG drawing"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML)"
    if head[4:8] == b"ftyp":
        return FTYP_BRANDS.get(head[8:12], "a video")
    matches = (what for magic, what in UNSUPPORTED_SIGNATURES.items() if head.startswith(magic))
    return next(matches, None)


def webp_size(head: bytes) -> tuple[int, int]:
    """Return the width and height of a WEBP canvas (RFC 9649, sections 2.5 to 2.7).

    Args:
        head: the first `HEAD_BYTES` bytes of the file.
    """
    chunk, data = head[12:16], head[20:30].ljust(10, b"\0")
    if chunk == b"VP8X":
        width = int.from_bytes(data[4:7], "little")
        return width + 1, int.from_bytes(data[7:10], "little") + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack("<I", data[1:5])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[6:10])
    return width & 0x3FFF, height & 0x3FFF


def count_jpeg_scans(file: BinaryIO) -> int:
    """Return the number of start-of-scan markers in a JPEG, those of thumbnails included.

    Entropy-coded data never contains the marker: each 0xFF in it is followed by 0x00 or by a
    restart marker (ITU-T T.81, B.1.1.5).
    """
    file.seek(0)
    scans, last = 0, b""
    while chunk := file.read(CHUNK_BYTES):
        scans += (last + chunk).count(START_OF_SCAN)
        last = chunk[-1:] if chunk[-1] == 0xFF else b""  # the marker may cross the boundary
    return scans
