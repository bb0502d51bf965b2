import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from fashioncnn.errors import ImageError
from fashioncnn.images.color import to_grayscale
from fashioncnn.images.decoding import read_image
from fashioncnn.images.views import plain_view


def gradient(width=40, height=30):
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def saved(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp"])
def test_supported_formats_are_decoded(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(gradient()), name)
    gray = to_grayscale(read_image(path))
    assert gray.shape == (30, 40)
    assert np.abs(gray.astype(int) - gradient()).mean() < 6


CORNERS = np.array([[0, 80], [160, 240], [40, 120]], np.uint8).repeat(16, 0).repeat(16, 1)
"""An image, 48 high and 32 wide, that every rotation and flip changes."""
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.T,
    6: np.rot90,
    7: lambda upright: upright[::-1, ::-1].T,
    8: lambda upright: np.rot90(upright, -1),
}
"""How an upright image is stored, by EXIF orientation. Row 0 and column 0 of the stored image are
the top and left, top and right, bottom and right, bottom and left, left and top, right and top,
right and bottom, left and bottom of the upright one, in this order (CIPA DC-008, section 4.6.4)."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_every_orientation_becomes_upright(tmp_path, orientation, name):
    stored = np.ascontiguousarray(STORED[orientation](CORNERS))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(stored), name, exif=exif)
    gray = to_grayscale(read_image(path))
    assert gray.shape == CORNERS.shape
    assert np.abs(gray.astype(int) - CORNERS).mean() < 4
    small = to_grayscale(read_image(path, min_side=12))  # decoded at a quarter of its size
    assert small.shape == (12, 8)
    assert np.abs(small.astype(int) - CORNERS[::4, ::4]).mean() < 8


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_half_transparent_is_blended_with_white(tmp_path, mode, name):
    color = (100, 100, 100, 128) if mode == "RGBA" else (100, 128)
    image = Image.new(mode, (8, 8), color)
    path = saved(tmp_path, image, name, **({"lossless": True} if name == "a.webp" else {}))
    expected = (100 * 128 + 255 * 127) / 255
    assert np.abs(to_grayscale(read_image(path)) - expected).max() <= 1


def test_palette_with_a_transparent_color(tmp_path):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 10, 10, 200, 200, 200])
    image.putpixel((1, 2), 1)
    path = saved(tmp_path, image, "a.png", transparency=0)
    expected = np.full((4, 4), 255)
    expected[2, 1] = 200
    np.testing.assert_array_equal(to_grayscale(read_image(path)), expected)


def test_palette_with_partial_transparency(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([0, 0, 0, 0, 0, 0, 0, 0, 0])
    path = saved(tmp_path, image, "a.png", transparency=bytes([255, 51, 0]))
    assert to_grayscale(read_image(path)).tolist() == [[0, 204, 255]]


def test_rgb_with_a_transparent_color(tmp_path):
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (60, 60, 60))
    path = saved(tmp_path, image, "a.png", transparency=(10, 20, 30))
    assert to_grayscale(read_image(path)).tolist() == [[255, 60]]


def test_one_bit_is_black_and_white(tmp_path):
    bits = np.random.default_rng(0).random((9, 13)) < 0.5
    for name in ("a.png", "a.bmp"):
        path = saved(tmp_path, Image.fromarray(bits), name)
        np.testing.assert_array_equal(to_grayscale(read_image(path)), bits * 255)


def test_two_and_four_bits_are_rescaled(tmp_path):
    for bits in (2, 4):
        image = Image.fromarray(np.arange(2**bits, dtype=np.uint8)[None], "P")
        image.putpalette([v for v in range(2**bits) for _ in range(3)])
        path = saved(tmp_path, image, "a.png", bits=bits)
        content = bytearray(path.read_bytes())
        del content[content.index(b"PLTE") - 4 : content.index(b"IDAT") - 4]
        content[25] = 0  # color type 0: gray levels without a palette
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        path.write_bytes(content)
        expected = np.arange(2**bits) * 255 // (2**bits - 1)
        np.testing.assert_array_equal(to_grayscale(read_image(path))[0], expected)


def test_sixteen_bits_are_rescaled(tmp_path):
    values = (gradient().astype(np.uint16)) * 257
    path = saved(tmp_path, Image.fromarray(values), "a.png")
    np.testing.assert_array_equal(to_grayscale(read_image(path)), gradient())


def test_sixteen_bits_are_rounded_not_truncated(tmp_path):
    values = np.array([[0, 128, 129, 300, 32767, 40000, 65406, 65407, 65535]], np.uint16)
    path = saved(tmp_path, Image.fromarray(values), "a.png")
    expected = np.round(values / 65535 * 255)
    np.testing.assert_array_equal(to_grayscale(read_image(path)), expected)


def test_sixteen_bits_with_a_transparent_level(tmp_path):
    values = np.array([[0, 300, 25700]], np.uint16)
    path = saved(tmp_path, Image.fromarray(values), "a.png", transparency=300)
    assert to_grayscale(read_image(path)).tolist() == [[0, 255, 100]]


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bits_in_color_are_rescaled(tmp_path, color_type, channels):
    """Encoded here, since Pillow cannot write such files."""
    values = np.linspace(0, 65535, 20).astype(">u2")[:, None].repeat(channels, 1)
    values[:, 3 if channels == 4 else 2 if channels == 3 else 1 :] = 65535
    values[:, :3] = values[:, :1]

    def chunk(kind, data):
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    if channels != 3:
        values[:, -1] = 65535
    header = struct.pack(">IIBBBBB", 20, 1, 16, color_type, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    content += chunk(b"IDAT", zlib.compress(b"\0" + values.tobytes())) + chunk(b"IEND", b"")
    path = tmp_path / "a.png"
    path.write_bytes(content)
    expected = np.linspace(0, 255, 20)[None]
    assert np.abs(to_grayscale(read_image(path)) - expected).max() <= 1


def test_cmyk_is_converted(tmp_path):
    path = saved(tmp_path, Image.fromarray(gradient()).convert("CMYK"), "a.jpg")
    gray = to_grayscale(read_image(path))
    assert np.abs(gray.astype(int) - gradient()).mean() < 6


def test_cmyk_of_adobe_is_not_inverted(tmp_path):
    """Adobe stores CMYK inverted and marks that with a segment of its own."""
    light = Image.new("CMYK", (16, 16), (0, 0, 0, 25))
    path = saved(tmp_path, light, "a.jpg", quality=95)
    assert b"Adobe" in path.read_bytes()
    assert np.abs(to_grayscale(read_image(path)).astype(int) - 230).max() <= 3


def test_color_profile_is_ignored(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    image = Image.fromarray(gradient()).convert("RGB")
    tagged = saved(tmp_path, image, "a.png", icc_profile=profile)
    assert b"iCCP" in tagged.read_bytes()
    np.testing.assert_array_equal(to_grayscale(read_image(tagged)), gradient())


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp", "a.gif"])
@pytest.mark.parametrize(("width", "height"), [(1100, 900), (900, 1100), (1200, 60), (100, 80)])
def test_large_image_is_reduced_but_not_below_min_side(tmp_path, name, width, height):
    smooth = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 120, width)).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(smooth), name)
    whole, partial = read_image(path), read_image(path, min_side=256)
    assert whole.size == (width, height)
    assert min(256, max(width, height)) <= max(partial.size) < 513
    scale = max(partial.size) / max(width, height)
    assert abs(min(partial.size) - scale * min(width, height)) <= 1
    view, expected = plain_view(partial, 28), plain_view(whole, 28)
    assert np.abs(view.astype(int) - expected).mean() <= 2


def test_reduction_has_no_dark_edge_beside_transparent_pixels(tmp_path):
    image = np.zeros((400, 400, 4), np.uint8)
    image[:, 101:] = (200, 200, 200, 255)
    gray = to_grayscale(read_image(saved(tmp_path, Image.fromarray(image), "a.png"), min_side=100))
    assert gray.min() >= 199


def test_first_frame_of_an_animation_is_decoded(tmp_path):
    frames = [Image.new("L", (5, 5), level) for level in (10, 250)]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert to_grayscale(read_image(path)).max() <= 12


def test_first_image_of_a_multi_picture_file_is_decoded(tmp_path):
    """An MPO file, which phones with two cameras write, is a JPEG followed by more JPEGs."""
    images = [Image.new("RGB", (1600, 1200), (level,) * 3) for level in (60, 200)]
    path = saved(
        tmp_path, images[0], "a.jpg", format="MPO", save_all=True, append_images=images[1:]
    )
    for min_side, size in ((None, (1600, 1200)), (400, (400, 300))):
        image = read_image(path, min_side=min_side)
        assert image.size == size
        assert np.abs(to_grayscale(image).astype(int) - 60).max() <= 2


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp"])
def test_truncated_image_is_rejected(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=r"a\.\w+: "):
        read_image(path)


def test_too_many_pixels_are_rejected_before_decoding():
    buffer = BytesIO()
    Image.new("1", (8000, 4000)).save(buffer, "PNG")
    with pytest.raises(ImageError, match="8000×4000 pixels, over the limit"):
        read_image(buffer, "big.png")


def test_missing_file_is_rejected(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "no.png")
