from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fashioncnn.images import formats
from fashioncnn.images.formats import (
    HEAD_BYTES,
    count_jpeg_scans,
    describe_unsupported,
    detect_format,
    webp_size,
)


def encode(image_format, size=(16, 16), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_supported_format_is_detected(name):
    assert detect_format(encode(name)[:HEAD_BYTES]) == name


@pytest.mark.parametrize("name", ["ICO", "JPEG2000", "TGA", "PCX"])
def test_other_formats_of_pillow_are_not_detected(name):
    assert detect_format(encode(name)[:HEAD_BYTES]) is None


def ftyp(brand, *compatible):
    """Return the box that HEIF, AVIF and video files start with."""
    content = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return (len(content) + 4).to_bytes(4, "big") + content + b"avif"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"II+\0\x08\0\0\0", "TIFF"),
        (ftyp(b"heic", b"mif1", b"heic"), "HEIF"),
        (ftyp(b"heix"), "HEIF"),
        (ftyp(b"mif1", b"mif1", b"heic"), "HEIF"),
        (ftyp(b"mif1", b"mif1", b"avif", b"miaf"), "AVIF"),
        (ftyp(b"avif", b"avif", b"mif1"), "AVIF"),
        (ftyp(b"avis"), "AVIF"),
        (ftyp(b"isom", b"avif"), None),
        (b"\0\0\0\x18ftyp", None),
        (b"P6\n8 8\n255\n", "PPM"),
        (b"P1 8 8", "PPM"),
        (b"P7\nWIDTH 8", None),
        (b"P6", None),
        (b"PK\3\4", None),
    ],
)
def test_first_bytes_decide_the_format(head, name):
    assert detect_format(head) == name


@pytest.mark.parametrize(
    ("head", "description"),
    [
        (b"", "an empty file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file"),
        (b"\xc5\xd0\xd3\xc6 ", "a PostScript file (EPS)"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a -->\n<SVG/>", "an SVG drawing"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (b"\0\0\1\0\1\0", "an icon (ICO)"),
        (b"<!DOCTYPE html><html>", "a web page (HTML)"),
        (b"PK\3\4", "a ZIP file"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (b"\x1f\x8b\x08", "a gzip file"),
        (b"hello", None),
    ],
)
def test_unsupported_file_is_described(head, description):
    assert describe_unsupported(head) == description


@pytest.mark.parametrize(
    ("chunk", "options"),
    [(b"VP8L", {"lossless": True}), (b"VP8 ", {}), (b"VP8X", {"exif": b"Exif\0\0II*\0"})],
)
def test_webp_size_is_read_from_every_kind_of_header(chunk, options):
    head = encode("WEBP", (300, 17), **options)[:HEAD_BYTES]
    assert head[12:16] == chunk
    assert webp_size(head) == (300, 17)


def test_scans_of_a_jpeg_are_counted():
    assert count_jpeg_scans(BytesIO(encode("JPEG"))) == 1
    progressive = encode("JPEG", progressive=True)
    assert count_jpeg_scans(BytesIO(progressive)) == progressive.count(b"\xff\xda") > 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_scan_marker_across_a_chunk_boundary_is_counted(monkeypatch, size):
    content = encode("JPEG", progressive=True)
    monkeypatch.setattr(formats, "CHUNK_BYTES", size)
    assert count_jpeg_scans(BytesIO(content)) == content.count(b"\xff\xda")
