"""Every supported format and mode is decoded to the correct values."""

import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fashioncnn.errors import ImageError
from fashioncnn.images import heif
from fashioncnn.images.color import to_grayscale, to_rgb
from fashioncnn.images.decoding import finish_image, read_image

GRAY = np.arange(0, 240, 4, dtype=np.uint8).reshape(6, 10).repeat(8, 0).repeat(8, 1)
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)


def content(image, image_format, **options):
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer


def gray(buffer):
    return to_grayscale(read_image(buffer, "a"))


def assert_close(values, expected, tolerance):
    assert values.shape == expected.shape
    assert np.abs(values.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize(
    "options",
    [
        *({"compression": c} for c in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate")),
        {"compression": "tiff_lzw", "tiffinfo": {278: 5}},
        {"big_tiff": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("pixels", [GRAY, COLOR], ids=["gray", "color"])
def test_tiff(pixels, options):
    image = read_image(content(Image.fromarray(pixels), "TIFF", **options), "a")
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_tiff_with_jpeg_compression():
    buffer = content(Image.fromarray(COLOR), "TIFF", compression="jpeg", quality=95)
    assert np.abs(to_rgb(read_image(buffer, "a")).astype(int) - COLOR).mean() < 5


@pytest.mark.parametrize("dtype", [np.uint16, ">u2"])
def test_tiff_of_16_bits(dtype):
    values = (GRAY.astype(np.uint16) * 257).astype(dtype)
    assert_close(gray(content(Image.fromarray(values), "TIFF")), GRAY, 0)


def test_dark_16_bits_in_a_file_are_16_bits():
    values = np.full((8, 8), 200, np.uint16)
    for image_format in ("TIFF", "PNG"):
        assert gray(content(Image.fromarray(values), image_format)).max() == 1


def test_tiff_of_12_bits():
    packed = np.array([[0x00, 0x0F, 0xFF, 0x80, 0x00, 0x00]], np.uint8)  # 0, 4095, 2048, 0
    info = {258: 12, 277: 1, 262: 1}
    buffer = content(Image.fromarray(packed[:, :4]), "TIFF", compression="raw", tiffinfo=info)
    changed = bytearray(buffer.getvalue())
    at = changed.rindex(packed[:, :4].tobytes())
    start = int.from_bytes(changed[4:8], "little")
    for entry in range(start + 2, len(changed) - 12, 12):
        tag = int.from_bytes(changed[entry : entry + 2], "little")
        if tag == 258:
            changed[entry + 8] = 12
        if tag == 279:
            changed[entry + 8 : entry + 12] = (6).to_bytes(4, "little")
        if tag == 273:
            changed[entry + 8 : entry + 12] = len(changed).to_bytes(4, "little")
    assert at
    values = gray(BytesIO(bytes(changed) + packed.tobytes()))
    assert values.tolist() == [[0, 255, 128, 0]]


@pytest.mark.parametrize("scale", [1 / 255, 1])
def test_tiff_of_floats(scale):
    values = GRAY.astype(np.float32) * np.float32(scale)
    assert_close(gray(content(Image.fromarray(values), "TIFF")), GRAY, 0)


@pytest.mark.parametrize("scale", [1, 257])
def test_tiff_of_32_bit_integers(scale):
    values = GRAY.astype(np.int32) * scale
    assert_close(gray(content(Image.fromarray(values), "TIFF")), GRAY, 0)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((4, 4), -3, np.float32), r"a: values of float32 in \[-3, -3\]"),
        (np.full((4, 4), 1000, np.float32), r"a: values of float32 in \[1000, 1000\]"),
        (np.full((4, 4), np.nan, np.float32), "a: values of float32 contain NaN"),
        (np.full((4, 4), 70000, np.int32), r"a: values of int32 in \[70000, 70000\]"),
    ],
    ids=str,
)
def test_tiff_without_defined_white_and_of_unclear_range_is_rejected(values, reason):
    with pytest.raises(ImageError, match=reason):
        read_image(content(Image.fromarray(values), "TIFF"), "a")


@pytest.mark.parametrize("mode", ["1", "LA", "P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB"])
def test_tiff_of_other_modes(mode):
    image = Image.fromarray(GRAY).convert("RGB" if mode in ("RGBX", "YCbCr", "LAB") else "L")
    if mode == "LAB":
        image = Image.merge("LAB", [Image.fromarray(GRAY), *[Image.new("L", image.size, 128)] * 2])
    else:
        image = image.convert(mode)
    expected = np.asarray(image.convert("L")) if mode == "1" else GRAY  # dithered
    assert_close(gray(content(image, "TIFF")), expected, 3)


def test_tiff_orientation_is_applied_once():
    buffer = content(
        Image.fromarray(np.ascontiguousarray(GRAY[::-1, ::-1])), "TIFF", tiffinfo={274: 3}
    )
    assert_close(gray(buffer), GRAY, 0)
    opened = Image.open(buffer)
    assert_close(to_grayscale(finish_image(opened)), GRAY, 0)
    opened = Image.open(
        content(Image.fromarray(np.ascontiguousarray(np.rot90(GRAY))), "TIFF", tiffinfo={274: 6})
    )
    opened.load()
    assert_close(to_grayscale(finish_image(opened)), GRAY, 0)


def test_avif():
    buffer = content(Image.fromarray(COLOR), "AVIF", quality=95)
    assert np.abs(to_rgb(read_image(buffer, "a")).astype(int) - COLOR).mean() < 8
    with_alpha = Image.new("RGBA", (40, 30), (0, 0, 0, 51))
    assert_close(gray(content(with_alpha, "AVIF", quality=100)), np.full((30, 40), 204), 2)


@pytest.mark.parametrize(("name", "degrees"), [("AVIF", 270), ("HEIF", 90)])
def test_orientation_in_containers_is_applied_once(name, degrees):
    """AVIF files store the orientation of EXIF as properties; HEIC files of phones do, too."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(COLOR)))
    buffer = (
        encode_heif(stored, exif=exif.tobytes())
        if name == "HEIF"
        else content(stored, name, exif=exif, quality=95)
    )
    assert np.abs(to_rgb(read_image(buffer, "a")).astype(int) - COLOR).mean() < 8


def encode_heif(image, **options):
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=95, **options)
    return buffer


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_heic(mode):
    expected = Image.fromarray(COLOR).convert(mode)
    image = read_image(encode_heif(expected), "a")
    assert np.abs(to_grayscale(image).astype(int) - to_grayscale(expected)).mean() < 6


def test_heic_with_transparency_is_composited_on_white():
    image = Image.new("RGBA", (64, 48), (0, 0, 0, 51))
    assert_close(gray(encode_heif(image)), np.full((48, 64), 204), 3)


def test_heic_of_phones_may_exceed_the_limit_of_pixels_four_times():
    buffer = encode_heif(Image.new("RGB", (200, 100), "gray"))
    assert read_image(buffer, "a", max_pixels=5000).size == (200, 100)
    with pytest.raises(ImageError, match=r"a: 200×100 pixels, over the limit of 0\.019996 mega"):
        read_image(buffer, "a", max_pixels=4999)
    assert read_image(buffer, "a", min_side=50).size == (50, 25)


def test_heic_without_the_extra_names_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    head = b"\0\0\0\x18ftypheic" + bytes(40)
    with pytest.raises(ImageError, match=r"^a: a HEIC image; .*pip install '\.\[heif\]'$"):
        read_image(BytesIO(head), "a")


def test_pillow_heif_is_imported_only_for_heic():
    code = "import sys, fashioncnn.images.decoding; sys.exit('pillow_heif' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert not hasattr(heif, "pillow_heif")


@pytest.mark.parametrize(
    ("head", "values", "expected"),
    [
        (b"P5\n4 1\n255\n", bytes([0, 100, 200, 255]), [0, 100, 200, 255]),
        (b"P5\n# a comment\n4 1\n15\n", bytes([0, 5, 10, 15]), [0, 85, 170, 255]),
        (b"P5 4 1 65535 ", b"\0\0\x40\0\x80\0\xff\xff", [0, 64, 128, 255]),
        (b"P5 4 1 1023 ", b"\0\0\1\0\2\0\3\xff", [0, 64, 128, 255]),
        (b"P4\n4 1\n", b"\x50", [255, 0, 255, 0]),
        (b"P1\n4 1\n", b"0 1 0 1", [255, 0, 255, 0]),
        (b"P2\n4 1\n255\n", b"0 100 200 255\n", [0, 100, 200, 255]),
        (b"P2\n4 1\n65535\n", b"0 25700 51400 65535\n", [0, 100, 200, 255]),
        (b"P3\n2 1\n255\n", b"9 9 9 80 80 80\n", [9, 80]),
        (b"P6\r\n2 1\r\n255\n", bytes([9, 9, 9, 80, 80, 80]), [9, 80]),
        (b"P6 2 1 65535 ", bytes(6) + b"\x64\x64" * 3, [0, 100]),
    ],
    ids=lambda value: (
        value.split()[0].decode() if isinstance(value, bytes) and value[:1] == b"P" else ""
    ),
)
def test_ppm(head, values, expected):
    assert gray(BytesIO(head + values)).tolist() == [expected]


@pytest.mark.parametrize("name", ["TIFF", "GIF", "PNG", "WEBP", "AVIF"])
def test_first_frame_of_several_is_decoded(name):
    frames = [Image.new("RGB", (32, 24), (level,) * 3) for level in (60, 200)]
    buffer = content(frames[0], name, save_all=True, append_images=frames[1:])
    assert Image.open(buffer).n_frames == 2
    assert_close(gray(buffer), np.full((24, 32), 60), 3)


@pytest.mark.parametrize(
    ("mode", "color"),
    [
        ("La", (51, 51)),
        ("LA", (255, 51)),
        ("RGBa", (51, 51, 51, 51)),
        ("RGBA", (255, 255, 255, 51)),
    ],
)
def test_modes_with_premultiplied_alpha(mode, color):
    assert to_grayscale(Image.new(mode, (2, 2), color)).tolist() == [[255, 255]] * 2
