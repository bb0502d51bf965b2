"""Files that are made to hurt: each is refused, in one line, at once."""

import os
import socket
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fashioncnn.errors import ImageError
from fashioncnn.images import limits
from fashioncnn.images.decoding import read_image
from fashioncnn.images.limits import max_bytes

MOST_BYTES, MOST_READS = 40 << 20, 200_100
"""What may be read of a hostile file until it is refused, which bounds the time without a clock. A
JPEG of 20 MB is read twice: its scans are counted first."""


class Counted(BytesIO):
    """A file that counts what is read of it."""

    bytes = reads = 0

    def read(self, size=-1):
        content = super().read(size)
        self.bytes, self.reads = self.bytes + len(content), self.reads + 1
        return content


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *before, pixels=b"\0\0", after=()):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *before, chunk(b"IDAT", zlib.compress(pixels, 9)), *after]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def webp(kind, data):
    body = b"WEBP" + kind + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def saved(image, kind, **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def refused(content, reason, **options):
    """Check that `content` is refused for `reason`, in one line, and little of it is read."""
    file = Counted(content) if isinstance(content, bytes) else content
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(file, "a", **options)
    assert "\n" not in str(caught.value)
    if isinstance(file, Counted):
        assert file.bytes <= MOST_BYTES
        assert file.reads <= MOST_READS


def vp8x(width, height):
    return b"\x10\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


@pytest.mark.parametrize(
    "content",
    [
        png(60000, 60000),
        webp(b"VP8X", vp8x(60000, 60000)),
        webp(b"VP8L", b"\x2f" + struct.pack("<I", 16382 | 16382 << 14) + b"\0" * 8),
        webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16000, 16000) + b"\0" * 8),
        b"GIF89a" + struct.pack("<HH", 60000, 60000) + b"\0\0\0" + b"," + bytes(4)
        + struct.pack("<HH", 60000, 60000) + b"\0\2\2\1\0\0;",
        b"BM" + struct.pack("<IHHI", 99, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
    ],
    ids=["png", "webp-extended", "webp-lossless", "webp-lossy", "gif", "bmp"],
)  # fmt: skip
def test_tiny_files_that_declare_huge_images(content):
    refused(content, "over the limit of 16 megapixels")


def test_a_jpeg_that_declares_a_huge_image():
    content = bytearray(saved(Image.new("L", (8, 8)), "JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", 60000, 60000)
    refused(bytes(content), "over the limit of 16 megapixels")


def test_a_gif_whose_first_frame_is_larger_than_its_header_says():
    frame = b"," + bytes(4) + struct.pack("<HH", 9000, 9000) + b"\0\2\2\1\0\0;"
    refused(b"GIF89a" + struct.pack("<HH", 9, 9) + b"\0\0\0" + frame, "9000×9000 pixels")


def test_the_limit_is_the_one_that_was_asked_for():
    content = saved(Image.new("L", (100, 100)), "PNG")
    assert read_image(BytesIO(content), "a", max_pixels=10_000).size == (100, 100)
    refused(content, "over the limit of 0.009999 megapixels", max_pixels=9_999)


def test_pixels_that_expand_without_end_are_read_no_further_than_the_image():
    content = png(8, 8, pixels=bytes(40_000_000))
    assert read_image(BytesIO(content), "a").size == (8, 8)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_text_and_profiles_that_expand_hugely(kind):
    bomb = chunk(kind, b"name\0\0" + zlib.compress(bytes(30_000_000), 9))
    refused(png(8, 8, bomb), "damaged image")


def test_text_that_expands_hugely_after_the_pixels():
    bomb = chunk(b"zTXt", b"name\0\0" + zlib.compress(bytes(30_000_000), 9))
    refused(png(8, 8, pixels=bytes(72), after=[bomb]), "damaged image")


@pytest.mark.parametrize(
    "content",
    [
        png(8, 8, chunk(b"teXt", b"x") * 70_000),
        png(8, 8, chunk(b"teXt", bytes(20 << 20))),
        b"GIF89a\x08\0\x08\0\0\0\0!\xfe" + b"\1x" * 150_000,
        b"\xff\xd8" + (b"\xff\xe1\xff\xff" + bytes(65533)) * 300,
        b"\xff\xd8" + b"\xff" * 300_000,
    ],
    ids=["small chunks", "a large chunk", "comments", "segments", "fill bytes"],
)
def test_files_of_endless_parts(content):
    refused(content, "made of more parts than an image has")


def test_a_jpeg_of_endless_scans_is_refused_before_it_is_decoded():
    content = saved(Image.fromarray(noise(64, 64)), "JPEG", progressive=True)
    assert read_image(BytesIO(content), "a").size == (64, 64)
    scan = content[content.rindex(b"\xff\xda") : -2]
    refused(content[:-2] + scan * 100 + b"\xff\xd9", "a JPEG of more than 64 scans")


def test_scans_are_counted_where_a_block_ends_within_their_marker(monkeypatch):
    content = saved(Image.fromarray(noise(16, 16)), "JPEG", progressive=True)
    scans = content.count(b"\xff\xda")
    for size in (1, 2, 3, 7, 1000):
        monkeypatch.setattr(limits, "CHUNK", size)
        assert limits._count_scans(BytesIO(content)) == scans


def test_run_lengths_without_end():
    runs = b"\1\7" * 250_000  # a pixel each
    header = struct.pack("<IiiHHIIiiII", 40, 4000, 4000, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = b"BM" + struct.pack("<IHHI", 54 + 1024 + len(runs), 0, 0, 54 + 1024)
    refused(start + header + bytes(1024) + runs, "made of more parts than an image has")


def test_no_more_bytes_than_the_pixels_can_need():
    content = saved(Image.new("L", (8, 8)), "PNG")
    padding = bytes(max_bytes(1000) - len(content))
    assert read_image(BytesIO(content + padding), "a", max_pixels=1000).size == (8, 8)
    refused(content + padding + b"\0", "MB, more than 0.001 megapixels", max_pixels=1000)


def test_a_file_too_large_on_disk_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.write(saved(Image.new("L", (8, 8)), "PNG"))
        file.truncate(1 << 40)  # of which nothing takes any room
    refused(path, "MB, more than 16 megapixels can need")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_thousands_of_frames_the_first_is_decoded(kind):
    frames = [Image.new("L", (16, 16), 40 + i % 200).convert("RGB") for i in range(2000)]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    image = read_image(BytesIO(content), "a")
    assert image.size == (16, 16)
    assert np.abs(np.asarray(image.convert("L")).astype(int) - 40).max() <= 2


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "an empty file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file"),
        (b"\xc5\xd0\xd3\xc6 ", "a PostScript file"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a -->\n<SVG/>", "an SVG drawing"),
        (b"II*\0\x08\0\0\0", "a TIFF image"),
        (b"MM\0*\0\0\0\x08", "a TIFF image"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC image"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "an AVIF image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a film"),
        (b"\0\0\1\0\1\0", "an icon"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"PK\3\4", "a ZIP file"),
        (b"\x1f\x8b\x08", "a gzip file"),
    ],
)
def test_what_is_refused_is_called_by_its_name(tmp_path, content, name):
    path = tmp_path / "a.png"  # a suffix makes no image
    path.write_bytes(content)
    refused(path, f"{name}.*, not a JPEG, PNG, WEBP, GIF or BMP image$")


@pytest.mark.parametrize("suffix", ["tiff", "ico", "ppm", "tga", "pcx"])
def test_what_pillow_could_open_is_not_opened(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("L", (8, 8)).save(path)
    refused(path, "not a JPEG, PNG, WEBP, GIF or BMP image")


def test_a_fifo_is_never_opened(tmp_path):
    path = tmp_path / "a.png"
    os.mkfifo(path)
    refused(path, "a FIFO, which is never read")


def test_a_file_that_becomes_a_fifo_is_not_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    os.mkfifo(path)
    regular = tmp_path / "b.png"
    regular.write_bytes(b"")
    seen = regular.stat()
    monkeypatch.setattr(type(path), "stat", lambda _: seen)
    refused(path, "a FIFO, which is never read")


def test_devices_sockets_and_folders_are_never_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name has to be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("a.png")
        refused(tmp_path / "a.png", "a socket, which is never read")
    refused(tmp_path.__class__("/dev/zero"), "a device, which is never read")
    refused(tmp_path, "a folder")


def test_links_that_lead_round_in_a_circle(tmp_path):
    (tmp_path / "a.png").symlink_to("b.png")
    (tmp_path / "b.png").symlink_to("a.png")
    refused(tmp_path / "a.png", "a: cannot be read")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_changed_bytes_end_in_a_image_or_in_one_error(kind):
    """Only a `ImageError` may come of it, whatever a decoder stumbles over."""
    content = saved(Image.fromarray(noise(12, 9)), kind)
    rng = np.random.default_rng(0)
    broken = 0
    for _ in range(300):
        changed = bytearray(content)
        for at in rng.integers(0, min(len(changed), 100), 2):
            changed[at] = rng.integers(0, 256)
        try:
            read_image(BytesIO(bytes(changed)), "a", enough=4)
        except ImageError:
            broken += 1
    assert broken > 10
