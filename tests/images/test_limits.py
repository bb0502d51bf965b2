"""Malicious image files: each is rejected, in one line, before much of it is read."""

import os
import socket
import struct
import subprocess
import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fashioncnn.errors import ImageError
from fashioncnn.images.decoding import read_image
from fashioncnn.images.limits import max_bytes

MAX_BYTES, MAX_READS = 40 << 20, 200_100
"""Limits on what is read of a malicious file, in place of a limit on time. A JPEG of 20 MB is read
twice: its scans are counted first."""


class CountingFile(BytesIO):
    """A file that counts reads and bytes."""

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


def assert_rejected(content, reason, **options):
    """Assert that `content` is rejected for `reason`, in one line, after little is read."""
    file = CountingFile(content) if isinstance(content, bytes) else content
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(file, "a", **options)
    assert "\n" not in str(caught.value)
    if isinstance(file, CountingFile):
        assert file.bytes <= MAX_BYTES
        assert file.reads <= MAX_READS


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
def test_small_file_that_declares_a_huge_image_is_rejected(content):
    assert_rejected(content, "over the limit of 16 megapixels")


def test_jpeg_that_declares_a_huge_image_is_rejected():
    content = bytearray(saved(Image.new("L", (8, 8)), "JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", 60000, 60000)
    assert_rejected(bytes(content), "over the limit of 256 megapixels")


def test_gif_whose_frame_exceeds_its_header_is_rejected():
    frame = b"," + bytes(4) + struct.pack("<HH", 9000, 9000) + b"\0\2\2\1\0\0;"
    assert_rejected(b"GIF89a" + struct.pack("<HH", 9, 9) + b"\0\0\0" + frame, "9000×9000 pixels")


def test_pixel_limit_is_configurable():
    content = saved(Image.new("L", (100, 100)), "PNG")
    assert read_image(BytesIO(content), "a", max_pixels=10_000).size == (100, 100)
    assert_rejected(content, r"over the limit of 0\.009999 megapixels", max_pixels=9_999)


def test_surplus_compressed_pixels_are_not_decompressed():
    content = png(8, 8, pixels=bytes(40_000_000))
    assert read_image(BytesIO(content), "a").size == (8, 8)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_decompression_bomb_in_metadata_is_rejected(kind):
    bomb = chunk(kind, b"name\0\0" + zlib.compress(bytes(30_000_000), 9))
    assert_rejected(png(8, 8, bomb), "save it again without metadata")


def test_texts_that_are_large_together_are_rejected():
    texts = chunk(b"zTXt", b"name\0\0" + zlib.compress(bytes(1_000_000), 9)) * 70
    assert_rejected(png(8, 8, texts), "save it again without metadata")


def test_decompression_bomb_after_the_pixels_is_rejected():
    bomb = chunk(b"zTXt", b"name\0\0" + zlib.compress(bytes(30_000_000), 9))
    assert_rejected(png(8, 8, pixels=bytes(72), after=[bomb]), "save it again without")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png(8, 8, chunk(b"teXt", b"x") * 70_000), "more than 200,000 chunks"),
        (png(8, 8, chunk(b"teXt", bytes(20 << 20))), "more than 16 MiB of metadata"),
        (b"GIF89a\x08\0\x08\0\0\0\0!\xfe" + b"\1x" * 150_000, "more than 200,000 chunks"),
        (
            b"\xff\xd8" + (b"\xff\xe1\xff\xff" + bytes(65533)) * 300,
            "more than 16 MiB of metadata",
        ),
        (b"\xff\xd8" + b"\xff" * 300_000, "more than 200,000 chunks"),
    ],
    ids=["small chunks", "a large chunk", "comments", "segments", "fill bytes"],
)
def test_endless_metadata_is_rejected(content, reason):
    assert_rejected(content, reason)


def test_jpeg_with_too_many_scans_is_rejected_before_decoding():
    content = saved(Image.fromarray(noise(64, 64)), "JPEG", progressive=True)
    assert read_image(BytesIO(content), "a").size == (64, 64)
    scan = content[content.rindex(b"\xff\xda") : -2]
    assert_rejected(
        content[:-2] + scan * 100 + b"\xff\xd9", "a: more than 64 JPEG scans or 10,000 segments"
    )


def test_jpeg_of_endless_segments_is_rejected_before_decoding():
    content = saved(Image.fromarray(noise(64, 64)), "JPEG")
    comments = b"\xff\xfe\0\2" * 5_000
    assert read_image(BytesIO(content[:-2] + comments + b"\xff\xd9"), "a").size == (64, 64)
    assert_rejected(content[:-2] + comments * 2 + b"\xff\xd9", "a: more than 64 JPEG scans or")


@pytest.mark.parametrize("progressive", [False, True])
def test_photograph_with_a_video_behind_it_is_read(progressive):
    """As phones write them: a motion photo contains the marker of a scan by chance."""
    photo = saved(Image.fromarray(noise(64, 64)), "JPEG", progressive=progressive)
    video = np.random.default_rng(0).integers(0, 256, 8 << 20).astype(np.uint8).tobytes()
    assert video.count(b"\xff\xda") > 64
    image = read_image(BytesIO(photo + b"\0\0\0\x18ftypmp42" + video), "a")
    np.testing.assert_array_equal(image, read_image(BytesIO(photo), "a"))


def tiff(blocks=1, tile=None, entries=()):
    """Return a TIFF of 64×64 zeros that declares a number of strips, or tiles of a size."""
    entries = [
        (256, 4, 1, 64),
        (257, 4, 1, 64),
        (258, 3, 1, 8),
        (259, 3, 1, 8),
        (262, 3, 1, 1),
        *entries,
    ]
    if tile:
        entries += [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, blocks, 512), (325, 4, 1, 99)]
    else:
        entries += [(273, 4, blocks, 512), (278, 4, 1, 64), (279, 4, 1, 99)]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries)) + bytes(4)
    pixels = zlib.compress(bytes(64 * 64))
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(512, b"\0") + pixels + bytes(400_100)


def test_tiff_of_a_million_strips_is_rejected():
    assert read_image(BytesIO(tiff()), "a").size == (64, 64)
    assert_rejected(tiff(blocks=100_001), "a TIFF of 100,001 strips or tiles")


def test_tiff_of_tiles_larger_than_the_limit_is_rejected():
    """Or libtiff would decompress up to 4 GB, into memory, for an image of 64×64 pixels."""
    assert_rejected(tiff(tile=60_000), "or of huge tiles")


def test_highest_of_repeated_tags_counts():
    assert_rejected(tiff(entries=[(273, 4, 200_000, 512)]), "a TIFF of 200,000 strips or tiles")


def test_tiff_that_declares_a_huge_image_is_rejected():
    content = tiff().replace(
        struct.pack("<HHII", 256, 4, 1, 64), struct.pack("<HHII", 256, 4, 1, 10**6)
    )
    assert_rejected(content, "1000000×64 pixels, over the limit of 16 megapixels")


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_whose_directory_is_missing_is_rejected(order):
    magic = b"II*\0" if order == "<" else b"MM\0*"
    for start in (8, 7, 2**32 - 1):
        assert_rejected(magic + struct.pack(f"{order}I", start), "a: damaged image")
    big = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63)
    assert_rejected(big + bytes(100), "a: damaged image")


def test_ppm_that_is_slow_to_parse_is_rejected():
    assert_rejected(b"P2 9000 9000 255\n", "over the limit of 16 megapixels")
    assert_rejected(
        b"P2 2500 2500 255\n", "over the limit of 4 megapixels; save it with the levels"
    )
    assert_rejected(b"P5 2500 2500 15\n", "over the limit of 4 megapixels; save it with the levels")
    assert_rejected(b"P2 8 8 255\n" + b"#\n" * 1001, "or more than 1,000 comments")
    assert_rejected(
        b"P2 8 8 255\n".ljust((16 << 20) + 1), "16,777,217 bytes of text, over the limit"
    )


def avif(width, height):
    """Return a small AVIF that declares another size in its `ispe` box."""
    content = saved(Image.new("RGB", (64, 64)), "AVIF")
    at = content.index(b"ispe") + 8
    return content[:at] + struct.pack(">II", width, height) + content[at + 8 :]


def test_avif_that_declares_a_huge_image_is_rejected():
    assert_rejected(avif(9000, 9000), "a: ")


def jpeg(width, height, **options):
    """Return a JPEG of a gradient."""
    rows = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 120, width)).astype(np.uint8)
    return saved(Image.fromarray(rows).convert("RGB"), "JPEG", **options)


def test_limit_of_pixels_holds_for_the_decoded_size_of_a_jpeg():
    content = jpeg(400, 400)
    assert read_image(BytesIO(content), "a", max_pixels=160_000).size == (400, 400)
    assert read_image(BytesIO(content), "a", max_pixels=159_999).size == (200, 200)
    assert read_image(BytesIO(content), "a", max_pixels=39_999).size == (100, 100)
    assert read_image(BytesIO(content), "a", max_pixels=10_000).size == (100, 100)
    assert_rejected(content, "400×400 pixels, over the limit of 0.159984", max_pixels=9_999)


@pytest.mark.parametrize("options", [{"progressive": True}, "one scan per channel"], ids=str)
def test_jpegs_whose_coefficients_are_in_memory_are_limited_to_four_times(options):
    if isinstance(options, dict):
        content = jpeg(400, 400, **options)
    else:  # its first scan has one of three channels
        content = bytearray(jpeg(400, 400))
        at = content.index(b"\xff\xda")
        content[at : at + 14] = b"\xff\xfe\0\2\xff\xda\0\x08\1\1\0\0\x3f\0"
        content = bytes(content)
    assert_rejected(content, "400×400 pixels, over the limit of 0.159996", max_pixels=39_999)


def test_jpeg_of_a_phone_is_read_without_a_warning():
    """Pillow warns above 89 megapixels and refuses above 179."""
    content = bytearray(saved(Image.new("L", (8, 8)), "JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", 16320, 12240)
    assert read_image(BytesIO(bytes(content)), "a", min_side=512).size == (510, 680)


def test_images_that_need_much_memory_are_decoded_one_at_a_time(monkeypatch):
    taken = []

    class Recorder:
        def __enter__(self):
            taken.append(True)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("fashioncnn.images.decoding._LARGE_IMAGE", Recorder())
    progressive, baseline = jpeg(400, 400, progressive=True), jpeg(400, 400)
    read_image(BytesIO(progressive), "a", max_pixels=160_000)
    read_image(BytesIO(baseline), "a", max_pixels=80_000)
    assert not taken
    read_image(BytesIO(progressive), "a", max_pixels=80_000)
    assert taken


@pytest.mark.slow
def test_jpeg_of_48_megapixels_needs_little_memory(tmp_path):
    Image.new("RGB", (6048, 8064), (90, 60, 30)).save(tmp_path / "a.jpg")
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from fashioncnn.images.decoding import read_image\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "image = read_image(Path(sys.argv[1]), min_side=512)\n"
        "print(*image.size, peak() - before)\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "a.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    width, height, kilobytes = map(int, done.stdout.split())
    assert (width, height) == (756, 1008)
    assert kilobytes < 60_000  # all pixels are 146 MB


def test_remedy_is_that_of_the_caller():
    content = saved(Image.new("L", (100, 100)), "PNG")
    assert_rejected(content, "megapixels; resize the image$", max_pixels=99)
    assert_rejected(content, "megapixels; do this$", max_pixels=99, remedy="do this")


def test_endless_run_lengths_are_rejected():
    runs = b"\1\7" * 250_000  # a pixel each
    header = struct.pack("<IiiHHIIiiII", 40, 4000, 4000, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = b"BM" + struct.pack("<IHHI", 54 + 1024 + len(runs), 0, 0, 54 + 1024)
    assert_rejected(start + header + bytes(1024) + runs, "more than 200,000 chunks")


def test_file_size_is_limited_by_the_pixel_limit():
    content = saved(Image.new("L", (8, 8)), "PNG")
    padding = bytes(max_bytes(1000) - len(content))
    assert read_image(BytesIO(content + padding), "a", max_pixels=1000).size == (8, 8)
    assert_rejected(
        content + padding + b"\0", "1,056,577 bytes, over the limit of 1,056,576", max_pixels=1000
    )


def test_file_too_large_on_disk_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.write(saved(Image.new("L", (8, 8)), "PNG"))
        file.truncate(1 << 40)  # sparse, occupies no space
    assert_rejected(path, "bytes for 16 megapixels; resize the image")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_only_the_first_of_thousands_of_frames_is_decoded(kind):
    frames = [Image.new("L", (16, 16), 40 + i % 200).convert("RGB") for i in range(1000)]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    image = read_image(BytesIO(content), "a")
    assert image.size == (16, 16)
    assert np.abs(np.asarray(image.convert("L")).astype(int) - 40).max() <= 2


@pytest.mark.parametrize(
    ("content", "prefix"),
    [(b"", "an empty file, "), (b"%PDF-1.7\n", "a PDF, "), (b"hello", "")],
)
def test_unsupported_format_is_named(tmp_path, content, prefix):
    path = tmp_path / "a.png"  # the suffix is irrelevant
    path.write_bytes(content)
    assert_rejected(path, f"^a: {prefix}not a JPEG, .* or PPM image; convert or remove")


@pytest.mark.parametrize("suffix", ["ico", "tga", "pcx", "jp2"])
def test_other_formats_of_pillow_are_rejected(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("L", (8, 8)).save(path)
    assert_rejected(path, "not a JPEG, PNG, .* or PPM image")


def test_fifo_is_never_opened(tmp_path):
    path = tmp_path / "a.png"
    os.mkfifo(path)
    assert_rejected(path, "a FIFO, which is never read")


def test_file_replaced_by_a_fifo_does_not_block(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    os.mkfifo(path)
    regular = tmp_path / "b.png"
    regular.write_bytes(b"")
    stale = regular.stat()
    monkeypatch.setattr(type(path), "stat", lambda _: stale)
    assert_rejected(path, "a FIFO, which is never read")


def test_devices_sockets_and_folders_are_never_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("a.png")
        assert_rejected(tmp_path / "a.png", "a socket, which is never read")
    assert_rejected(tmp_path.__class__("/dev/zero"), "a device, which is never read")
    assert_rejected(tmp_path, "a folder")


def test_cyclic_symbolic_links_are_rejected(tmp_path):
    (tmp_path / "a.png").symlink_to("b.png")
    (tmp_path / "b.png").symlink_to("a.png")
    assert_rejected(tmp_path / "a.png", "a: cannot be read")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_changed_bytes_raise_only_image_errors(kind):
    content = saved(Image.fromarray(noise(12, 9)), kind)
    rng = np.random.default_rng(0)
    broken = 0
    for _ in range(300):
        changed = bytearray(content)
        for at in rng.integers(0, min(len(changed), 100), 2):
            changed[at] = rng.integers(0, 256)
        try:
            read_image(BytesIO(bytes(changed)), "a", min_side=4)
        except ImageError:
            broken += 1
    assert broken > 10
