from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fashioncnn.images import formats
from fashioncnn.images.formats import (
    HEAD_BYTES,
    describe_unsupported,
    detect_format,
    jpeg_markers,
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


SCAN, APP1, COMMENT = 0xDA, 0xE1, 0xFE


def segment(marker, content):
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def markers(content):
    return list(jpeg_markers(BytesIO(content)))


def count_scans(content):
    return markers(content).count(SCAN)


def test_scans_of_a_jpeg_are_counted():
    assert count_scans(encode("JPEG")) == 1
    progressive = encode("JPEG", progressive=True)
    assert count_scans(progressive) == progressive.count(b"\xff\xda") > 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_markers_and_lengths_may_cross_chunks(monkeypatch, size):
    content = encode("JPEG", progressive=True)
    long = content[:2] + segment(APP1, bytes(5000)) + content[2:]
    expected = markers(long)
    monkeypatch.setattr(formats, "CHUNK_BYTES", size)
    assert markers(long) == expected
    assert expected[0] == APP1
    assert expected.count(SCAN) == content.count(b"\xff\xda")


@pytest.mark.parametrize(
    "after", [b"\xff\xda" * 100, encode("JPEG"), b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 100]
)
def test_what_follows_the_first_image_is_not_read(after):
    assert count_scans(encode("JPEG") + after) == 1


def test_thumbnails_in_segments_are_not_read():
    content = encode("JPEG")
    thumbnail = segment(APP1, encode("JPEG", progressive=True))
    assert count_scans(content[:2] + thumbnail + content[2:]) == 1


def test_restart_markers_and_stuffed_bytes_are_no_segments():
    content = encode("JPEG", (64, 64), restart_marker_blocks=1)
    assert b"\xff\xd0" in content
    assert b"\xff\0" in content
    assert count_scans(content) == 1


def test_scans_behind_fill_bytes_and_reserved_markers_are_counted():
    """A reserved marker in entropy-coded data ends it for libjpeg, which skips no segment there."""
    scan = segment(SCAN, b"\1\1\0\0\x3f\0")
    assert count_scans(b"\xff\xd8" + b"\xff" * 9 + scan) == 1
    assert count_scans(b"\xff\xd8" + scan + b"\xff\x02\xff\xff" + scan * 5) == 6
    assert count_scans(b"\xff\xd8" + scan + segment(COMMENT, scan * 5) + scan) == 2


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xda\0"])
def test_truncated_jpeg_has_no_further_markers(content):
    assert markers(content) == []
