import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from fashioncnn.errors import ImageError
from fashioncnn.images.decoding import (
    fashion_view,
    plain_view,
    read_image,
    to_grey,
    to_plain_mode,
    whole_view,
)


def gradient(width=40, height=30):
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def saved(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp"])
def test_five_formats_are_read(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(gradient()), name)
    grey = to_grey(read_image(path))
    assert grey.shape == (30, 40)
    assert np.abs(grey.astype(int) - gradient()).mean() < 6


CORNERS = np.array([[0, 80], [160, 240], [40, 120]], np.uint8).repeat(16, 0).repeat(16, 1)
"""An image, 48 high and 32 wide, that no turn leaves as it is."""
CAMERA_TURNS = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.T,
    6: np.rot90,
    7: lambda upright: upright[::-1, ::-1].T,
    8: lambda upright: np.rot90(upright, -1),
}
"""What is stored of an upright image for each orientation. Row 0 and column 0 show, in turn, its
top and left, top and right, bottom and right, bottom and left, left and top, right and top, right
and bottom, left and bottom (CIPA DC-008, table of Orientation)."""


@pytest.mark.parametrize("orientation", CAMERA_TURNS)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_every_orientation_is_turned_upright(tmp_path, orientation, name):
    stored = np.ascontiguousarray(CAMERA_TURNS[orientation](CORNERS))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(stored), name, exif=exif)
    grey = to_grey(read_image(path))
    assert grey.shape == CORNERS.shape
    assert np.abs(grey.astype(int) - CORNERS).mean() < 4
    small = to_grey(read_image(path, enough=12))  # decoded at a quarter of its size
    assert small.shape == (12, 8)
    assert np.abs(small.astype(int) - CORNERS[::4, ::4]).mean() < 8


def test_big_endian_exif(tmp_path):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\x06\0\0\0\0\0\0"
    path = saved(tmp_path, Image.fromarray(gradient(40, 20)), "a.jpg", exif=exif)
    assert read_image(path).size == (20, 40)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",  # entries that are not there
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x63\0\0\0",  # orientation 99
        b"Exif\0\0nonsense",
    ],
)
@pytest.mark.filterwarnings("ignore:.*EXIF:UserWarning")
def test_damaged_exif_does_no_harm_to_a_image(tmp_path, exif):
    path = saved(tmp_path, Image.fromarray(gradient(40, 20)), "a.jpg", exif=exif)
    assert read_image(path).size == (40, 20)


def test_transparent_becomes_white():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert to_grey(image).tolist() == [[255] * 4] * 4


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_half_transparent_is_half_white(tmp_path, mode, name):
    colour = (100, 100, 100, 128) if mode == "RGBA" else (100, 128)
    image = Image.new(mode, (8, 8), colour)
    path = saved(tmp_path, image, name, **({"lossless": True} if name == "a.webp" else {}))
    expected = (100 * 128 + 255 * 127) / 255
    assert np.abs(to_grey(read_image(path)) - expected).max() <= 1


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 10, 10, 200, 200, 200])
    image.putpixel((1, 2), 1)
    path = saved(tmp_path, image, "a.png", transparency=0)
    expected = np.full((4, 4), 255)
    expected[2, 1] = 200
    np.testing.assert_array_equal(to_grey(read_image(path)), expected)


def test_palette_with_shades_of_transparency(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([0, 0, 0, 0, 0, 0, 0, 0, 0])
    path = saved(tmp_path, image, "a.png", transparency=bytes([255, 51, 0]))
    assert to_grey(read_image(path)).tolist() == [[0, 204, 255]]


def test_a_colour_that_stands_for_transparent(tmp_path):
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (60, 60, 60))
    path = saved(tmp_path, image, "a.png", transparency=(10, 20, 30))
    assert to_grey(read_image(path)).tolist() == [[255, 60]]


def test_one_bit(tmp_path):
    bits = np.random.default_rng(0).random((9, 13)) < 0.5
    for name in ("a.png", "a.bmp"):
        path = saved(tmp_path, Image.fromarray(bits), name)
        np.testing.assert_array_equal(to_grey(read_image(path)), bits * 255)


def test_two_and_four_bits_are_shares_of_white(tmp_path):
    for bits in (2, 4):
        image = Image.fromarray(np.arange(2**bits, dtype=np.uint8)[None], "P")
        image.putpalette([v for v in range(2**bits) for _ in range(3)])
        path = saved(tmp_path, image, "a.png", bits=bits)
        content = bytearray(path.read_bytes())
        del content[content.index(b"PLTE") - 4 : content.index(b"IDAT") - 4]
        content[25] = 0  # no palette: these are the tones themselves
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        path.write_bytes(content)
        expected = np.arange(2**bits) * 255 // (2**bits - 1)
        np.testing.assert_array_equal(to_grey(read_image(path))[0], expected)


def test_sixteen_bits_keep_their_tones(tmp_path):
    reshape_per_image = (gradient().astype(np.uint16)) * 257
    path = saved(tmp_path, Image.fromarray(reshape_per_image), "a.png")
    np.testing.assert_array_equal(to_grey(read_image(path)), gradient())


def test_sixteen_bits_are_rounded_not_cut_off(tmp_path):
    reshape_per_image = np.array([[0, 128, 129, 300, 32767, 40000, 65406, 65407, 65535]], np.uint16)
    path = saved(tmp_path, Image.fromarray(reshape_per_image), "a.png")
    expected = np.round(reshape_per_image / 65535 * 255)
    np.testing.assert_array_equal(to_grey(read_image(path)), expected)


def test_sixteen_bits_with_a_transparent_tone(tmp_path):
    reshape_per_image = np.array([[0, 300, 25700]], np.uint16)
    path = saved(tmp_path, Image.fromarray(reshape_per_image), "a.png", transparency=300)
    assert to_grey(read_image(path)).tolist() == [[0, 255, 100]]


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bits_in_colour(tmp_path, colour_type, channels):
    """Written by hand, for Pillow writes none."""
    reshape_per_image = np.linspace(0, 65535, 20).astype(">u2")[:, None].repeat(channels, 1)
    reshape_per_image[:, 3 if channels == 4 else 2 if channels == 3 else 1 :] = 65535
    reshape_per_image[:, :3] = reshape_per_image[:, :1]

    def chunk(kind, data):
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    if channels != 3:
        reshape_per_image[:, -1] = 65535
    header = struct.pack(">IIBBBBB", 20, 1, 16, colour_type, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    content += chunk(b"IDAT", zlib.compress(b"\0" + reshape_per_image.tobytes())) + chunk(
        b"IEND", b""
    )
    path = tmp_path / "a.png"
    path.write_bytes(content)
    expected = np.linspace(0, 255, 20)[None]
    assert np.abs(to_grey(read_image(path)) - expected).max() <= 1


def test_cmyk(tmp_path):
    path = saved(tmp_path, Image.fromarray(gradient()).convert("CMYK"), "a.jpg")
    grey = to_grey(read_image(path))
    assert np.abs(grey.astype(int) - gradient()).mean() < 6


def test_cmyk_as_adobe_writes_it_is_not_a_negative(tmp_path):
    """Little ink is light: stored inverted, and marked so by Adobe's segment."""
    light = Image.new("CMYK", (16, 16), (0, 0, 0, 25))
    path = saved(tmp_path, light, "a.jpg", quality=95)
    assert b"Adobe" in path.read_bytes()
    assert np.abs(to_grey(read_image(path)).astype(int) - 230).max() <= 3


def test_a_colour_profile_changes_nothing(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    image = Image.fromarray(gradient()).convert("RGB")
    tagged = saved(tmp_path, image, "a.png", icc_profile=profile)
    assert b"iCCP" in tagged.read_bytes()
    np.testing.assert_array_equal(to_grey(read_image(tagged)), gradient())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "YCbCr"])
def test_every_mode_becomes_one_of_three(mode):
    image = Image.new(mode, (5, 4))
    assert to_plain_mode(image).mode in ("L", "RGB", "RGBA")
    assert to_grey(image).shape == (4, 5)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp", "a.gif"])
@pytest.mark.parametrize(("width", "height"), [(2000, 1500), (1500, 2000), (1200, 60), (100, 80)])
def test_large_images_are_decoded_as_far_as_is_enough(tmp_path, name, width, height):
    smooth = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 120, width)).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(smooth), name)
    whole, partial = read_image(path), read_image(path, enough=256)
    assert whole.size == (width, height)
    assert min(256, max(width, height)) <= max(partial.size) < 513
    share = max(partial.size) / max(width, height)
    assert abs(min(partial.size) - share * min(width, height)) <= 1
    seen, expected = plain_view(partial, 28), plain_view(whole, 28)
    assert np.abs(seen.astype(int) - expected).mean() <= 2


def test_shrinking_leaves_no_dark_edge_at_what_is_transparent(tmp_path):
    image = np.zeros((400, 400, 4), np.uint8)
    image[:, 101:] = (200, 200, 200, 255)
    grey = to_grey(read_image(saved(tmp_path, Image.fromarray(image), "a.png"), enough=100))
    assert grey.min() >= 199


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("L", (5, 5), level) for level in (10, 250)]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert to_grey(read_image(path)).max() <= 12


def test_the_first_image_of_a_phones_several(tmp_path):
    """An MPO file, as phones with two cameras write it, is a JPEG and more JPEGs after it."""
    images = [Image.new("RGB", (1600, 1200), (level,) * 3) for level in (60, 200)]
    path = saved(
        tmp_path, images[0], "a.jpg", format="MPO", save_all=True, append_images=images[1:]
    )
    for enough, size in ((None, (1600, 1200)), (400, (400, 300))):
        image = read_image(path, enough=enough)
        assert image.size == size
        assert np.abs(to_grey(image).astype(int) - 60).max() <= 2


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "not a JPEG"),
        (b"hello", "not a JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, content, fault):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=fault) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp"])
def test_cut_short_images_are_refused(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=r"a\.\w+: "):
        read_image(path)


def test_too_many_pixels_are_refused_before_decoding():
    buffer = BytesIO()
    Image.new("1", (8000, 4000)).save(buffer, "PNG")
    with pytest.raises(ImageError, match="8000×4000 pixels, over the limit"):
        read_image(buffer, "big.png")


def test_decompression_bomb_is_refused():
    buffer = BytesIO()
    Image.new("1", (20000, 20000)).save(buffer, "PNG")
    with pytest.raises(ImageError, match="over the limit"):
        read_image(buffer, "bomb.png")


def test_missing_image(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "no.png")


def test_plain_images_keep_their_proportions():
    reshape_per_image = Image.new("L", (40, 20), 200)
    result = plain_view(reshape_per_image, 28)
    assert result.shape == (28, 28)
    assert set(result.ravel()) == {200}  # padded with the border's own grey


def test_a_grey_image_of_the_right_size_is_taken_as_it_is():
    image = np.random.default_rng(1).integers(0, 256, (28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(fashion_view(Image.fromarray(image), 28), image)


@pytest.mark.parametrize("mode", ["RGB", "P", "LA", "RGBA"])
def test_a_grey_image_of_the_right_size_may_be_saved_as_colour(mode):
    image = np.random.default_rng(1).integers(0, 256, (28, 28)).astype(np.uint8)
    image[[0, -1]] = 255  # so that any other would be inverted
    seen = fashion_view(Image.fromarray(image).convert(mode), 28)
    assert np.array_equal(seen, image) == (mode in ("RGB", "P"))


@pytest.mark.parametrize("ground", [255, 0], ids=["on white", "on black"])
def test_garment_becomes_light_on_black_and_fills_the_frame(ground):
    image = np.full((100, 200), ground, np.uint8)
    image[30:70, 80:110] = 255 - ground
    result = fashion_view(Image.fromarray(image), 28)
    assert result[:, :3].max() == 0
    assert result[14, 14] == 255
    assert (result.max(axis=1) > 0).all()  # its longest edge, the height, reaches both ends


def test_an_empty_image_becomes_black():
    assert fashion_view(Image.new("L", (50, 50), 255), 28).max() == 0


@pytest.mark.parametrize("light", [True, False])
def test_whole_images_by_each_fit(light):
    """A black square on the left half of a white 40×20, or the other way round."""
    pixels = np.full((20, 40), 250, np.uint8)
    pixels[5:15, 4:14] = 10
    image = Image.fromarray(pixels if light else 255 - pixels)
    padded, stretched, cropped = (whole_view(image, 20, f) for f in ("pad", "stretch", "crop"))
    assert (padded[:4] == 5).all()
    assert padded[10, 4] > 200
    assert stretched[10, 4] > 200
    assert stretched[4, 4] < 60
    assert stretched[10, 12] < 60
    assert cropped[10, 1] > 200  # columns 10 to 29 are left
    assert cropped[10, 8] < 60
