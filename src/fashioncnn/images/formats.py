"""Image formats, identified by the first bytes of a file and not by its name."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

FORMATS = "JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIC or PPM"
"""The supported formats, for messages; PPM stands for PBM and PGM, too."""
SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "gif", "bmp", "dib"),
        *("tif", "tiff", "avif", "avifs", "heic", "heif", "hif", "pbm", "pgm", "ppm", "pnm"),
    )
)
"""File name suffixes of the supported formats, lower case."""
HEAD_BYTES = 512
"""Bytes from the start of a file that the functions below need."""
SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
"""Supported formats, named as in Pillow, that the first bytes alone identify."""
UNSUPPORTED_SIGNATURES = {
    b"%!PS": "a PostScript file",
    b"\xc5\xd0\xd3\xc6": "a PostScript file (EPS)",
    b"%PDF": "a PDF",
    b"8BPS": "a Photoshop file",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"\xff\x0a": "a JPEG XL image",
    b"\0\0\0\x0cJXL ": "a JPEG XL image",
    b"\0\0\1\0": "an icon (ICO)",
    b"\0\0\x08\3": "an IDX file",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip file",
    b"PK\3\4": "a ZIP file",
}
"""Common formats that are not supported, so that messages can name them."""
AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
"""Brands of files that start with an ``ftyp`` box (ISO 14496-12; 23008-12, annex B). ``mif1`` and
``msf1`` are containers of any codec, and the brand of an AVIF image may follow them."""
PPM_HEADER = re.compile(rb"P[1-6][ \t\r\n]")
TEXT_PPM = (b"P1", b"P2", b"P3")
"""First bytes of PBM, PGM and PPM files whose pixels are decimal numbers."""
START_OF_IMAGE, START_OF_SCAN, END_OF_IMAGE = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
"""Markers that a segment follows, and the end of the image (ITU-T T.81, table B.1). Reserved ones
are not among them: where libjpeg continues after one, it does not skip a segment."""
CHUNK_BYTES = 1 << 20


def detect_format(head: bytes) -> str | None:
    """Return Pillow's name of a supported format, or None.

    Args:
        head: the first `HEAD_BYTES` bytes of the file.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _detect_brand(head)
    if PPM_HEADER.match(head):
        return "PPM"
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
        return "a video"
    matches = (what for magic, what in UNSUPPORTED_SIGNATURES.items() if head.startswith(magic))
    return next(matches, None)


def _detect_brand(head: bytes) -> str | None:
    """Return the format of a file that starts with an ``ftyp`` box, or None for a video."""
    (length,) = struct.unpack_from(">I", head)
    compatible = {head[at : at + 4] for at in range(16, min(length, len(head)), 4)}
    if head[8:12] in AVIF_BRANDS:
        return "AVIF"
    if head[8:12] not in HEIF_BRANDS:
        return None
    is_avif = head[8:12] in (b"mif1", b"msf1") and compatible & AVIF_BRANDS
    return "AVIF" if is_avif else "HEIF"


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


def jpeg_markers(file: BinaryIO) -> Iterator[int]:
    """Yield the second byte of each marker with a segment, of the first image in a JPEG file.

    Segments are skipped by their lengths, as libjpeg does, so that the thumbnails in them are not
    read. Neither is what follows the image: the other images of an MPO, and the video that phones
    append to a photograph. Entropy-coded data never contains such markers (ITU-T T.81, B.1.1.5).

    Args:
        file: seekable.
    """
    file.seek(0)
    buffer, at = b"", len(START_OF_IMAGE)
    while True:
        found = MARKER.search(buffer, at)
        if found and found[0] == END_OF_IMAGE:
            return
        if found and found.end() + 2 <= len(buffer):
            yield found[0][1]
            at = found.end() + max(2, int.from_bytes(buffer[found.end() : found.end() + 2]))
            continue
        kept = found.start() if found else max(at, len(buffer) - 1)  # the marker may be cut
        file.seek(max(0, at - len(buffer)), os.SEEK_CUR)
        chunk = file.read(CHUNK_BYTES)
        if not chunk:
            return
        buffer, at = buffer[kept:] + chunk, 0
