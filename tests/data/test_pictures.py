from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fashioncnn.data.pictures import fashion_picture, plain_picture, read_picture, to_grey
from fashioncnn.errors import PictureError


def gradient(width=40, height=30):
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def saved(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp"])
def test_five_formats_are_read(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(gradient()), name)
    grey = to_grey(read_picture(path))
    assert grey.shape == (30, 40)
    assert np.abs(grey.astype(int) - gradient()).mean() < 6


def test_orientation_of_phones_is_undone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    path = saved(tmp_path, Image.fromarray(gradient(40, 20)), "a.jpg", exif=exif)
    assert read_picture(path).size == (20, 40)


def test_transparent_becomes_white():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert to_grey(image).tolist() == [[255] * 4] * 4


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 10, 10, 200, 200, 200])
    path = saved(tmp_path, image, "a.png", transparency=0)
    assert to_grey(read_picture(path)).max() == 255


def test_sixteen_bits_keep_their_tones(tmp_path):
    wide = (gradient().astype(np.uint16)) * 257
    path = saved(tmp_path, Image.fromarray(wide), "a.png")
    np.testing.assert_array_equal(to_grey(read_picture(path)), gradient())


def test_cmyk(tmp_path):
    path = saved(tmp_path, Image.fromarray(gradient()).convert("CMYK"), "a.jpg")
    grey = to_grey(read_picture(path))
    assert np.abs(grey.astype(int) - gradient()).mean() < 6


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("L", (5, 5), level) for level in (10, 250)]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert to_grey(read_picture(path)).max() <= 12


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "not a JPEG"),
        (b"hello", "not a JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, content, fault):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=fault) as caught:
        read_picture(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp"])
def test_cut_short_pictures_are_refused(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PictureError, match=r"a\.\w+: "):
        read_picture(path)


def test_too_many_pixels_are_refused_before_decoding():
    buffer = BytesIO()
    Image.new("1", (8000, 4000)).save(buffer, "PNG")
    with pytest.raises(PictureError, match="8000×4000 pixels, over the limit"):
        read_picture(buffer, "big.png")


def test_decompression_bomb_is_refused():
    buffer = BytesIO()
    Image.new("1", (20000, 20000)).save(buffer, "PNG")
    with pytest.raises(PictureError, match="over the limit"):
        read_picture(buffer, "bomb.png")


def test_missing_picture(tmp_path):
    with pytest.raises(PictureError, match="no such file"):
        read_picture(tmp_path / "no.png")


def test_plain_pictures_keep_their_proportions():
    wide = Image.new("L", (40, 20), 200)
    result = plain_picture(wide, 28)
    assert result.shape == (28, 28)
    assert set(result.ravel()) == {200}  # padded with the border's own grey


def test_a_grey_picture_of_the_right_size_is_taken_as_it_is():
    picture = np.random.default_rng(1).integers(0, 256, (28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(fashion_picture(Image.fromarray(picture), 28), picture)


@pytest.mark.parametrize("ground", [255, 0], ids=["on white", "on black"])
def test_garment_becomes_light_on_black_and_fills_the_frame(ground):
    image = np.full((100, 200), ground, np.uint8)
    image[30:70, 80:110] = 255 - ground
    result = fashion_picture(Image.fromarray(image), 28)
    assert result[:, :3].max() == 0
    assert result[14, 14] == 255
    assert (result.max(axis=1) > 0).all()  # its longest edge, the height, reaches both ends


def test_an_empty_picture_becomes_black():
    assert fashion_picture(Image.new("L", (50, 50), 255), 28).max() == 0
